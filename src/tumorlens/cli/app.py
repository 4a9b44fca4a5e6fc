"""The command itself: its verbs, its exit codes, and how an error reaches the user.

A verb is one module beside this one that holds a function of the verb's name, and one entry in
`VERBS`. The module is imported when the verb is called (or listed by ``--help``), and it
imports torch, the service or onnxruntime only inside that function.

Exit codes: 0 done, also when tumours were found · 1 the audit found errors · 2 not possible as
asked (unknown option, no such model, unwritable output, missing extra) · 3 some inputs could not
be read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tumorlens import __version__
from tumorlens.errors import InputError, TumorLensError

# In the order of the pipeline, which is the order --help shows.
VERBS = (
    *("download", "audit", "split", "train", "protocol", "crossval", "evaluate", "report"),
    *("export", "predict", "explain", "serve", "bench", "model"),
)

EXIT_USAGE = 2
EXIT_UNREADABLE = 3
_EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: what the shell reports of a writer cut off by `head`


class VerbGroup(TyperGroup):
    """The verbs, each loaded from its module when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the verbs in the order of the pipeline."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load one verb; None, which becomes a usage error, when there is none."""
        if cmd_name not in VERBS:
            return None
        module = import_module(f"tumorlens.cli.{cmd_name}")
        verb = _plain_typer()
        settings = getattr(module, "CONTEXT_SETTINGS", None)
        verb.command(name=cmd_name, context_settings=settings)(getattr(module, cmd_name))
        return typer.main.get_command(verb)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tumorlens {__version__}")
        raise typer.Exit


def _tumorlens(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Brain MRI: tumour or not, where the model looked, and how far to trust it.

    A research tool, not for clinical use.
    """


def _plain_typer(**settings: Any) -> typer.Typer:
    # No markup: help texts hold square brackets, and rich would cost a tenth of a second.
    return typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **settings
    )


def main() -> None:
    """Run the command with the process's arguments and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are told on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A file name need not be valid text; it is shown escaped rather than failing the run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _invoke(arguments)
    except InputError as error:
        complain(str(error))
        return EXIT_UNREADABLE
    except TumorLensError as error:
        complain(str(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def complain(message: str) -> None:
    """Write one message to stderr; stdout is for data."""
    typer.echo(f"tumorlens: {message}", err=True)


def _invoke(arguments: Sequence[str]) -> int:
    app = _plain_typer(cls=VerbGroup, no_args_is_help=True)
    app.callback()(_tumorlens)
    try:
        typer.main.get_command(app).main(args=list(arguments), prog_name="tumorlens")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0
