"""``tumorlens train``: train a network with settings in Hydra's syntax."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from tumorlens.cli.app import require
from tumorlens.cli.tables import print_estimates

# Overrides such as ~logger and values such as -1 must not be parsed as options.
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
    """Train a network: writes a run folder with metrics, curves, checkpoint and model file.

    Every setting of the configuration can be given as SETTING=VALUE; --show-config lists them.
    Hydra's -m sweeps over comma-separated values. Needs the extra 'train'.
    """
    require("train", "tumorlens train", "torch", "lightning", "hydra")
    arguments = overrides or []
    # Libraries print to stdout, some to the stream that is stdout at their import.
    with redirect_stdout(sys.stderr):
        from tumorlens.runs.compose import compose_config

        if show_config or not any(argument.startswith("-") for argument in arguments):
            # Composed ahead of Hydra, whose message for an unknown setting is less clear.
            config = compose_config(arguments)
    if show_config:
        typer.echo(json.dumps(config.to_plain(), indent=2))
        return
    with redirect_stdout(sys.stderr):
        from tumorlens.workflows.train import main

        results = main(arguments)
    for result in results:
        typer.echo(f"run folder: {result.run_dir}")
        typer.echo(f"model file: {result.model}")
        for part, metrics in result.metrics.items():
            print_estimates(part, metrics)
