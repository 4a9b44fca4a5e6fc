"""Settings are checked before anything runs, and documented as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tumorlens.errors import ConfigError
from tumorlens.pacs.settings import check_url, load_pacs_settings, settings_table

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load(**given: object) -> object:
    return load_pacs_settings(given, env_file=None)


def test_the_documented_table_is_generated() -> None:
    assert (DOCS / "pacs-settings.md").read_text("utf-8") == settings_table()


def test_the_environment_counts_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORLENS_PACS_ALLOW", "ONE, TWO")
    monkeypatch.setenv("TUMORLENS_PACS_PORT", "104")
    found = load_pacs_settings({"port": 105}, env_file=None)
    assert (found.allow, found.port) == (("ONE", "TWO"), 105)


def test_the_state_folder_follows_the_desktop_s_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert load_pacs_settings(env_file=None).folder == Path("/somewhere/tumorlens/pacs")


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORLENS_PACS_ALOW", "ONE")
    with pytest.raises(ConfigError, match="TUMORLENS_PACS_ALLOW"):
        load()


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 70000), ("aet", "seventeen letters"), ("aet", "BACK\\SLASH"), ("allow", "GOOD, BÄD"),
     ("max_associations", 0), ("archive_kind", "ftp"), ("results", ""),
     ("tls_certfile", "cert.pem"), ("tls_clients", True)],
)  # fmt: skip
def test_values_out_of_range_are_named_and_not_quoted(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})
    assert name.upper() in str(caught.value) or name in str(caught.value)
    if isinstance(value, str) and value:
        assert value not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["orthanc:8042", "ftp://host", "http://", "http://host:x", "http://u:secret@host"]
)
def test_addresses_that_cannot_be_meant_are_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


def test_the_service_does_not_mind_these_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    from tumorlens.serving.settings import load_settings

    monkeypatch.setenv("TUMORLENS_PACS_PORT", "104")
    assert load_settings(env_file=None).port == 8000
    monkeypatch.setenv("TUMORLENS_PAX", "1")
    with pytest.raises(ConfigError, match="TUMORLENS_PAX"):
        load_settings(env_file=None)
