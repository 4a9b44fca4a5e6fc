"""``tumorlens report``: the HTML report of a finished run."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tumorlens.cli.app import require


def report(
    run: Annotated[Path, typer.Argument(help="Run folder written by train or crossval.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to.  [default: RUN]")
    ] = None,
) -> None:
    """Write report.html (self-contained) and report.json of a run.

    All metrics with intervals, by source and by view, plots, a random sample of scans with
    predictions, settings, data and limitations. Needs the extra 'train'.
    """
    require("train", "tumorlens report", "torch", "lightning", "hydra", "matplotlib", "seaborn")
    with redirect_stdout(sys.stderr):
        from tumorlens.reporting.run_report import report_run

        page = report_run(run, output)
    typer.echo(page)
