"""``tumorlens train``: settings in Hydra's grammar, passed on to the workflow."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.cli.extras import require

if TYPE_CHECKING:
    from tumorlens.workflows.train import RunResult

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
    arguments = overrides or []
    # Libraries print progress and notes to stdout, some to the one they find when imported.
    with redirect_stdout(sys.stderr):
        from tumorlens.runs.compose import compose_config

        if show_config or not any(argument.startswith("-") for argument in arguments):
            # Composed once ahead, so that a wrong setting is told in our words, not Hydra's.
            config = compose_config(arguments)
    if show_config:
        typer.echo(json.dumps(config.to_plain(), indent=2))
        return
    with redirect_stdout(sys.stderr):
        from tumorlens.workflows.train import main

        results = main(arguments)
    for result in results:
        _report(result)


def _report(result: RunResult) -> None:
    typer.echo(f"run folder: {result.run_dir}")
    typer.echo(f"model file: {result.model}")
    for part, metrics in result.metrics.items():
        for name, estimate in metrics.items():
            interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
            typer.echo(f"{part} {name}: {estimate.value:.3f} ({interval}, n = {estimate.n})")
