"""Shards on the processes of one machine, each with a network of one thread.

A process that dies is replaced. A shard that a process died with is tried once more; if that
process dies too, its items are tried one by one, and the one that ends a process is an error of
its own. So one file that takes a decoder down is a row among the errors, and no shard is lost.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tumorlens import errors
from tumorlens.errors import ConfigError, ModelFileError, TumorLensError
from tumorlens.inference.predictor import Predictor
from tumorlens.jobs.answer import answer_shard
from tumorlens.jobs.items import BrokenItem, Item, Shard
from tumorlens.jobs.settings import Settings, ShardResult

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy threads of the caller


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that ended a process's shard: ours by name and message, or any other."""

    kind: str
    message: str

    def raised(self) -> TumorLensError | None:
        """Return our error, or None for any other."""
        kind = getattr(errors, self.kind, None)
        if kind is None:
            return None
        error: TumorLensError = kind.__new__(kind)
        Exception.__init__(error, self.message)
        return error


def answer_locally(
    shards: Iterable[Shard], model: Path, settings: Settings, workers: int
) -> Iterator[ShardResult]:
    """Yield the results of the shards as they finish, in any order.

    Raises what a failing model raises, and `ConfigError` when processes cannot be started or
    ``workers`` is below 1.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers: give 1 or more")
    crew = [_Worker(model, settings) for _ in range(workers)]
    waiting = iter(shards)
    try:
        for worker in crew:
            worker.start(next(waiting, None))
        following = next(waiting, None)
        while busy := [each for each in crew if each.shard is not None]:
            ready = wait([each.connection for each in busy])
            for worker in busy:
                if worker.connection in ready:
                    result = _outcome(worker)
                    worker.start(following)  # before the caller writes, so that none waits for it
                    following = next(waiting, None)
                    yield result
    finally:
        for worker in crew:
            worker.end()


def _outcome(worker: _Worker) -> ShardResult:
    """Return the result of a worker that has one, or that has died."""
    shard = worker.shard
    assert shard is not None
    for attempt in range(2):
        if attempt:
            worker.start(shard)
        answer = worker.receive()
        if isinstance(answer, ShardResult):
            return answer
        if answer is not None and (error := answer.raised()):
            raise error
    worker.start(Shard(shard.index, (), shard.settings))
    if not isinstance(worker.receive(), ShardResult):
        raise ConfigError("worker processes end before they answer; is there memory for them?")
    return _one_by_one(worker, shard)


def _one_by_one(worker: _Worker, shard: Shard) -> ShardResult:
    items: list[Item] = []
    for item in shard.items:
        worker.start(Shard(shard.index, (item,), shard.settings))
        answer = worker.receive()
        if isinstance(answer, ShardResult):
            items.append(item)
            continue
        what = "the process that read it died" if answer is None else answer.message
        items.append(BrokenItem(item.name, "DecodeError", f"{item.name}: {what}; leave it out"))
    worker.start(replace(shard, items=tuple(items)))
    answer = worker.receive()
    if not isinstance(answer, ShardResult):
        raise ConfigError(
            f"shard {shard.index}: processes die with it, but with none of its inputs alone; "
            "is there memory for them?"
        )
    return replace(answer, key=shard.key, inputs=shard.inputs, size=shard.size)


class _Worker:
    """A process of its own, started when it is needed and replaced when it has died."""

    def __init__(self, model: Path, settings: Settings) -> None:
        self._given = (model, settings)
        self._process: multiprocessing.process.BaseProcess | None = None
        self.shard: Shard | None = None
        self.connection: Connection

    def start(self, shard: Shard | None) -> None:
        """Give it a shard; with None it rests."""
        self.shard = shard
        if shard is None:
            return
        if self._process is None:
            self.connection, theirs = _SPAWN.Pipe()
            self._process = _SPAWN.Process(
                target=_work, args=(theirs, *self._given), name="tumorlens-worker", daemon=True
            )
            self._process.start()
            theirs.close()  # so that the end of the process is the end of what can be read
        with suppress(OSError):  # died at rest: noticed when the answer is asked for
            self.connection.send(shard.to_json())

    def receive(self) -> ShardResult | Failure | None:
        """Return what it answers; None when it has died."""
        try:
            answer: ShardResult | Failure = self.connection.recv()
        except (EOFError, OSError):
            self.end()
            return None
        return answer

    def end(self) -> None:
        """Stop the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self.connection.close()
            self._process = None


def _work(connection: Connection, model: Path, settings: Settings) -> None:
    """Answer shards until the caller hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides
    _die_with_parent()
    with suppress(EOFError, OSError):
        answer = Answering(model, settings)
        while True:
            connection.send(answer(connection.recv()))


class Answering:
    """Answers shards in this process by a model that is opened for the first of them."""

    def __init__(self, model: Path, settings: Settings) -> None:
        """Take the path of the model file and the settings."""
        self._model, self._settings = model, settings

    @cached_property
    def _predictor(self) -> Predictor:
        import cv2

        cv2.setNumThreads(1)  # the cores are shared out by processes
        predictor = Predictor.open(self._model, threads=1, provider=self._settings.provider)
        if predictor.sha256 != self._settings.model:
            raise ModelFileError(f"{self._model}: was replaced while the job runs; start it again")
        return predictor

    def __call__(self, text: str) -> ShardResult | Failure:
        """Answer the shard of a JSON text; whatever is raised is returned."""
        try:
            return answer_shard(self._predictor, Shard.from_json(text), self._settings)
        except TumorLensError as error:
            return Failure(type(error).__name__, str(error))
        # One item may take down what reads it, but not the job; its message may quote the file.
        except Exception as error:  # noqa: BLE001
            return Failure("", f"cannot be answered ({type(error).__name__})")


def _die_with_parent() -> None:
    """End this process when its parent has ended, however that happened."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
