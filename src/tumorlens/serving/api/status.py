"""Status routes: health, readiness, model card, metrics, and the kinds of problems."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tumorlens.inference.prediction import ModelRef
from tumorlens.serving.api.openapi import ANY_ROUTE, KEY_ROUTE, problem_responses
from tumorlens.serving.api.schemas import Health, ModelAnswer, ProblemKind, Readiness
from tumorlens.serving.problems import TYPES, ProblemError
from tumorlens.serving.processing.service import service_of

router = APIRouter()
metrics_router = APIRouter(tags=["service"])


@router.get("/healthz", responses=problem_responses(*ANY_ROUTE), tags=["service"])
async def healthz() -> Health:
    """Return 200 while the process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses=problem_responses(*ANY_ROUTE, "not-ready"), tags=["service"])
async def readyz(request: Request) -> Readiness:
    """Return whether requests are accepted: model verified, queue not too long."""
    service = service_of(request)
    if service.pool.full:
        raise ProblemError(
            "not-ready", "The next image would wait too long.", headers={"Retry-After": "1"}
        )
    predictor = service.model.predictor
    card = predictor.card
    model = ModelRef(name=card.name, version=card.version, sha256=predictor.sha256)
    return Readiness(status="ready", model=model, model_refused=service.model.refusal)


@router.get(
    "/model", response_model=ModelAnswer, responses=problem_responses(*KEY_ROUTE), tags=["model"]
)
async def model(request: Request) -> Response:
    """Return the model's card, its file's hash, and the limits of requests."""
    service = service_of(request)
    predictor, settings = service.model.predictor, service.settings
    limits = {
        name: getattr(settings, name)
        for name in (
            "max_upload_bytes",
            "max_pixels",
            "batch_max_files",
            "batch_max_bytes",
            "series_max_files",
            "series_max_voxels",
        )
    }
    card = predictor.card.model_dump(mode="json")
    return JSONResponse({**card, "sha256": predictor.sha256, "limits": limits})


@router.get("/problems", responses=problem_responses(*ANY_ROUTE), tags=["page"])
async def problems() -> list[ProblemKind]:
    """List every kind of problem the service responds with."""
    return [_kind(slug) for slug in TYPES]


_Slug = Annotated[str, Path(json_schema_extra={"enum": list(TYPES)})]


@router.get("/problems/{slug}", responses=problem_responses(*ANY_ROUTE, "not-found"), tags=["page"])
async def problem(slug: _Slug) -> ProblemKind:
    """Explain one kind of problem; its ``type`` is this URL."""
    if slug not in TYPES:
        raise ProblemError("not-found", "There is no such kind of problem; see /problems.")
    return _kind(slug)


def _kind(slug: str) -> ProblemKind:
    kind = TYPES[slug]
    return ProblemKind(
        type=f"/problems/{slug}", title=kind.title, status=kind.status, advice=kind.advice
    )


_TEXT = {"schema": {"type": "string"}, "example": "tumorlens_queue_depth 0.0\n"}


@metrics_router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "All workers' metrics.", "content": {"text/plain": _TEXT}},
        **problem_responses(*KEY_ROUTE),
    },
)
async def metrics(request: Request) -> Response:
    """Return the metrics of all workers in the Prometheus text format."""
    return Response(service_of(request).metrics.expose(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
