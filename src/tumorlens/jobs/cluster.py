"""Shards on a Ray cluster: one actor a core, results through the object store.

Ray Data hands shards to a pool of actors and yields each result as it is finished; it starts
actors again and repeats the shards of those that died, with their node or alone. The caller alone
writes, so nodes need to read the inputs (by the same paths, or URLs), but no results folder.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from tumorlens import errors
from tumorlens.errors import ConfigError, MissingExtraError, TumorLensError
from tumorlens.jobs.items import Shard
from tumorlens.jobs.local import Answering, Failure
from tumorlens.jobs.settings import Settings, ShardResult

# Shards that are planned at once, by core: the last of them leave cores idle, so not too few.
_WAVE = 64
_COLUMNS = tuple(each.name for each in fields(ShardResult))


def answer_on_cluster(
    shards: Iterable[Shard],
    model: Path,
    settings: Settings,
    address: str | None = None,
    actors: int | None = None,
) -> Iterator[ShardResult]:
    """Yield the results of the shards as they finish, in any order.

    Args:
        shards: the shards; a wave of them is in memory at a time.
        model: the model file; its bytes travel to the actors.
        settings: of the job.
        address: of the cluster; None: that of ``$RAY_ADDRESS``, or a new one on this machine.
        actors: at most so many; None: one for each core of the cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster cannot be reached, or a shard failed for good.
        TumorLensError: what a failing model raises.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("answering on a cluster", "cluster") from error
    ours = _connect(ray, address)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        content = ray.put(model.read_bytes())
        waiting = iter(shards)
        while wave := list(islice(waiting, _WAVE * _cores(ray, actors))):
            yield from _wave(ray, wave, content, settings, actors)
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> bool:
    """Connect to a cluster, and return whether it was not before."""
    if ray.is_initialized():
        return False
    # Ray tells its doings on stderr, which shows the progress; what fails is raised anyway.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise ConfigError(f"{where}: no Ray cluster there ({type(error).__name__})") from error
    return True


def _cores(ray: Any, actors: int | None) -> int:
    cores = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(cores, actors or cores))


def _wave(
    ray: Any, wave: list[Shard], content: Any, settings: Settings, actors: int | None
) -> Iterator[ShardResult]:
    cores = min(_cores(ray, actors), len(wave))
    rows = [{"shard": each.to_json()} for each in wave]
    answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Actor,
        fn_constructor_args=(content, settings),
        batch_size=1,
        batch_format="numpy",
        num_cpus=1,
        # A pool that may shrink goes on when a node is gone for good.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cores, initial_size=cores),
    )
    for row in answers.iter_rows():
        if row["failure"]:
            raise _error(row["failure"], row["message"])
        yield ShardResult(**{name: row[name] for name in _COLUMNS})


class _Actor:
    """Answers shards on a node, by the model's bytes."""

    def __init__(self, content: Any, settings: Settings) -> None:
        """Take a reference to the bytes of the model file."""
        self._content, self._settings = content, settings

    @cached_property
    def _answer(self) -> Answering:
        import ray

        self._folder = tempfile.TemporaryDirectory(prefix="tumorlens-")
        path = Path(self._folder.name) / "model.onnx"
        path.write_bytes(ray.get(self._content))
        return Answering(path, self._settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Answer the one shard of a batch."""
        answer = self._answer(str(batch["shard"][0]))
        if isinstance(answer, Failure):
            nothing = {name: [b"" if name in ("results", "errors") else 0] for name in _COLUMNS}
            failed = {"failure": [answer.kind or "ConfigError"], "message": [answer.message]}
            return {**nothing, "key": [""], "seconds": [0.0], **failed}
        values = {name: [getattr(answer, name)] for name in _COLUMNS}
        return {**values, "failure": [""], "message": [""]}


def _error(kind: str, message: str) -> TumorLensError:
    error: TumorLensError = Failure(kind, message).raised() or errors.ConfigError(message)
    return error
