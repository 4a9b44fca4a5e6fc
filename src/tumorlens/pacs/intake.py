"""Puts received series into the queue when they are complete, and clears away what is answered."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from tumorlens.errors import InputError, QueueError
from tumorlens.pacs.identity import HEADER_BYTES, read_identity
from tumorlens.pacs.logs import open_log
from tumorlens.pacs.queue import Found
from tumorlens.pacs.spool import Spool
from tumorlens.pacs.worker import Workplace

_TURN = 1.0  # seconds
_SWEEP = 60.0
_HOUR = 3600.0


class Intake:
    """Looks at the spool until it is told to stop; one thread."""

    def __init__(self, place: Workplace, spool: Spool, stop: threading.Event) -> None:
        self._place = place
        self._spool = spool
        self._stop = stop
        self._log = open_log()
        self._swept = 0.0

    def run(self) -> None:
        """Register and sweep until ``stop`` is set; what fails is tried again."""
        turn = min(_TURN, max(self._place.settings.settle_seconds, 0.05))
        while not self._stop.is_set():
            self.step()
            self._stop.wait(turn)

    def step(self) -> None:
        """Register the series that are complete by now; sweep once a minute."""
        for series in self._spool.settled(self._place.settings.settle_seconds):
            try:
                self._register(series)
            except QueueError as error:
                self._spool.touch(series)
                self._place.metrics.failures.labels("queue").inc()
                self._log.warning("queue away", reason=str(error))
        if time.monotonic() - self._swept >= _SWEEP:
            self._swept = time.monotonic()
            with suppress(QueueError):
                self.sweep()

    def _register(self, series: str) -> None:
        place = self._place
        files = self._spool.files(series)
        if not files:
            return
        try:
            with files[0].open("rb") as file:
                its = read_identity(file.read(HEADER_BYTES))
        except (InputError, OSError):
            self._log.error("a received series cannot be read back")
            return
        found = Found(its.series, its.study, images=len(files))
        new, late = place.queue.put_received(found, place.model, [path.stem for path in files])
        if new:
            place.metrics.found.inc()
            self._log.info("found", series=1, images=len(files))
        if late:
            place.metrics.late.inc(len(late))
            self._log.warning("images came after the answer", images=len(late))

    def sweep(self) -> None:
        """Remove series that were answered ``keep_hours`` ago; raises `QueueError`."""
        place = self._place
        until = time.time() - place.settings.keep_hours * _HOUR
        for series in self._spool.series():
            job = place.queue.find(series, place.model)
            if job is None or job.state != "done" or job.finished is None:
                continue
            if job.finished <= until:
                self._spool.remove(series)
