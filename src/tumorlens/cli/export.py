"""``tumorlens export``: write the model file of a training run."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tumorlens.cli.app import require


def export(
    run: Annotated[Path, typer.Argument(help="Run folder written by train.")],
    output: Annotated[Path, typer.Option(help="The model file to write.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model.  [default: the run's]")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the model.  [default: the run's]")
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="Refit the OOD detector and the conformal sets on the run's data."
        ),
    ] = False,
) -> None:
    """Export a trained run as a model file, with its card.

    The network is rebuilt from its weights and exported; nothing is written when torch and
    ONNX Runtime disagree. Needs the extra 'train'.
    """
    require("train", "tumorlens export", "torch", "onnx", "onnxscript")
    with redirect_stdout(sys.stderr):  # torch's exporter prints to stdout
        from tumorlens.workflows.reexport import reexport

        card = reexport(run, output, name=name, version=version, refit=refit)
    typer.echo(f"{output}: {card.name} {card.version}")
