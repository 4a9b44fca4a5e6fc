"""``tumorlens train`` and ``export``: what reaches the training room, and what it takes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tumorlens.cli.app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Hydra makes its run folder where it is called


@pytest.mark.parametrize("verb", ["train", "export"])
def test_a_missing_extra_is_reported_with_the_install_command(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "tumorlens.cli.app.find_spec", lambda name: None if name == "torch" else real(name)
    )
    arguments = {"train": [], "export": ["run", "--output", "m.onnx"]}[verb]
    assert run([verb, *arguments]) == 2
    assert capsys.readouterr().err == (
        f"tumorlens: tumorlens {verb} needs the 'train' extra: pip install 'tumorlens[train]'\n"
    )


def test_overrides_are_passed_on(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("lightning")
    import tumorlens.workflows.train

    given: list[Any] = []
    run_dir = Path("runs/here")

    def train(config: Any) -> Any:
        given.append(config)
        sys.stdout.write("noise of a library\n")
        estimate = SimpleNamespace(value=0.9, low=0.8, high=0.95, n=50)
        metrics = {"validation": {"roc_auc": estimate}}
        return SimpleNamespace(run_dir=run_dir, model=run_dir / "model.onnx", metrics=metrics)

    monkeypatch.setattr(tumorlens.workflows.train, "train", train)
    assert run(["train", "model=notebook", "trainer.max_epochs=3", "~logger"]) == 0
    (config,) = given
    assert config.model.architecture == "notebook"
    assert config.trainer.max_epochs == 3
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"run folder: {run_dir}",
        f"model file: {run_dir / 'model.onnx'}",
        "validation roc_auc: 0.900 (0.800 to 0.950, n = 50)",
    ]
    assert "noise of a library" in printed.err


def test_an_unknown_setting_is_refused(capsys: Capture) -> None:
    pytest.importorskip("lightning")
    for override in ("trainer.nonsense=3", "model=none_such"):
        assert run(["train", override]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert override.partition("=")[2] in printed.err or "nonsense" in printed.err
        assert "Traceback" not in printed.err


def test_show_config_prints_the_configuration(capsys: Capture) -> None:
    pytest.importorskip("lightning")
    assert run(["train", "trainer.max_epochs=3", "--show-config"]) == 0
    assert json.loads(capsys.readouterr().out)["trainer"]["max_epochs"] == 3
