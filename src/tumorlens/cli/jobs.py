"""``tumorlens predict --out``: a job of many inputs, with its progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import typer

from tumorlens.cli.app import EXIT_UNREADABLE, print_error
from tumorlens.cli.tables import open_console
from tumorlens.errors import ConfigError

if TYPE_CHECKING:
    from tumorlens.jobs.run import Job, Progress

_SECONDS_BETWEEN_LINES = 10.0


class Report(Protocol):
    """Shows how far a job is."""

    def __call__(self, progress: Progress) -> None:
        """Show it."""


def run(job: Job) -> None:
    """Run a job; exits with 3 when some inputs could not be read."""
    from tumorlens.jobs.run import run_job

    if "-" in job.paths:
        raise ConfigError("standard input cannot be read again after a kill: give files with --out")
    with _shown() as report:
        progress = run_job(job, report)
    _end(job, progress)
    if progress.failed:
        raise typer.Exit(EXIT_UNREADABLE)


def describe(progress: Progress) -> str:
    """Return one line: inputs done, rate, errors and time left."""
    parts = [f"{progress.done:,} of {progress.inputs:,} inputs"]
    if progress.skipped:
        parts[0] += f" ({progress.skipped:,} of them before)"
    if progress.worked:
        parts.append(f"{progress.rate:,.1f} a second")
    if progress.failed:
        parts.append(f"{progress.failed:,} errors")
    left = progress.seconds_left
    if left is not None and progress.left:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time in the two largest of days, hours, minutes and seconds."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    for first, second, names in ((days, hours, "d h"), (hours, minutes, "h min")):
        if first:
            one, two = names.split()
            return f"{first} {one} {second} {two}"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


@contextmanager
def _shown() -> Iterator[Report]:
    """Show the line in place on a terminal, else a line every ten seconds."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with open_console(sys.stderr).status("looking at the inputs") as status:
        yield lambda progress: status.update(describe(progress))


class _Lines:
    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if monotonic() >= self._next:
            self._next = monotonic() + _SECONDS_BETWEEN_LINES
            typer.echo(describe(progress), err=True)


def _end(job: Job, progress: Progress) -> None:
    results = Path(job.out) / "results"
    typer.echo(f"{progress.answered:,} answers in {results}")
    if progress.worked:
        took = duration(monotonic() - progress.started)
        typer.echo(f"{progress.worked:,} inputs in {took}: {progress.rate:,.1f} a second", err=True)
    if progress.failed:
        errors = Path(job.out) / "errors"
        print_error(f"{progress.failed:,} inputs could not be read: see {errors}")
