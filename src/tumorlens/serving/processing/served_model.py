"""The loaded model, and its reload when the file changes.

A valid new file is loaded without dropping a request; one that is damaged, not a TumorLens model or
of a newer format is refused, and the current model stays in use.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import structlog

from tumorlens.errors import TumorLensError
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import from_exception
from tumorlens.serving.settings import Settings

_Stamp = tuple[int, int, int]


class ServedModel:
    """Holds the current predictor; :attr:`refusal` names the error of a refused new file."""

    def __init__(self, predictor: Predictor, settings: Settings, metrics: Metrics) -> None:
        self.predictor = predictor
        self.refusal: str | None = None
        self._settings = settings
        self._metrics = metrics
        self._path: Path | None = settings.model
        self._seen = _stamp(self._path)
        self._log = structlog.get_logger("tumorlens.serving")
        self._publish(1)

    async def watch(self) -> None:
        """Check the model file every ``reload_seconds``, until cancelled."""
        if self._path is None or not self._settings.reload_seconds:
            return
        while True:
            await asyncio.sleep(self._settings.reload_seconds)
            await self.check()

    async def check(self) -> None:
        """Open the model file if it changed since the last check.

        A file that is still being copied fails its hash check and is opened again when it changes.
        """
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            candidate = await asyncio.to_thread(open_predictor, self._settings)
        except TumorLensError as exc:
            self._refuse(exc)
            return
        self.refusal = None
        if candidate.sha256 != self.predictor.sha256:
            self._publish(0)
            self.predictor = candidate
            self._publish(1)
            self._metrics.reloads.labels("loaded").inc()
            self._log.info(
                "model", outcome="loaded", name=candidate.card.name, sha256=candidate.sha256
            )

    def _refuse(self, exc: TumorLensError) -> None:
        # The message contains the file's path, so it is logged but not part of /readyz.
        self.refusal = type(exc).__name__
        self._metrics.reloads.labels("refused").inc()
        self._log.error(
            "model",
            outcome="refused",
            error=type(exc).__name__,
            reason=str(exc),
            problem=from_exception(exc).kind.slug,
            current=self.predictor.sha256,
        )

    def _publish(self, value: int) -> None:
        card = self.predictor.card
        labels = (card.name, card.version, self.predictor.sha256)
        self._metrics.model_info.labels(*labels).set(value)
        if value:
            self._metrics.drift.follow(card.drift)


def open_predictor(settings: Settings) -> Predictor:
    """Open the configured model with one inference thread, since images run concurrently."""
    return Predictor.open(settings.model, threads=1)


def _stamp(path: Path | None) -> _Stamp | None:
    if path is None:
        return None
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size
    return None
