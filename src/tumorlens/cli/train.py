"""``tumorlens train``: settings in Hydra's grammar, passed on to the training room."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.cli.extras import require

if TYPE_CHECKING:
    from tumorlens.training.run import RunResult

# Overrides such as ~logger look like arguments to us, and -1 may be a value.
CONTEXT_SETTINGS = {"ignore_unknown_options": True}


def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SETTING=VALUE]...",
            help="Settings, such as model=notebook trainer.max_epochs=3.",
        ),
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the full configuration as JSON and stop.")
    ] = False,
) -> None:
    """Train a network: a run folder with metrics, curves, checkpoint and model file.

    Every setting of the configuration can be given as SETTING=VALUE; --show-config lists them.
    Hydra's -m sweeps over comma-separated values.
    Needs the extra 'train'.
    """
    require("train", "tumorlens train", "torch", "lightning", "hydra")
    from omegaconf import OmegaConf

    from tumorlens.training.config import compose_config
    from tumorlens.training.run import main

    arguments = overrides or []
    if show_config:
        typer.echo(OmegaConf.to_yaml(compose_config(arguments)), nl=False)
        return
    if not any(argument.startswith("-") for argument in arguments):
        compose_config(arguments)  # a wrong setting is told in our words, not Hydra's
    for result in main(arguments):
        typer.echo(str(result.run_dir))
