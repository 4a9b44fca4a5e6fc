"""One job after another: images → results on disk → stored → confirmed → done.

Every step can be repeated. What is killed between two steps goes on with the second: results that
are on disk are not computed again, and what the archive has is not stored again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from tumorlens.errors import (
    ArchiveError,
    InputError,
    OutputError,
    QueueError,
    TumorLensError,
)
from tumorlens.pacs.analysis import Analysis, Outcome
from tumorlens.pacs.archives.archive import Archive
from tumorlens.pacs.logs import fault, open_log
from tumorlens.pacs.metrics import PacsMetrics
from tumorlens.pacs.outbox import Outbox, Result
from tumorlens.pacs.queue import Job, Queue
from tumorlens.pacs.retry import Backoff
from tumorlens.pacs.settings import PacsSettings
from tumorlens.pacs.spool import Spool
from tumorlens.pacs.state import StateFolder

_LISTEN = "listen"
# A series that kills the process must not do so for ever; times max_attempts.
_MAX_INTERRUPTED = 4


@dataclass(frozen=True)
class Workplace:
    """What a worker works with."""

    settings: PacsSettings
    state: StateFolder
    queue: Queue
    outbox: Outbox
    archive: Callable[[], Archive]
    analyse: Analysis
    metrics: PacsMetrics
    model: str
    spool: Spool | None = None


class Worker:
    """Works until it is told to stop; one thread."""

    def __init__(self, place: Workplace, stop: threading.Event) -> None:
        self._place = place
        self._stop = stop
        self._log = open_log()
        self._away = 0

    def run(self) -> None:
        """Claim and process jobs until ``stop`` is set; nothing that happens ends it before."""
        place = self._place
        backoff = Backoff(place.settings.retry_seconds, place.settings.retry_max_seconds)
        released = False
        while not self._stop.is_set():
            try:
                if not released:  # what this folder's process had when it was killed
                    place.queue.release(place.state.owner)
                    released = True
                worked = self.step()
                self._away = 0
            except QueueError as error:
                self._away += 1
                released = False  # the job at hand, too: its lease would have to run out
                place.metrics.failures.labels("queue").inc()
                self._log.warning("queue away", reason=str(error), failures=self._away)
                self._stop.wait(backoff.wait(self._away))
                continue
            if not worked:
                self._stop.wait(min(1.0, place.settings.poll_seconds))

    def step(self) -> bool:
        """Process one job; return whether there was one. Raises `QueueError`."""
        place = self._place
        job = place.queue.claim(place.state.owner, place.settings.lease_seconds)
        if job is None:
            return False
        if job.attempts > _MAX_INTERRUPTED * place.settings.max_attempts:
            self._fail(job, "the process ended each time it was tried", 0)
            return True
        with self._renewing(job):
            self._process(job)
        return True

    def _process(self, job: Job) -> None:
        place = self._place
        name = f"{job.id:08}"
        try:
            outcome, results = self._results(job, name)
            self._store(results)
        except QueueError:
            raise
        except InputError as error:
            self._fail(job, _reason(error, place), 0)
        except (ArchiveError, OutputError) as error:
            self._wait(job, error)
        except TumorLensError as error:
            self._fail(job, _reason(error, place), place.settings.max_attempts)
        # Whatever a library raises of one series is that series' and no other's.
        except Exception as error:  # noqa: BLE001
            self._log.error("fault", job=job.id, **fault(error))
            self._fail(job, f"unexpected: {type(error).__name__}", place.settings.max_attempts)
        else:
            place.queue.finish(job, outcome, {each.series_uid for each in results})
            place.outbox.remove(name)
            place.metrics.jobs.labels(outcome).inc()
            self._log.info("done", job=job.id, outcome=str(outcome), results=len(results))

    def _results(self, job: Job, name: str) -> tuple[Outcome, list[Result]]:
        """Return the results on disk, computed now if they are not there yet."""
        place = self._place
        there = place.outbox.find(name)
        if there is not None:
            return (Outcome.answered if there else Outcome.out_of_domain), there
        outcome = Outcome.not_mr
        with self._images(job) as images:
            if images is None:
                return outcome, []

            def write(out: Path) -> None:
                nonlocal outcome
                with place.metrics.timed("analyse"):
                    outcome = place.analyse(images, out)

            results = place.outbox.make(name, write)
        return outcome, results

    @contextmanager
    def _images(self, job: Job) -> Iterator[Path | None]:
        """Yield a folder with the images; None when the archive has none of MR."""
        place = self._place
        if job.origin == _LISTEN:
            if place.spool is None or not place.spool.files(job.series):
                raise InputError("the images are not in this folder; see docs/pacs.md")
            yield place.spool.folder(job.series)
            return
        folder = place.state.work / f"{job.id:08}"
        rmtree(folder, ignore_errors=True)
        try:
            try:
                folder.mkdir(mode=0o700, parents=True)
                with place.metrics.timed("fetch"):
                    count = place.archive().fetch(job, folder, place.settings.max_series_files)
            except OSError as error:
                raise OutputError(f"images cannot be written ({error.strerror})") from error
            yield folder if count else None
        finally:
            rmtree(folder, ignore_errors=True)

    def _store(self, results: list[Result]) -> None:
        """Store what the archive lacks, and ask it for each."""
        if not results:
            return
        place, archive = self._place, self._place.archive()
        with place.metrics.timed("store"):
            for each in archive.missing(results):
                archive.store(each)
            lacking = archive.missing(results)
        if lacking:
            raise ArchiveError(
                f"{len(lacking)} of {len(results)} results are not found once stored"
            )
        place.metrics.stored.inc(len(results))

    def _fail(self, job: Job, reason: str, max_attempts: int) -> None:
        place = self._place
        dead = place.queue.fail(job, reason, max_attempts=max_attempts)
        place.metrics.failures.labels("job").inc()
        if dead:
            place.metrics.jobs.labels("dead").inc()
        self._log.warning("dead" if dead else "failed", job=job.id, reason=reason)

    def _wait(self, job: Job, error: TumorLensError) -> None:
        """Postpone a job: archive or disk are away, which is not its fault."""
        place = self._place
        place.metrics.failures.labels(
            "archive" if isinstance(error, ArchiveError) else "disk"
        ).inc()
        place.queue.postpone(job, str(error))
        self._log.warning("postponed", job=job.id, reason=str(error))

    @contextmanager
    def _renewing(self, job: Job) -> Iterator[None]:
        """Renew the lease from a thread for as long as the job is processed."""
        place, over = self._place, threading.Event()
        seconds = place.settings.lease_seconds

        def renew() -> None:
            while not over.wait(seconds / 3):
                try:
                    place.queue.renew(job, place.state.owner, seconds)
                except QueueError:
                    place.metrics.failures.labels("queue").inc()

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _reason(error: TumorLensError, place: Workplace) -> str:
    """Return an error's message without the paths of this folder."""
    return str(error).replace(f"{place.state.root}", "…")[:500]
