"""Asks the archive for new series, and puts them into the queue."""

from __future__ import annotations

import threading

from tumorlens.errors import ArchiveError, QueueError
from tumorlens.pacs.logs import open_log
from tumorlens.pacs.retry import Backoff
from tumorlens.pacs.worker import Workplace

_CURSOR = "watch"


class Watcher:
    """Polls until it is told to stop; one thread.

    Where to go on is kept with the series that were found, in one transaction.
    """

    def __init__(self, place: Workplace, stop: threading.Event) -> None:
        self._place = place
        self._stop = stop
        self._log = open_log()
        self._failures = 0

    def run(self) -> None:
        """Ask every ``poll_seconds`` until ``stop`` is set, less often while something is away."""
        settings = self._place.settings
        backoff = Backoff(settings.retry_seconds, settings.retry_max_seconds)
        while not self._stop.is_set():
            try:
                more = self.step()
                self._failures = 0
            except (ArchiveError, QueueError) as error:
                self._failures += 1
                part = "queue" if isinstance(error, QueueError) else "archive"
                self._place.metrics.failures.labels(part).inc()
                self._log.warning(f"{part} away", reason=str(error), failures=self._failures)
                self._stop.wait(backoff.wait(self._failures))
                continue
            if not more:
                self._stop.wait(settings.poll_seconds)

    def step(self) -> bool:
        """Ask once; return whether there is more to ask for at once."""
        place = self._place
        archive = place.archive()
        cursor = place.queue.cursor(_CURSOR)
        if cursor is None:
            cursor, earlier = archive.start(backlog=place.settings.backlog)
            place.queue.put(earlier, place.model, "watch", cursor=(_CURSOR, cursor), answered=True)
        news = archive.news(cursor)
        added = place.queue.put(news.found, place.model, "watch", cursor=(_CURSOR, news.cursor))
        if added:
            place.metrics.found.inc(added)
            self._log.info("found", series=added)
        return news.more
