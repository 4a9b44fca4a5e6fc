"""``POST /predict/series``: volumes and DICOM series, one answer each, with streamed progress."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tumorlens.errors import (
    EmptyInputError,
    InputError,
    NotBrainMRIError,
    TumorLensError,
    UnsupportedFormatError,
)
from tumorlens.imaging.anatomy import Plane
from tumorlens.inference.series.answer import SeriesPrediction
from tumorlens.inference.series.run import SeriesRun
from tumorlens.inference.series.source import load
from tumorlens.serving.api.batch import NDJSON
from tumorlens.serving.api.openapi import UPLOAD_ROUTE, problem_responses, upload_form
from tumorlens.serving.api.series_schemas import SeriesProgress
from tumorlens.serving.problems import UPLOAD_NAME, ProblemError, document, from_exception
from tumorlens.serving.processing.pool import Ticket
from tumorlens.serving.processing.service import (
    Service,
    read_uploads,
    require_place,
    service_of,
)
from tumorlens.serving.uploads.study import study_sources
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Entry, Picture, Unreadable

T = TypeVar("T")
router = APIRouter(tags=["predict"])

SERIES_FILES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "string",
        "format": "binary",
        "description": "A volume (NIfTI, MGH …), a DICOM file of a series, or a zip of them.",
    },
}
_LINES = {
    NDJSON: {
        "schema": {
            "oneOf": [
                {"$ref": "#/components/schemas/SeriesProgress"},
                {"$ref": "#/components/schemas/SeriesLine"},
            ]
        },
        "example": {"index": 0, "done": 12, "of": 150},
    }
}
_SINGLE = "no volume and no DICOM series; send a single picture to /predict"


@router.post(
    "/predict/series",
    response_class=Response,
    responses={
        200: {"description": "For each series lines of progress, then its answer.",
              "content": _LINES},
        **problem_responses(*UPLOAD_ROUTE),
    },
    openapi_extra=upload_form(SERIES_FILES),
)  # fmt: skip
async def predict_series(
    request: Request,
    plane: Annotated[
        Plane | None, Query(description="Plane to cut; by default the plane of acquisition.")
    ] = None,
) -> Response:
    """Predict volumes and DICOM series: lines of progress, then a prediction or problem each."""
    service = service_of(request)
    entries = await read_entries(request, service)
    return StreamingResponse(_lines(request, service, entries, plane), media_type=NDJSON)


async def read_entries(request: Request, service: Service) -> list[Entry]:
    """Return what the request's files hold; raises the first problem where nothing is a series."""
    require_place(request)
    uploads = await read_uploads(request, service.settings.series_max_files)
    # Its slices are queued batch by batch; the request itself needs no place.
    request.scope["state"]["place"].leave()
    sources = study_sources(uploads, service.settings)
    del uploads
    # Found before the response starts, so that a refusal of all can be its status.
    entries = await in_pool(
        service, "decode", lambda: discover(sources, limits=service.volume_limits)
    )
    errors = [error for each in entries if (error := _refusal(each)) is not None]
    if len(errors) == len(entries):
        raise errors[0] if errors else ProblemError("not-decodable", "The files hold no image.")
    return entries


async def _lines(
    request: Request, service: Service, entries: list[Entry], plane: Plane | None
) -> AsyncIterator[bytes]:
    for index, entry in enumerate(entries):
        last: dict[str, Any] = {"index": index, "prediction": None, "problem": None}
        try:
            async with service.one_series:
                async for step in _answer(service, entry, plane):
                    if isinstance(step, SeriesPrediction):
                        last["prediction"] = series_record(request, service, step)
                    else:
                        done, of = step
                        yield to_line(SeriesProgress(index=index, done=done, of=of).model_dump())
        except (TumorLensError, ProblemError) as exc:
            last["problem"] = problem_record(request, service, exc)
        yield to_line(last)


async def _answer(
    service: Service, entry: Entry, plane: Plane | None
) -> AsyncIterator[tuple[int, int] | SeriesPrediction]:
    """Yield slices done and of how many, and at last the answer; each step is a job of the pool."""
    run = await open_run(service, entry, plane)
    steps = iter(run)
    while (step := await in_pool(service, "forward", lambda: next(steps, None))) is not None:
        yield step
    yield await answer_of(service, run)


async def open_run(service: Service, entry: Entry, plane: Plane | None) -> SeriesRun:
    """Read a series and return its run, in batches small enough for others in between."""
    if isinstance(entry, Picture | Unreadable):
        raise _refusal(entry) or UnsupportedFormatError(_SINGLE)
    loaded = await in_pool(service, "decode", lambda: load(entry))
    return loaded.run(service.model.predictor, plane, batch_size=4, readers=0)


async def answer_of(service: Service, run: SeriesRun) -> SeriesPrediction:
    """Return the answer of a finished run; raises `NotBrainMRIError` for one out of domain."""
    answer = await in_pool(service, "encode", lambda: run.answer)
    if not answer.in_domain:
        raise NotBrainMRIError(f"{UPLOAD_NAME}: {answer.in_domain_reason}")
    return answer


async def in_pool(service: Service, stage: str, work: Callable[[], T]) -> T:
    """Run one step when the pool has a place, so that single images are answered in between."""

    def job(ticket: Ticket) -> T:
        with ticket.stage(stage):
            return work()

    await service.pool.wait_for_capacity()
    result, _ = await service.pool.run(job, f"series {stage}", urgent=False)
    return result


def _refusal(entry: Entry) -> InputError | None:
    if isinstance(entry, Unreadable):
        return entry.error
    if isinstance(entry, Picture):
        if not entry.source.size:
            return EmptyInputError(f"{entry.name}: the file is empty")
        return UnsupportedFormatError(f"{UPLOAD_NAME}: {_SINGLE}")
    return None


def problem_record(
    request: Request, service: Service, exc: TumorLensError | ProblemError
) -> dict[str, Any]:
    """Count a problem of one series and return its document."""
    problem = exc if isinstance(exc, ProblemError) else from_exception(exc)
    service.metrics.problems.labels(problem.kind.slug).inc()
    return document(problem, request.scope)


def series_record(request: Request, service: Service, answer: SeriesPrediction) -> dict[str, Any]:
    """Update metrics and log line with an answer, and return its JSON fields."""
    service.metrics.decisions.labels(answer.decision).inc()
    if answer.prob is not None:
        service.metrics.score.observe(answer.prob)
    state = request.scope["state"]
    state["decision"], state["model"] = answer.decision, answer.model.sha256
    return {**answer.to_dict(), "request_id": state["request_id"]}


def to_line(values: dict[str, Any]) -> bytes:
    """Return a line of the streamed answer."""
    return json.dumps(values).encode() + b"\n"
