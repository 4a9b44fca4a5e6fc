"""``tumorlens crossval``: grouped cross-validation of a training configuration."""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from tumorlens.cli.app import require
from tumorlens.cli.tables import print_estimates

# Overrides such as ~logger must not be parsed as options.
CONTEXT_SETTINGS = {"ignore_unknown_options": True}


def crossval(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SETTING=VALUE]...",
            help="Settings as for train, such as model=notebook; run_dir=… resumes a run folder.",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds per repeat.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Number of times the folds are drawn.")] = 1,
    export: Annotated[
        bool, typer.Option("--export", help="Also write a model file for each fold.")
    ] = False,
) -> None:
    """Cross-validate: once per repeat each scan is tested by a network not trained on its group.

    Writes the out-of-fold predictions, a report and the weights of each fold to a run folder. With
    the run_dir of an interrupted call it resumes there. Needs the extra 'train'.
    """
    require("train", "tumorlens crossval", "torch", "lightning", "hydra", "matplotlib", "seaborn")
    with redirect_stdout(sys.stderr):  # libraries print to stdout
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
    print_estimates("out of fold", result.overall)
    typer.echo(f"out-of-fold temperature: {result.out_of_fold.temperature:.3f}")
    print_estimates("at the other folds' temperature", result.calibrated)
