"""``tumorlens crossval`` and ``report``: what reaches the training room, and what is printed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tumorlens.cli.app import run
from tumorlens.metrics.intervals import Estimate

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("arguments", [["crossval"], ["report", "run"]])
def test_a_missing_extra_is_reported_with_the_install_command(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "tumorlens.cli.app.find_spec", lambda name: None if name == "seaborn" else real(name)
    )
    assert run(arguments) == 2
    expected = f"tumorlens {arguments[0]} needs the 'train' extra: pip install 'tumorlens[train]'"
    assert capsys.readouterr().err == f"tumorlens: {expected}\n"


def test_folds_settings_and_repeats_are_passed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("lightning")
    pytest.importorskip("seaborn")
    import tumorlens.reporting.run_report
    import tumorlens.workflows.crossval

    given: list[Any] = []
    estimates = {"roc_auc": Estimate(0.75, 0.7, 0.8, 40)}

    def crossvalidate(config: Any, folds: int, repeats: int, *, export: bool) -> Any:
        given.append((config.model.architecture, folds, repeats, export))
        sys.stdout.write("noise of a library\n")
        return SimpleNamespace(
            run_dir=Path("runs/cv"),
            repeats=(estimates,),
            overall=estimates,
            out_of_fold=SimpleNamespace(temperature=1.5),
            calibrated=estimates,
        )

    monkeypatch.setattr(tumorlens.workflows.crossval, "crossvalidate", crossvalidate)
    monkeypatch.setattr(
        tumorlens.reporting.run_report, "report_run", lambda folder: folder / "r.html"
    )
    assert run(["crossval", "model=notebook", "~logger", "--folds", "3", "--repeats", "2"]) == 0
    assert given == [("notebook", 3, 2, False)]
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "run folder: runs/cv",
        f"report: {Path('runs/cv') / 'r.html'}",
        "repeat 0 roc_auc: 0.750 (0.700 to 0.800)",
        "out of fold roc_auc: 0.750 (0.700 to 0.800, n = 40)",
        "out-of-fold temperature: 1.500",
        "at the other folds' temperature roc_auc: 0.750 (0.700 to 0.800, n = 40)",
    ]
    assert "noise of a library" in printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["crossval", "model=none_such"], "none_such"),
        (["crossval", "--folds", "1"], "--folds"),
        (["report", "no-such-run"], "no-such-run"),
    ],
)
def test_invalid_arguments_exit_with_2(arguments: list[str], words: str, capsys: Capture) -> None:
    pytest.importorskip("lightning")
    pytest.importorskip("seaborn")
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert "Traceback" not in printed.err
