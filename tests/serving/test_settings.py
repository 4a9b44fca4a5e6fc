"""Settings: where they come from, which wins, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tumorlens.errors import ConfigError
from tumorlens.serving.settings import Settings, load_settings, settings_table

DOCS = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in os.environ:
        if name.startswith("TUMORLENS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "TUMORLENS_PORT=1\nTUMORLENS_MAX_WAIT_S=2\nTUMORLENS_WORKERS=3\n"
    )
    monkeypatch.setenv("TUMORLENS_PORT", "4")
    monkeypatch.setenv("TUMORLENS_MAX_WAIT_S", "5")
    found = load_settings({"port": 6})
    assert (found.port, found.max_wait_s, found.workers) == (6, 5, 3)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORLENS_CORS_ORIGINS", "https://a.example, https://b.example,")
    assert load_settings().cors_origins == ("https://a.example", "https://b.example")


def test_variables_of_other_programs_and_packages_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("KAGGLE_USERNAME=x\nTUMORLENS_DATA=/data\n")
    monkeypatch.setenv("TUMORLENS_DATA", "/data")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("source", "name", "hint"),
    [
        ("environment", "TUMORLENS_PROT", "did you mean TUMORLENS_PORT?"),
        ("environment", "TUMORLENS_MAX_PIXEL", "did you mean TUMORLENS_MAX_PIXELS?"),
        ("environment", "TUMORLENS_QQQQ", "docs/settings.md lists every setting"),
        ("file", "TUMORLENS_APIKEYS", "did you mean TUMORLENS_API_KEYS?"),
        ("flag", "rate_limt", "did you mean rate_limit?"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, name: str, hint: str
) -> None:
    flags: dict[str, object] = {}
    if source == "environment":
        monkeypatch.setenv(name, "1")
    elif source == "file":
        (tmp_path / ".env").write_text(f"{name}=1\n")
    else:
        flags[name] = 1
    with pytest.raises(ConfigError) as caught:
        load_settings(flags)
    assert f"{name} is not a setting of TumorLens; {hint}" in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"port": 65536}, "TUMORLENS_PORT: Input should be less than or equal to 65535"),
        ({"port": "eighty"}, "TUMORLENS_PORT: Input should be a valid integer"),
        ({"workers": 0}, "TUMORLENS_WORKERS"),
        ({"log_level": "loud"}, "TUMORLENS_LOG_LEVEL: Input should be 'debug'"),
        ({"root_path": "x"}, "TUMORLENS_ROOT_PATH: must start with a slash"),
        ({"trusted_hosts": "a.*.org"}, "TUMORLENS_TRUSTED_HOSTS: a.\\*.org: a wildcard"),
        ({"ssl_certfile": "a.pem"}, "belong together"),
        ({"buffer_bytes": 1000}, "buffer_bytes must hold"),
    ],
)
def test_a_value_out_of_range_is_named(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_settings(flags)


def test_a_secret_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORLENS_API_KEYS", "hush")
    monkeypatch.setenv("TUMORLENS_PORT", "no")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(load_settings({"port": 1}))


def test_the_documented_table_is_the_generated_one() -> None:
    assert DOCS.read_text("utf-8") == settings_table(), (
        "run: python -m tumorlens.serving.settings > docs/settings.md"
    )


def test_every_setting_is_explained() -> None:
    assert [name for name, f in Settings.model_fields.items() if not f.description] == []
