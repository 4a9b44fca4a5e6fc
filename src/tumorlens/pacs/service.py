"""Runs `watch` and `listen`: threads, signals, metrics, and a stop that loses nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from tumorlens.pacs.analysis import Analysis
from tumorlens.pacs.archives.archive import Archive
from tumorlens.pacs.archives.open import open_archive
from tumorlens.pacs.intake import Intake
from tumorlens.pacs.logs import open_log
from tumorlens.pacs.metrics import PacsMetrics
from tumorlens.pacs.outbox import Outbox
from tumorlens.pacs.queue import Queue
from tumorlens.pacs.receiver import Receiver
from tumorlens.pacs.retry import Backoff
from tumorlens.pacs.settings import PacsSettings, check_url
from tumorlens.pacs.spool import Spool
from tumorlens.pacs.state import StateFolder
from tumorlens.pacs.watcher import Watcher
from tumorlens.pacs.worker import Worker, Workplace


class PacsService:
    """One process at an archive's side."""

    def __init__(
        self, url: str, settings: PacsSettings, analyse: Analysis, model: str, *, listen: bool
    ) -> None:
        """Open folder and queue; nothing runs yet.

        Args:
            url: the archive's address, where results go and `watch` looks for series.
            settings: all settings.
            analyse: what to do with a series, from `make_analysis`.
            model: SHA-256 of the model file, one answer a series for each.
            listen: receive series instead of watching the archive.

        Raises `ConfigError`, `OutputError` or `MissingExtraError`.
        """
        self._url = check_url(url)
        self._settings = settings
        self._stop = threading.Event()
        self._archive: Archive | None = None
        self._lock = threading.Lock()
        self.metrics = PacsMetrics()
        self._state = StateFolder.open(settings.folder)
        backoff = Backoff(settings.retry_seconds, settings.retry_max_seconds)
        self.queue = Queue(settings.queue_url, backoff)
        spool = Spool(self._state.spool) if listen else None
        place = Workplace(
            settings, self._state, self.queue, Outbox(self._state.outbox), self._open_archive,
            analyse, self.metrics, model, spool,
        )  # fmt: skip
        parts: list[tuple[str, Callable[[], None]]] = [("worker", Worker(place, self._stop).run)]
        self._receiver: Receiver | None = None
        if spool is not None:
            self._receiver = Receiver(settings, self._state, spool, self.metrics)
            parts.append(("intake", Intake(place, spool, self._stop).run))
        else:
            parts.append(("watcher", Watcher(place, self._stop).run))
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True) for name, run in parts
        ]

    def start(self) -> int | None:
        """Start receiving, working and reporting; return the port of `listen`."""
        settings, log = self._settings, open_log()
        self.metrics.watch(self.queue, self._state.free_bytes)
        self._stop_metrics: Callable[[], None] | None = None
        if settings.metrics_port:
            self._stop_metrics = self.metrics.serve(settings.metrics_host, settings.metrics_port)
        port = self._receiver.start() if self._receiver is not None else None
        for thread in self._threads:
            thread.start()
        log.info("started", listening=port is not None)
        return port

    def stop(self) -> bool:
        """Finish what was begun, within ``stop_timeout``; return whether it was.

        What was not goes on at the next start.
        """
        timeout = self._settings.stop_timeout
        if self._receiver is not None:
            self._receiver.stop(timeout)
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout)
        if self._stop_metrics is not None:
            self._stop_metrics()
        whole = not any(thread.is_alive() for thread in self._threads)
        if whole:
            self.queue.close()
        self._state.close()
        open_log().info("stopped", finished=whole)
        return whole

    def _open_archive(self) -> Archive:
        with self._lock:
            if self._archive is None:
                self._archive = open_archive(self._url, self._settings)
            return self._archive


def serve_until_signal(service: PacsService, announce: Callable[[int | None], None]) -> None:
    """Run a service until SIGTERM or SIGINT; a second one ends the process at once."""
    over = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        over.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    announce(service.start())
    over.wait()
    service.stop()


def open_service(url: str, settings: PacsSettings, *, listen: bool) -> PacsService:
    """Open a service with the model of the settings.

    Raises:
        ConfigError: unusable settings, address or kinds of result.
        ModelFileError: the model cannot be used.
        MissingExtraError: the extra ``dicom`` is not installed.
    """
    from tumorlens.inference.predictor import Predictor
    from tumorlens.pacs.analysis import make_analysis

    check_url(url)
    predictor = Predictor.open(settings.model, threads=settings.threads or None)
    analyse = make_analysis(predictor, settings.results)
    return PacsService(url, settings, analyse, predictor.sha256, listen=listen)
