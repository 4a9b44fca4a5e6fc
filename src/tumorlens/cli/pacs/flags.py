"""The settings of `tumorlens pacs` as flags."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Optional, get_args

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tumorlens.pacs.settings import PacsSettings


def settings_of(flags: dict[str, Any]) -> PacsSettings:
    """Return the settings of the flags that were given."""
    from tumorlens.pacs.settings import load_pacs_settings

    return load_pacs_settings({name: value for name, value in flags.items() if value is not None})


def _flag_type(field: FieldInfo) -> Any:
    """Return the type typer parses a flag as; `PacsSettings` validates the value."""
    for kind in (bool, int, float):
        if isinstance(field.default, kind):
            return kind
    return Path if field.annotation is Path or Path in get_args(field.annotation) else str


def _flags(without: Iterable[str]) -> list[inspect.Parameter]:
    found = []
    for name, field in PacsSettings.model_fields.items():
        if name in without or isinstance(field.default, SecretStr):
            continue  # every user of the machine can see command lines with ps
        kind, flag = _flag_type(field), f"--{name.replace('_', '-')}"
        declared = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
        empty = field.default in (None, "", ()) or field.default_factory is not None
        default = field.default
        if isinstance(default, tuple):
            default = ",".join(default)
        shown = "" if empty else f"  [default: {default}]"
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


def give_flags(command: Callable[..., None], without: Iterable[str]) -> None:
    """Give a command the parameters that typer inspects: the address, and a flag a setting."""
    address = Annotated[str, typer.Argument(help="Address of the archive.", metavar="URL")]
    first = inspect.Parameter("url", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=address)
    parameters = [first, *_flags(without)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
