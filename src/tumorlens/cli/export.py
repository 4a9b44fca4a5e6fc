"""``tumorlens export``: a run's model file, written anew."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tumorlens.cli.extras import require


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, as train leaves it.")],
    output: Annotated[Path, typer.Option(help="The model file to write.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model.  [default: the run's]")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the model.  [default: the run's]")
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Fit in-domain guard and conformal sets anew, from its data."),
    ] = False,
) -> None:
    """Export a trained run as a model file, with its card.

    The network is rebuilt from its weights and exported again; nothing is written when torch
    and ONNX disagree. Needs the extra 'train'.
    """
    require("train", "tumorlens export", "torch", "onnx", "onnxscript")
    with redirect_stdout(sys.stderr):  # the exporter prints what it does
        from tumorlens.workflows.reexport import reexport

        card = reexport(run, output, name=name, version=version, refit=refit)
    typer.echo(f"{output}: {card.name} {card.version}")
