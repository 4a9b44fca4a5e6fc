"""``tumorlens report``: a finished run as one page."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tumorlens.cli.extras import require


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, as train or crossval leaves it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to.  [default: RUN]")
    ] = None,
) -> None:
    """Write report.html (one page, nothing loaded from outside) and report.json of a run.

    Every metric with its interval, by source and by view, with plots, a random sample of scans
    and their answers, settings, data and limitations. Needs the extra 'train'.
    """
    require("train", "tumorlens report", "torch", "lightning", "hydra", "matplotlib", "seaborn")
    with redirect_stdout(sys.stderr):
        from tumorlens.reporting.run_report import report_run

        page = report_run(run, output)
    typer.echo(page)
