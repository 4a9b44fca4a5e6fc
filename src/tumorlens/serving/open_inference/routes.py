"""The routes of the Open Inference Protocol (KServe v2): health, metadata, inference."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from tumorlens import __version__
from tumorlens.serving.api.openapi import ANY_ROUTE, KEY_ROUTE, UPLOAD_ROUTE
from tumorlens.serving.open_inference.infer import infer_job, metadata
from tumorlens.serving.open_inference.schemas import (
    InferAnswer,
    InferRequest,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
)
from tumorlens.serving.open_inference.tensors import BINARY_HEADER, write_answer
from tumorlens.serving.problems import TYPES, ProblemError
from tumorlens.serving.processing.service import (
    Service,
    read_body,
    record,
    require_place,
    run_job,
    service_of,
)

EXTENSIONS = ["binary_tensor_data"]
router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


def responses(example: Any, *slugs: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI ``responses``: an example answer, and the errors grouped by status.

    Errors have the protocol's form.
    """
    found: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"example": example}}}
    }
    schema = {"$ref": "#/components/schemas/ProtocolError"}
    for slug in slugs:
        kind = TYPES[slug]
        shown = {"schema": schema, "examples": {}}
        entry = found.setdefault(
            kind.status, {"description": "", "content": {"application/json": shown}}
        )
        entry["description"] += f" / {kind.title}" if entry["description"] else kind.title
        examples = entry["content"]["application/json"]["examples"]
        examples[slug] = {"value": {"error": f"{kind.title}."}}
    return found


def example_of(schema: type[BaseModel]) -> Any:
    """Return the first example of a schema."""
    return schema.model_json_schema()["examples"][0]


_SERVER = {"name": "tumorlens", "version": __version__, "extensions": EXTENSIONS}
_METADATA = responses(example_of(ModelMetadata), *KEY_ROUTE, "not-found")
_READY = responses(
    {"name": "tumorlens-default", "ready": True}, *KEY_ROUTE, "not-found", "not-ready"
)


@router.get("/health/live", responses=responses({"live": True}, *ANY_ROUTE))
async def live() -> Live:
    """Return 200 while the process is alive."""
    return Live(live=True)


@router.get("/health/ready", responses=responses({"ready": True}, *ANY_ROUTE, "not-ready"))
async def ready(request: Request) -> Ready:
    """Return whether requests are accepted: model verified, queue not too long."""
    _require_ready(service_of(request))
    return Ready(ready=True)


@router.get("", responses=responses(_SERVER, *KEY_ROUTE))
async def server() -> ServerMetadata:
    """Return name, version and extensions of the server."""
    return ServerMetadata(name="tumorlens", version=__version__, extensions=EXTENSIONS)


@router.get("/models/{model}", responses=_METADATA)
@router.get("/models/{model}/versions/{version}", responses=_METADATA)
async def model_metadata(request: Request, model: str, version: str | None = None) -> ModelMetadata:
    """Return the inputs and outputs of the model."""
    return metadata(_served(request, model, version).model.predictor)


@router.get("/models/{model}/ready", responses=_READY)
@router.get("/models/{model}/versions/{version}/ready", responses=_READY)
async def model_ready(request: Request, model: str, version: str | None = None) -> ModelReady:
    """Return whether the model takes requests."""
    _require_ready(_served(request, model, version))
    return ModelReady(name=model, ready=True)


_INFER: dict[str, Any] = {
    "response_model": InferAnswer,
    "responses": responses(example_of(InferAnswer), *UPLOAD_ROUTE, "not-found"),
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": InferRequest.model_json_schema(
                ref_template="#/components/schemas/{model}")}},
        }
    },
}  # fmt: skip


@router.post("/models/{model}/infer", **_INFER)
@router.post("/models/{model}/versions/{version}/infer", **_INFER)
async def infer(
    request: Request,
    model: str,
    version: str | None = None,
    header_length: Annotated[
        str | None,
        Header(alias=BINARY_HEADER, description="Bytes of JSON, where binary data follow it."),
    ] = None,
) -> Response:
    """Predict the images (``image``, BYTES) or prepared tensors (``tensor``, FP32) of a request."""
    service = _served(request, model, version)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError("unsupported-format", "Send the body without a Content-Encoding.")
    require_place(request)
    predictor, settings = service.model.predictor, service.settings
    body = await read_body(request)
    job = infer_job(predictor, body, header_length, service.image_limits, settings.batch_max_files)
    del body
    done, ticket = await run_job(request, service, job, "infer")
    for answer in done.answers:
        record(request, service, answer, ticket)
    head = {"model_name": predictor.card.name, "model_version": predictor.card.version}
    head |= {} if done.id is None else {"id": done.id}
    content, headers = write_answer(head, done.outputs, done.binary)
    return Response(content, headers=headers)


def _served(request: Request, model: str, version: str | None) -> Service:
    """Return the service if it serves this model; raises the 404 problem."""
    service = service_of(request)
    card = service.model.predictor.card
    if model != card.name or version not in (None, card.version):
        raise ProblemError(
            "not-found", f"Served is {card.name}, version {card.version}; name that, or no version."
        )
    return service


def _require_ready(service: Service) -> None:
    if service.pool.full:
        detail = "The next image would wait too long."
        raise ProblemError("not-ready", detail, headers={"Retry-After": "1"})
