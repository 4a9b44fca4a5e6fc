"""The command-line application: verbs, exit codes and error messages.

A verb is a function in the module of the same name in this package, plus an entry in `VERBS`. A
module with ``COMMANDS`` has further verbs below its own.
The module is imported when the verb is called (or listed by ``--help``); torch, the service and
onnxruntime are imported only inside that function.

Exit codes: 0 success, whatever the predictions · 1 the audit found errors · 2 the command cannot
be carried out (unknown option, no such model, unwritable output, missing extra) · 3 some inputs
could not be read.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tumorlens import __version__
from tumorlens.errors import InputError, MissingExtraError, TumorLensError

# In pipeline order, which --help keeps.
VERBS = (
    *("download", "audit", "split", "train", "protocol", "crossval", "evaluate", "report"),
    *("export", "calibrate", "predict", "explain", "deidentify", "pacs", "serve"),
    *("bench", "model"),
)

EXIT_USAGE = 2
EXIT_UNREADABLE = 3
_GC_OBJECTS = 20_000  # new objects between two searches for cycles; Python's default is 700
_EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: what a shell reports for `tumorlens … | head`


class VerbGroup(TyperGroup):
    """The verbs, each loaded from its module on demand."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the verbs in the order of the pipeline."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load one verb; None for an unknown name, which typer reports as a usage error."""
        if cmd_name not in VERBS:
            return None
        module = import_module(f"tumorlens.cli.{cmd_name}")
        verb = _plain_typer()
        settings = getattr(module, "CONTEXT_SETTINGS", None)
        commands = getattr(module, "COMMANDS", None)
        if commands is None:
            verb.command(name=cmd_name, context_settings=settings)(getattr(module, cmd_name))
            return typer.main.get_command(verb)
        group = _plain_typer(name=cmd_name, no_args_is_help=True)
        group.callback()(getattr(module, cmd_name))
        for name, function in commands.items():
            group.command(name=name)(function)
        return typer.main.get_command(group)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"tumorlens {__version__}")
        raise typer.Exit


def _tumorlens(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Brain MRI: tumour or not, the evidence in the image, and how reliable the answer is.

    A research tool, not for clinical use.
    """


def _plain_typer(**settings: Any) -> typer.Typer:
    # No markup: help texts contain square brackets, and importing rich takes 0.1 s.
    return typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **settings
    )


def main() -> None:
    """Run the command line of this process and exit with its code."""
    # pydantic would look for plugins in every installed package, which takes longer than to read
    # a card; nothing here has one.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Imports make many objects that stay; to search them for cycles again and again is in vain.
    gc.set_threshold(_GC_OBJECTS)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors go to stderr."""
    for stream in (sys.stdout, sys.stderr):
        # File names may contain undecodable bytes: escape them instead of failing.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _invoke(arguments)
    except InputError as error:
        print_error(str(error))
        return EXIT_UNREADABLE
    except TumorLensError as error:
        print_error(str(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def print_error(message: str) -> None:
    """Write one message to stderr; stdout is reserved for results."""
    typer.echo(f"tumorlens: {message}", err=True)


def require(extra: str, feature: str, *packages: str) -> None:
    """Raise `MissingExtraError` for ``feature`` unless all ``packages`` of ``extra`` are there."""
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError(feature, extra)


def _invoke(arguments: Sequence[str]) -> int:
    app = _plain_typer(cls=VerbGroup, no_args_is_help=True)
    app.callback()(_tumorlens)
    try:
        typer.main.get_command(app).main(args=list(arguments), prog_name="tumorlens")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0
