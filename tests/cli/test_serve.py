"""``tumorlens serve``: flags become settings; the service itself is tested in its own room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tumorlens.cli.app import run
from tumorlens.serving.settings import Settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """Return the settings that serving was started with; nothing listens."""
    started: list[Settings] = []
    monkeypatch.chdir(tmp_path)  # no .env file of the developer
    monkeypatch.setattr(
        "tumorlens.serving.server.serve", lambda settings, announce: started.append(settings)
    )
    return started


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], {"host": "127.0.0.1", "port": 8000, "workers": 1, "model": None}),
        (["--port", "0", "--host", "0.0.0.0"], {"port": 0, "host": "0.0.0.0"}),
        (["--model", "m.onnx", "--workers", "3"], {"model": Path("m.onnx"), "workers": 3}),
        (["--max-wait-s", "4", "--no-metrics"], {"max_wait_s": 4, "metrics": False}),
        (["--otel", "--log-level", "debug"], {"otel": True, "log_level": "debug"}),
    ],
)
def test_flags_become_settings(
    arguments: list[str], wanted: dict[str, object], served: list[Settings]
) -> None:
    assert run(["serve", *arguments]) == 0
    (settings,) = served
    assert {key: getattr(settings, key) for key in wanted} == wanted


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--max-wiat-s", "4"], "--max-wait-s"),
        (["--port", "99999"], "PORT"),
        (["--max-wait-s", "-1"], "MAX_WAIT_S"),
        (["stray"], "stray"),
        (["--port", "eighty"], "--port"),
    ],
)
def test_an_invalid_flag_prevents_the_start(
    arguments: list[str], reason: str, served: list[Settings], capsys: Capture
) -> None:
    assert run(["serve", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert served == []
