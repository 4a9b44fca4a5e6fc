"""``tumorlens train``: settings in Hydra's grammar, passed on to the training room."""

from __future__ import annotations

from typing import Annotated

import typer

from tumorlens.cli.extras import require

# Overrides such as +trainer.limit=3 or ~logger are arguments, not options of ours.
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
        bool, typer.Option("--show-config", help="Print the full configuration and stop.")
    ] = False,
) -> None:
    """Train a network: a run folder with metrics, curves, checkpoint and model file.

    Every setting of the configuration can be given as SETTING=VALUE; --show-config lists them.
    Needs the extra 'train'.
    """
    require("train", "tumorlens train", "torch", "lightning", "hydra")
    from omegaconf import OmegaConf

    from tumorlens.training.config import compose_config

    config = compose_config(overrides or [])
    if show_config:
        typer.echo(OmegaConf.to_yaml(config), nl=False)
        return
    from tumorlens.training.run import train as train_network

    result = train_network(config)
    typer.echo(str(result.folder))
