"""``tumorlens protocol``: how far two leaky test protocols overestimate the same models."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tumorlens.cli.app import require
from tumorlens.errors import ConfigError

# Overrides such as ~logger must not be parsed as options.
CONTEXT_SETTINGS = {"ignore_unknown_options": True}


def protocol(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATA] [SETTING=VALUE]...",
            help="A data set below data.root, or a folder of scans (default: brain_tumor_dataset); "
            "then settings as for train, such as data.root=… or trainer.accelerator=gpu.",
        ),
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Results folder; resumed if it exists.  [default: runs/protocol-DATA]"),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this model: notebook, cnn, resnet18, resnet18-transfer. Repeatable."
        ),
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(help="ResNet-18 weights (.pt, .safetensors) for the model resnet18-transfer."),
    ] = None,
    epochs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=N", help="Epochs of a model, such as notebook=400. Repeatable."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of each cross-validation.")] = 5,
    copies: Annotated[
        int,
        typer.Option(
            min=1, help="Augmented copies per scan in the protocol that augments before the split."
        ),
    ] = 4,
) -> None:
    """Train and test four models under three protocols, two of which are optimistically biased.

    Random split, augmentation before the split, and grouped folds; each metric is over all scans.
    Writes protocol.json, protocol.md and a plot. Needs the extra 'train'.
    """
    require("train", "tumorlens protocol", "torch", "lightning", "hydra", "matplotlib", "seaborn")
    data, overrides = _data_and_overrides(arguments or [])
    with redirect_stdout(sys.stderr):  # libraries print to stdout
        from tumorlens.workflows.protocol import DEFAULT_DATA, ROWS, Plan
        from tumorlens.workflows.protocol_report import run_protocol, to_markdown

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        plan = Plan(
            data=data or DEFAULT_DATA,
            models=tuple(model or [row.name for row in ROWS]),
            pretrained=pretrained,
            n_folds=folds,
            copies=copies,
            epochs=dict(_epochs(each) for each in epochs or []),
            overrides=overrides,
        )
        folder = run_dir or Path("runs") / f"protocol-{Path(plan.data).name}"
        table = run_protocol(plan, folder)
    typer.echo(f"run folder: {folder}")
    typer.echo(to_markdown(table), nl=False)


def _data_and_overrides(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    data = [each for each in arguments if "=" not in each and not each.startswith("~")]
    if len(data) > 1:
        raise ConfigError(f"protocol takes one data set, not {data}; settings are SETTING=VALUE")
    return (data[0] if data else None), [each for each in arguments if each not in data]


def _epochs(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise ConfigError(f"--epochs {text}: give MODEL=N, such as notebook=400")
    return name, int(number)
