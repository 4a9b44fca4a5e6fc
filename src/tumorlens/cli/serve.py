"""``tumorlens serve``: the web page and the API. Its flags are the service's settings."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Optional, get_args

import typer
from pydantic import SecretStr

from tumorlens.serving.settings import Settings


def serve(**flags: Any) -> None:
    """Serve the web page and the API until the process is stopped.

    Every flag can also be set as the environment variable TUMORLENS_<NAME> or in a .env file;
    docs/settings.md lists them. API keys are read from the environment or a file only.
    """
    from tumorlens.serving.server import serve as run
    from tumorlens.serving.settings import load_settings

    given = {name: value for name, value in flags.items() if value is not None}
    run(load_settings(given), _announce)


def _announce(address: str) -> None:
    typer.echo(f"TumorLens answers on {address}", err=True)


def _flag_type(annotation: Any, default: object) -> Any:
    """Return the type typer parses a flag as; `Settings` validates the value."""
    for kind in (bool, int, float):
        if isinstance(default, kind):
            return kind
    return Path if annotation is Path or Path in get_args(annotation) else str


def _parameters() -> list[inspect.Parameter]:
    parameters = []
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, SecretStr):
            continue  # every user of the machine can see command lines with ps
        kind = _flag_type(field.annotation, field.default)
        flag = f"--{name.replace('_', '-')}"
        declared = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
        shown = "" if field.default in (None, "", ()) else f"  [default: {field.default}]"
        option = typer.Option(declared, help=f"{field.description}{shown}", show_default=False)
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[Optional[kind], option],  # noqa: UP045  kind is a value here
            )
        )
    return parameters


# typer inspects the function's parameters: one per setting.
serve.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined]
serve.__annotations__ = {item.name: item.annotation for item in _parameters()}
