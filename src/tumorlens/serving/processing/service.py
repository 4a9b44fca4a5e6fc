"""The components of a running application, and the routes' access to them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request

from tumorlens.imaging.decode import Limits
from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import ClientGoneError
from tumorlens.serving.processing.jobs import Answer
from tumorlens.serving.processing.pool import Pool, Ticket
from tumorlens.serving.processing.served_model import ServedModel
from tumorlens.serving.settings import Settings
from tumorlens.serving.uploads.form import FormReader, Upload
from tumorlens.serving.uploads.raw import is_raw, read_raw

T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """The components of one application; built by ``create_app`` in each process."""

    settings: Settings
    metrics: Metrics
    model: ServedModel
    pool: Pool
    one_series: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a series is read and answered: one volume in memory at a time."""

    @property
    def volume_limits(self) -> Limits:
        """The limits of one volume or series."""
        return Limits(self.settings.batch_max_bytes, self.settings.series_max_voxels)

    @property
    def image_limits(self) -> Limits:
        """The limits of one image."""
        return Limits(self.settings.max_upload_bytes, self.settings.max_pixels)


def service_of(request: Request) -> Service:
    """Return the service of a request's application."""
    service: Service = request.app.state.service
    return service


async def read_uploads(request: Request, max_files: int) -> list[Upload]:
    """Return the files of the form, at most ``max_files``, timed as the stage ``read``."""
    with _reading(request):
        reader = FormReader(request.headers.get("content-type", ""), max_files)
        return await reader.read(request.stream())


async def read_image(request: Request) -> Upload:
    """Return the one image of a request: the only file of a form, or the whole body."""
    if not is_raw(request.headers.get("content-type", "")):
        (upload,) = await read_uploads(request, 1)
        return upload
    with _reading(request):
        return await read_raw(request.stream())


async def read_body(request: Request) -> bytes:
    """Return the whole body, timed as the stage ``read``."""
    with _reading(request):
        return (await read_raw(request.stream())).take()


@contextlib.contextmanager
def _reading(request: Request) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - begin
        service_of(request).metrics.stage.labels("read").observe(seconds)
        request.scope["state"]["stages"] = {"read": round(seconds * 1000, 2)}


def require_place(request: Request) -> None:
    """Raise the 503 problem when the request was given no place at its head.

    To be called before the body is read.
    """
    if request.scope["state"]["place"] is None:
        raise service_of(request).pool.refusal()


async def run_job(
    request: Request, service: Service, job: Callable[[Ticket], T], kind: str
) -> tuple[T, Ticket]:
    """Run the job of a request whose body was read.

    Raises the 503 problem when the place was given up while the body arrived and the pool is
    full, and :class:`ClientGoneError` when the client disconnects.
    """
    place = request.scope["state"]["place"]
    return await _unless_gone(request, service.pool.run(job, kind, place))


async def answer_for(
    request: Request, service: Service, job: Callable[[Ticket], Answer], kind: str = "predict"
) -> tuple[Answer, dict[str, Any]]:
    """Run the job of one image as `run_job` does; return its answer and the JSON fields."""
    answer, ticket = await run_job(request, service, job, kind)
    return answer, record(request, service, answer, ticket)


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Return the result of ``work``, but cancel it when the client disconnects.

    To be called after the body was read: the only further message is then the disconnect.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_wait_until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        for pending in (task, gone):
            if not pending.done():
                pending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pending


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def record(request: Request, service: Service, answer: Answer, ticket: Ticket) -> dict[str, Any]:
    """Update metrics and log line with an answer, and return its JSON fields."""
    prediction, facts, metrics = answer.prediction, answer.facts, service.metrics
    metrics.decisions.labels(prediction.decision).inc()
    metrics.score.observe(prediction.prob)
    if facts is not None:
        metrics.input_bytes.observe(facts.bytes)
        metrics.input_pixels.observe(facts.pixels)
        metrics.input_format.labels(facts.format).inc()
        metrics.input_mean.observe(facts.mean)
        metrics.input_contrast.observe(facts.contrast)
        metrics.drift.add(facts.observed)
    state = request.scope["state"]
    state["decision"] = prediction.decision
    state["model"] = prediction.model.sha256
    state["stages"] = {
        name: round(seconds * 1000, 2) for name, seconds in ticket.stages.items()
    } | state.get("stages", {})
    return {**prediction.to_dict(), "request_id": state["request_id"]}
