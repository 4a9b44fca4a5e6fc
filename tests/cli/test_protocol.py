"""``tumorlens protocol``: what reaches the training room, and what is printed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from tumorlens.cli.app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Plans and folders that reached the training room, which does nothing."""
    pytest.importorskip("lightning")
    pytest.importorskip("seaborn")
    import tumorlens.workflows.protocol_report as page
    from tumorlens.workflows.protocol import Table

    given: list[Any] = []

    def run_protocol(plan: Any, run_dir: Path) -> Table:
        given.append((plan, run_dir))
        sys.stdout.write("noise of a library\n")
        return Table(plan, 40, 30, {}, None)

    monkeypatch.setattr(page, "run_protocol", run_protocol)
    return given


def test_the_default_is_every_model_on_brain_tumor_dataset(
    calls: list[Any], capsys: Capture
) -> None:
    assert run(["protocol"]) == 0
    plan, folder = calls[0]
    assert plan.data == "brain_tumor_dataset"
    assert plan.models == ("notebook", "cnn", "resnet18", "resnet18-transfer")
    assert (plan.n_folds, plan.copies, plan.pretrained, plan.overrides) == (5, 4, None, [])
    assert folder == Path("runs/protocol-brain_tumor_dataset")
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == f"run folder: {folder}"
    assert "over the same 40 scans (30 groups" in printed.out
    assert "ResNet-18, transfer: left out, no pretrained weights" in printed.out
    assert "noise of a library" in printed.err


def test_data_settings_and_options_are_passed_on(calls: list[Any]) -> None:
    arguments = ["protocol", "seed=3", "my/scans", "~logger", "--model", "cnn", "--epochs", "cnn=7",
                 "--folds", "3", "--copies", "2", "--pretrained", "w.pt",
                 "--run-dir", "out"]  # fmt: skip
    assert run(arguments) == 0
    plan, folder = calls[0]
    assert (plan.data, plan.overrides, folder) == ("my/scans", ["seed=3", "~logger"], Path("out"))
    assert (plan.models, plan.epochs, plan.pretrained) == (("cnn",), {"cnn": 7}, Path("w.pt"))
    assert (plan.n_folds, plan.copies) == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one", "two"], "takes one data set"),
        (["--epochs", "cnn"], "give MODEL=N"),
        (["--epochs", "cnn=-1"], "give MODEL=N"),
        (["--model", "vgg"], "no models ['vgg']"),
        (["--folds", "1"], "--folds"),
        (["--copies", "0"], "--copies"),
    ],
)
def test_invalid_arguments_exit_with_2(
    arguments: list[str], words: str, calls: list[Any], capsys: Capture
) -> None:
    assert run(["protocol", *arguments]) == 2
    printed = capsys.readouterr()
    assert calls == []
    assert printed.out == ""
    assert words in printed.err


def test_a_missing_extra_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "tumorlens.cli.app.find_spec", lambda name: None if name == "seaborn" else real(name)
    )
    assert run(["protocol"]) == 2
    expected = "tumorlens protocol needs the 'train' extra: pip install 'tumorlens[train]'"
    assert capsys.readouterr().err == f"tumorlens: {expected}\n"
