"""`tumorlens pacs status` and `retry`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.cli.app import require
from tumorlens.cli.pacs.flags import settings_of
from tumorlens.errors import ConfigError

if TYPE_CHECKING:
    from tumorlens.pacs.queue import Job, Queue

_STATES = ("waiting", "done", "dead")

Folder = Annotated[
    Path | None, typer.Option(help="Folder of the queue.  [default: as of watch and listen]")
]


def status(
    folder: Folder = None,
    state: Annotated[
        str | None, typer.Option(help="Only jobs that are waiting, done or dead.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs listed.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    uids: Annotated[
        bool, typer.Option("--uids", help="Show the series' UIDs, which identify patients.")
    ] = False,
) -> None:
    """Show the queue: how many series wait, are done and are dead, and the latest of them."""
    if state is not None and state not in _STATES:
        raise typer.BadParameter(f"--state is one of {', '.join(_STATES)}")
    queue = _open_queue(folder)
    counts, jobs = queue.counts(), queue.list(state, limit)
    rows = [_row(job, uids) for job in jobs]
    if as_json:
        typer.echo(json.dumps({"counts": counts, "jobs": rows}, indent=2))
        return
    typer.echo("  ".join(f"{name} {count}" for name, count in counts.items()))
    for row in rows:
        typer.echo("  ".join(str(value) for value in row.values() if value not in ("", None)))


def retry(
    jobs: Annotated[list[int] | None, typer.Argument(help="Numbers of jobs, of status.")] = None,
    folder: Folder = None,
    dead: Annotated[bool, typer.Option("--dead", help="All of the dead-letter list.")] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Forget finished jobs: their series is new when it comes."),
    ] = False,
) -> None:
    """Let jobs be tried again at once; what was answered stays answered."""
    if bool(jobs) == dead:
        raise typer.BadParameter("give numbers of jobs, or --dead")
    queue = _open_queue(folder)
    chosen = list(jobs or []) if not dead else [job.id for job in queue.list("dead", 1_000_000)]
    count = len(queue.forget(chosen)) if forget else queue.retry(chosen)
    typer.echo(f"{count} {'forgotten' if forget else 'waiting again'}")
    if count < len(chosen):
        raise ConfigError(
            f"{len(chosen) - count} of {len(chosen)} are not there or not of that kind; see "
            "`tumorlens pacs status` (what is done is not tried again, but can be forgotten)"
        )


def _open_queue(folder: Path | None) -> Queue:
    require("dicom", "tumorlens pacs", "sqlalchemy")
    from tumorlens.pacs.queue import Queue

    settings = settings_of({"folder": folder})
    if settings.queue_url.startswith("sqlite") and not settings.queue.get_secret_value():
        path = settings.folder / "queue.sqlite"
        if not path.is_file():
            raise ConfigError(f"{path}: no queue there; give the --folder of watch or listen")
    return Queue(settings.queue_url)


def _row(job: Job, uids: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "job": job.id,
        "state": job.state,
        "outcome": job.outcome,
        "origin": job.origin,
        "created": _time(job.created),
        "finished": None if job.finished is None else _time(job.finished),
        "attempts": job.attempts,
        "images": job.images,
        "late": job.late,
        "reason": job.reason,
    }
    return row | ({"series": job.series_uid, "study": job.study_uid} if uids else {})


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
