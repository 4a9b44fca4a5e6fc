"""The API's questions: is it alive, what is it, what does it see, and why."""

from __future__ import annotations

import base64
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tumorlens.serving import work
from tumorlens.serving.problems import ProblemError, openapi_responses
from tumorlens.serving.schemas import (
    ExplanationAnswer,
    Health,
    ModelAnswer,
    PredictionAnswer,
    Readiness,
)
from tumorlens.serving.state import answer_for, note, service_of
from tumorlens.serving.uploads import FormReader, Upload

router = APIRouter()

EVERYWHERE = ("untrusted-host", "rate-limited", "internal-error", "timeout")
CLOSED = (*EVERYWHERE, "unauthorized")
UPLOADS = (
    *CLOSED,
    "malformed-request",
    "upload-too-slow",
    "too-large",
    "unsupported-format",
    "empty-file",
    "not-decodable",
    "not-brain-mri",
    "overloaded",
)

FILE_SCHEMA = {
    "type": "string",
    "format": "binary",
    "description": "PNG, JPEG, TIFF, BMP, WebP or single-frame DICOM.",
}
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": FILE_SCHEMA},
                }
            }
        },
    }
}


@router.get("/healthz", responses=openapi_responses(*EVERYWHERE), tags=["service"])
async def healthz() -> Health:
    """Tell that the process is alive."""
    return Health(status="ok")


@router.get(
    "/readyz",
    response_model=Readiness,
    responses=openapi_responses(*EVERYWHERE, "not-ready"),
    tags=["service"],
)
async def readyz(request: Request) -> Response:
    """Tell whether a request would be taken: model verified, queue not full."""
    service = service_of(request)
    if service.pool.full:
        raise ProblemError("not-ready", "The queue is full.", headers={"Retry-After": "1"})
    predictor = service.model.predictor
    model = {
        "name": predictor.card.name,
        "version": predictor.card.version,
        "sha256": predictor.sha256,
    }
    return JSONResponse({"status": "ready", "model": model, "model_refused": service.model.refusal})


@router.get(
    "/model", response_model=ModelAnswer, responses=openapi_responses(*CLOSED), tags=["model"]
)
async def model(request: Request) -> Response:
    """Return the card of the model that answers, its file's hash, and the limits."""
    service = service_of(request)
    predictor, settings = service.model.predictor, service.settings
    limits = {
        name: getattr(settings, name)
        for name in ("max_upload_bytes", "max_pixels", "batch_max_files", "batch_max_bytes")
    }
    card = predictor.card.model_dump(mode="json")
    return JSONResponse({**card, "sha256": predictor.sha256, "limits": limits})


@router.post(
    "/predict",
    response_model=PredictionAnswer,
    responses=openapi_responses(*UPLOADS),
    openapi_extra=UPLOAD_BODY,
    tags=["predict"],
)
async def predict(request: Request) -> Response:
    """Answer for one image: label, calibrated probability, decision."""
    service = service_of(request)
    service.pool.reserve()
    upload = await read_upload(request)
    job = work.predict(service.model.predictor, upload.take(), service.image_limits)
    answer, ticket = await answer_for(request, service, job)
    return JSONResponse(note(request, service, answer, ticket))


@router.post(
    "/explain",
    response_model=ExplanationAnswer,
    responses={
        200: {
            "content": {
                "image/png": {
                    "schema": {"type": "string", "format": "binary"},
                    "example": "the scan under its heat map, as PNG",
                }
            }
        },
        **openapi_responses(*UPLOADS, "not-acceptable", "explanation-unavailable"),
    },
    openapi_extra=UPLOAD_BODY,
    tags=["predict"],
)
async def explain(
    request: Request,
    opacity: Annotated[
        float, Query(ge=0, le=1, description="Of the heat map in the PNG overlay.")
    ] = 0.5,
) -> Response:
    """Answer for one image with its heat map; ``Accept: image/png`` gets the overlay alone."""
    service = service_of(request)
    wants_png = _wants_png(request.headers.get("accept", ""))
    service.pool.reserve()
    upload = await read_upload(request)
    job = work.explain(
        service.model.predictor,
        upload.take(),
        service.image_limits,
        overlay_opacity=opacity if wants_png else None,
    )
    answer, ticket = await answer_for(request, service, job)
    fields = note(request, service, answer, ticket)
    if answer.overlay_png is not None:
        return Response(answer.overlay_png, media_type="image/png")
    for name, png in (("scan", answer.scan_png), ("heatmap", answer.heat_png)):
        encoded = base64.b64encode(png or b"").decode("ascii")
        fields[name] = {"png": encoded, "width": answer.width, "height": answer.height}
    return JSONResponse(fields)


async def read_upload(request: Request) -> Upload:
    """Return the one file of the form; times the reading as the stage ``read``."""
    return (await read_uploads(request, 1))[0]


async def read_uploads(request: Request, max_files: int) -> list[Upload]:
    """Return the files of the form, at most ``max_files``."""
    begin = time.perf_counter()
    try:
        reader = FormReader(request.headers.get("content-type", ""), max_files)
        return await reader.read(request.stream())
    finally:
        seconds = time.perf_counter() - begin
        service_of(request).metrics.stage.labels("read").observe(seconds)
        request.scope["state"]["stages"] = {"read": round(seconds * 1000, 2)}


def _wants_png(accept: str) -> bool:
    """Whether the Accept header prefers PNG to JSON; raises 406 when it takes neither."""
    json_quality = _quality(accept, ("application/json", "application/*", "*/*"))
    png_quality = _quality(accept, ("image/png", "image/*", "*/*"))
    if not accept.strip() or json_quality >= png_quality > 0 or (json_quality and not png_quality):
        return False
    if png_quality > 0:
        return True
    raise ProblemError("not-acceptable")


def _quality(accept: str, kinds: tuple[str, ...]) -> float:
    """Return the q value of the most exact entry that matches one of ``kinds``, or 0."""
    found: dict[str, float] = {}
    for entry in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name == "q":
                quality = float(value) if value.replace(".", "", 1).isdigit() else 1.0
        found[kind] = quality
    return next((found[kind] for kind in kinds if kind in found), 0.0)
