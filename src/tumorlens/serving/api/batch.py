"""``POST /predict/batch``: many images, answered with one JSON line each, streamed."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tumorlens.errors import TumorLensError
from tumorlens.serving.api.openapi import (
    FILE_SCHEMA,
    UPLOAD_ROUTE,
    problem_responses,
    upload_form,
)
from tumorlens.serving.problems import ProblemError, document, from_exception
from tumorlens.serving.processing import jobs
from tumorlens.serving.processing.pool import Ticket
from tumorlens.serving.processing.service import (
    Service,
    read_uploads,
    record,
    require_place,
    service_of,
)
from tumorlens.serving.uploads.archive import Load, images

NDJSON = "application/x-ndjson"
router = APIRouter(tags=["predict"])

_FILES = {
    "type": "array",
    "minItems": 1,
    "items": {**FILE_SCHEMA, "description": "An image, or a zip of them."},
}
_LINES = {NDJSON: {"schema": {"$ref": "#/components/schemas/BatchLine"}}}


@router.post(
    "/predict/batch",
    response_class=Response,
    responses={
        200: {
            "description": "One line for each image, in the order of the request.",
            "content": _LINES,
        },
        **problem_responses(*UPLOAD_ROUTE),
    },
    openapi_extra=upload_form(_FILES),
)
async def predict_batch(request: Request) -> Response:
    """Predict many images or a zip of them: one JSON line each, a prediction or a problem."""
    service = service_of(request)
    require_place(request)
    uploads = await read_uploads(request, service.settings.batch_max_files)
    # Its images are queued one by one; the request itself needs no place.
    request.scope["state"]["place"].leave()
    # Archives are listed before the response starts, so that a refusal can be its status.
    loads = deque(images(uploads, service.settings))
    del uploads
    return StreamingResponse(_lines(request, service, loads), media_type=NDJSON)


async def _lines(request: Request, service: Service, loads: deque[Load]) -> AsyncIterator[bytes]:
    index = 0
    waiting: deque[asyncio.Task[dict[str, Any]]] = deque()
    try:
        while loads or waiting:
            # At most as many at once as there are threads, to leave the queue to other requests.
            while loads and len(waiting) < service.settings.threads:
                waiting.append(asyncio.create_task(_one(request, service, loads.popleft(), index)))
                index += 1
            line = await waiting.popleft()
            yield json.dumps(line).encode() + b"\n"
    finally:
        for task in waiting:
            task.cancel()


async def _one(request: Request, service: Service, load: Load, index: int) -> dict[str, Any]:
    predictor, limits = service.model.predictor, service.image_limits

    def job(ticket: Ticket) -> jobs.Answer:
        with ticket.stage("read"):
            data = load()
        return jobs.predict(predictor, data, limits)(ticket)

    try:
        await service.pool.wait_for_capacity()
        answer, ticket = await service.pool.run(job, urgent=False)
    except (TumorLensError, ProblemError) as exc:
        problem = exc if isinstance(exc, ProblemError) else from_exception(exc)
        service.metrics.problems.labels(problem.kind.slug).inc()
        return {"index": index, "prediction": None, "problem": document(problem, request.scope)}
    return {
        "index": index,
        "prediction": record(request, service, answer, ticket),
        "problem": None,
    }
