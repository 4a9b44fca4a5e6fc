"""A job from its paths to its folder of results: survey, resume, answer, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal

from tumorlens.errors import ConfigError, MissingExtraError
from tumorlens.inference.cores import usable_cores
from tumorlens.inference.default_model import find_model
from tumorlens.jobs.folder import JobFolder, open_folder
from tumorlens.jobs.inputs import Reading, job_items
from tumorlens.jobs.items import Shard, cut
from tumorlens.jobs.local import answer_locally
from tumorlens.jobs.settings import Settings, ShardResult

Redo = Literal["changed", "errors"]
Engine = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        paths: files, folders, lists, archives, tables; paths or URLs of fsspec.
        out: folder of the results; see `tumorlens.jobs.folder`.
        settings: what answers depend on; its ``model`` is the digest of the file ``model``.
        model: the model file.
        workers: processes on this machine; None: one per core.
        engine: ``local``, or ``ray`` for a cluster.
        address: of the cluster; None: the one that ``RAY_ADDRESS`` names, or a new one here.
        redo: also answer finished shards again whose inputs or settings changed (``changed``), or
            that have errors (``errors``).
    """

    paths: tuple[str, ...]
    out: Path
    settings: Settings
    model: Path
    workers: int | None = None
    engine: Engine = "local"
    address: str | None = None
    redo: frozenset[Redo] = frozenset()


@dataclass(slots=True)
class Progress:
    """How far a job is; changes while it runs.

    Attributes:
        shards, inputs, size: all of the job; size in bytes.
        done: inputs in finished shards, those of earlier runs among them.
        answered, failed: rows of results and errors, those of earlier runs among them.
        skipped: inputs in shards that earlier runs finished.
        left: bytes of the inputs that are not done.
        worked: inputs, and bytes, done by this run.
        started: `time.monotonic` when this run began to answer.
    """

    shards: int = 0
    inputs: int = 0
    size: int = 0
    done: int = 0
    answered: int = 0
    failed: int = 0
    skipped: int = 0
    left: int = 0
    worked: int = 0
    worked_bytes: int = 0
    started: float = field(default_factory=monotonic)

    @property
    def rate(self) -> float:
        """Inputs a second in this run."""
        return self.worked / max(monotonic() - self.started, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Time left at the bytes a second of this run; None before its first shard."""
        if not self.worked_bytes:
            return None
        return self.left / self.worked_bytes * (monotonic() - self.started)


def make_settings(model: Path | None, **settings: object) -> tuple[Path, Settings]:
    """Return the model file that is used, and `Settings` with its digest.

    Raises `ModelFileError` when it cannot be read.
    """
    from tumorlens.modelfile import read_model

    path = find_model(model)
    return path, Settings(model=read_model(path).sha256, **settings)  # type: ignore[arg-type]


def run_job(job: Job, report: Callable[[Progress], None] = lambda progress: None) -> Progress:
    """Do what is left of a job, and return how it ended.

    A script that calls this needs ``if __name__ == "__main__":``, because processes are spawned.

    Args:
        job: the job.
        report: called before the first and after each shard.

    Raises:
        ConfigError: the folder holds answers to other inputs, by another model or in another form,
            and ``redo`` does not say ``changed``; or as `job_items`.
        OutputError: results cannot be written.
        MissingExtraError: Parquet, URLs or Ray without their extra.
        ModelFileError: the model cannot be used.
    """
    _check_extras(job)
    with open_folder(job.out) as folder:
        progress = _survey(job, folder)
        if folder.settings is not None and folder.settings.get("output") != job.settings.output:
            folder.clear()
        folder.start(job.settings)
        report(progress)
        todo = (each for each in _shards(job) if not _is_done(job, folder, each))
        for result in _answered(job, todo):
            folder.save(result)
            progress.done += result.inputs
            progress.answered += result.answered
            progress.failed += result.failed
            progress.left -= result.size
            progress.worked += result.inputs
            progress.worked_bytes += result.size
            report(progress)
        folder.drop_after(progress.shards)
    return progress


def _shards(job: Job) -> Iterator[Shard]:
    settings = job.settings
    reading = Reading(settings.slices, settings.column, settings.id_column)
    return cut(job_items(job.paths, reading), settings.shard_size, settings.digest)


def _survey(job: Job, folder: JobFolder) -> Progress:
    """Walk over all inputs once: count them, and compare them with what is finished."""
    progress = Progress()
    for shard in _shards(job):
        progress.shards += 1
        progress.inputs += shard.inputs
        progress.size += shard.size
        line = folder.finished.get(shard.index)
        if line is not None and line.key != shard.key and "changed" not in job.redo:
            raise ConfigError(_what_changed(job, folder, shard))
        if line is not None and _is_done(job, folder, shard):
            progress.done += shard.inputs
            progress.skipped += shard.inputs
            progress.answered += line.answered
            progress.failed += line.failed
        else:
            progress.left += shard.size
    if any(index >= progress.shards for index in folder.finished) and "changed" not in job.redo:
        raise ConfigError(f"{job.out}: holds answers to more inputs than there are now; {_WAYS}")
    progress.started = monotonic()
    return progress


_WAYS = "answer what changed again with --redo changed, or give another --out"


def _what_changed(job: Job, folder: JobFolder, shard: Shard) -> str:
    before, now = folder.settings or {}, job.settings
    if before.get("model") != now.model:
        return f"{job.out}: holds answers of another model; {_WAYS}"
    for name in Settings.__dataclass_fields__:
        value = getattr(now, name)
        if before.get(name) != (list(value) if isinstance(value, tuple) else value):
            return f"{job.out}: holds answers with another {name.replace('_', ' ')}; {_WAYS}"
    first, last = shard.items[0].name, shard.items[-1].name
    return (
        f"{job.out}: inputs were changed, added or removed since their answers were written, "
        f"the first of them in shard {shard.index} ({first} to {last}); {_WAYS}"
    )


def _is_done(job: Job, folder: JobFolder, shard: Shard) -> bool:
    line = folder.finished.get(shard.index)
    if line is None or line.key != shard.key or not folder.is_whole(shard.index):
        return False
    return not (line.failed and "errors" in job.redo)


def _answered(job: Job, shards: Iterator[Shard]) -> Iterator[ShardResult]:
    if job.engine == "ray":
        from tumorlens.jobs.cluster import answer_on_cluster

        return answer_on_cluster(shards, job.model, job.settings, job.address, job.workers)
    workers = usable_cores() if job.workers is None else job.workers
    return answer_locally(shards, job.model, job.settings, workers)


def _check_extras(job: Job) -> None:
    """Raise `MissingExtraError` now rather than after the survey of a million inputs."""
    try:
        if job.settings.output == "parquet":
            import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("writing Parquet", "tables") from error
    try:
        if job.engine == "ray":
            import ray  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("answering on a cluster", "cluster") from error
