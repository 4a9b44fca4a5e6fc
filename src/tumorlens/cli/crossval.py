"""``tumorlens crossval``: grouped cross-validation of a training configuration."""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.cli.extras import require

if TYPE_CHECKING:
    from tumorlens.metrics.intervals import Estimate

# As for train: overrides such as ~logger look like arguments to us.
CONTEXT_SETTINGS = {"ignore_unknown_options": True}


def crossval(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SETTING=VALUE]...",
            help="Settings as for train, such as model=notebook; run_dir=… goes on with a folder.",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds a repeat.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Draw the folds so often.")] = 1,
    export: Annotated[
        bool, typer.Option("--export", help="A model file for each fold too.")
    ] = False,
) -> None:
    """Cross-validate: each scan is tested once a repeat, by a network that never saw its group.

    Leaves a folder with the out-of-fold answers, a report, and each fold's weights. Called again
    with the same run_dir it goes on where it was stopped. Needs the extra 'train'.
    """
    require("train", "tumorlens crossval", "torch", "lightning", "hydra", "matplotlib", "seaborn")
    with redirect_stdout(sys.stderr):  # libraries print progress and notes
        from tumorlens.reporting.run_report import report_run
        from tumorlens.runs.compose import compose_config
        from tumorlens.workflows.crossval import crossvalidate

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        config = compose_config(overrides or [])
        result = crossvalidate(config, folds, repeats, export=export)
        page = report_run(result.run_dir)
    typer.echo(f"run folder: {result.run_dir}")
    typer.echo(f"report: {page}")
    for number, metrics in enumerate(result.repeats):
        auc = metrics["roc_auc"]
        typer.echo(f"repeat {number} roc_auc: {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})")
    _show("out of fold", result.overall)
    temperature = result.out_of_fold.temperature
    typer.echo(f"out-of-fold temperature: {temperature:.3f}")
    _show("at the other folds' temperature", result.calibrated)


def _show(where: str, estimates: dict[str, Estimate]) -> None:
    for name, estimate in estimates.items():
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
        typer.echo(f"{where} {name}: {estimate.value:.3f} ({interval}, n = {estimate.n})")
