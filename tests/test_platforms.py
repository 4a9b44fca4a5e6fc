"""Linux and macOS serve; Windows has no fcntl, and is told so instead of failing on import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tumorlens.cli.app import run

MODULES = [
    "tumorlens.serving.server",
    "tumorlens.data.splits.split_file",
    "tumorlens.inference.predictor",
]


def test_nothing_asks_for_fcntl_when_it_is_imported() -> None:
    code = "import sys; sys.modules['fcntl'] = None; import " + ", ".join(MODULES)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_serving_on_windows_is_refused_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tumorlens.serving.server.sys.platform", "win32")
    assert run(["serve"]) == 2
    assert "WSL 2" in capsys.readouterr().err
