"""``tumorlens serve``: the page and the API. Its flags are the service's settings."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Optional, get_args

import typer
from pydantic import SecretStr

from tumorlens.serving.settings import Settings


def serve(**flags: Any) -> None:
    """Serve the page and the API until the process is asked to stop.

    Every flag is also an environment variable TUMORLENS_<NAME>, and may stand in a .env
    file; docs/settings.md lists them. API keys come from the environment or a file only.
    """
    from tumorlens.serving.server import serve as run
    from tumorlens.serving.settings import load_settings

    chosen = {name: value for name, value in flags.items() if value is not None}
    run(load_settings(chosen), _announce)


def _announce(address: str) -> None:
    typer.echo(f"TumorLens answers on {address}", err=True)


def _flag_type(annotation: Any, default: object) -> Any:
    """Return the type a flag is read as; the settings themselves check the rest."""
    for kind in (bool, int, float):
        if isinstance(default, kind):
            return kind
    return Path if annotation is Path or Path in get_args(annotation) else str


def _parameters() -> list[inspect.Parameter]:
    found = []
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, SecretStr):
            continue  # a secret on the command line is shown to everybody by ps
        kind = _flag_type(field.annotation, field.default)
        flag = f"--{name.replace('_', '-')}"
        declared = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
        shown = "" if field.default in (None, "", ()) else f"  [default: {field.default}]"
        option = typer.Option(declared, help=f"{field.description}{shown}", show_default=False)
        found.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[Optional[kind], option],  # noqa: UP045  kind is a value here
            )
        )
    return found


# typer reads a function's parameters; these come from the settings, so none can be missing.
serve.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined]
serve.__annotations__ = {item.name: item.annotation for item in _parameters()}
