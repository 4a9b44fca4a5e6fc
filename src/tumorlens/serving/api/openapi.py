"""The OpenAPI document: FastAPI's, corrected to the actual responses of the service."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tumorlens.serving.api.schemas import ANSWERS, BatchLine, Problem
from tumorlens.serving.api.series_schemas import (
    SERIES_ANSWERS,
    SeriesLine,
    SeriesProgress,
    SeriesViewLine,
    SliceLine,
)
from tumorlens.serving.open_inference.schemas import InferRequest, ProtocolError
from tumorlens.serving.problems import MEDIA_TYPE, TYPES
from tumorlens.serving.uploads.raw import RAW_TYPES

# Problems of every route, of those that may need a key, and of those that accept an upload.
ANY_ROUTE = ("untrusted-host", "internal-error", "timeout")
KEY_ROUTE = (*ANY_ROUTE, "unauthorized", "rate-limited")
UPLOAD_ROUTE = (
    *KEY_ROUTE,
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
DESCRIPTION = (
    "Tells whether a slice of a brain MRI shows a tumour, where it looks, and how far its "
    "answer can be trusted. **A research tool, not for clinical use.** Every error is an "
    "RFC 9457 problem document; /problems lists them."
)
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_REQUEST_ID = {
    "X-Request-ID": {
        "description": "Id of this request in logs and problem documents.",
        "schema": {"type": "string"},
    }
}


def upload_form(file: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI request body of a form whose part ``file`` has the given schema."""
    form = {"type": "object", "required": ["file"], "properties": {"file": file}}
    content = {"multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def image_body() -> dict[str, Any]:
    """Return the OpenAPI request body of one image: in a form, or the file as it is."""
    body = upload_form(FILE_SCHEMA)
    raw = {kind: {"schema": dict(FILE_SCHEMA)} for kind in RAW_TYPES}
    body["requestBody"]["content"] |= raw
    return body


def problem_responses(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI ``responses`` entries of a route, grouped by status, with examples."""
    found: dict[int | str, dict[str, Any]] = {}
    for slug in slugs:
        kind = TYPES[slug]
        media = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        entry = found.setdefault(kind.status, {"description": "", "content": {MEDIA_TYPE: media}})
        entry["description"] += f" / {kind.title}" if entry["description"] else kind.title
        example = {
            "type": f"/problems/{slug}",
            "title": kind.title,
            "status": kind.status,
            "detail": kind.advice,
            "instance": "/predict",
            "request_id": "0192f0c1a2b34c5d8e9f00112233aabb",
        }
        examples = entry["content"][MEDIA_TYPE]["examples"]
        examples[slug] = {"summary": kind.title, "value": example}
        if kind.status in (429, 503):
            entry["headers"] = dict(_RETRY_AFTER)
    return found


def describe(app: FastAPI) -> None:
    """Make ``app.openapi`` return the corrected document, built on first use."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    # Neither lines of a stream nor bodies that a route reads itself are in a model of FastAPI's.
    lines = (BatchLine, SeriesProgress, SeriesLine, SeriesViewLine, SliceLine)
    for model in (*lines, InferRequest, ProtocolError):
        line = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= line.pop("$defs", {})
        schemas[model.__name__] = line
    # Validation errors are problem documents with status 400 instead of FastAPI's 422.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _restore_examples(schemas)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for item in document["paths"].values():
        for operation in item.values():
            _correct(operation, schemas)
    return document


def _correct(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "description" in operation:
        # FastAPI uses the function's name as summary; the docstring's first line is better.
        operation["summary"] = (
            operation["description"].partition("\n")[0].rstrip(".").replace("``", "")
        )
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    if "401" in responses:
        operation["security"] = [{}, {"bearer": []}, {"apiKey": []}]
    for response in responses.values():
        response.setdefault("headers", {}).update(_REQUEST_ID)
        for media in response.get("content", {}).values():
            _add_example(media, schemas)


def _add_example(media: dict[str, Any], schemas: dict[str, Any]) -> None:
    if "example" in media or "examples" in media:
        return
    schema = media.get("schema", {})
    is_array = schema.get("type") == "array"
    reference = (schema.get("items", {}) if is_array else schema).get("$ref", "")
    examples = schemas.get(reference.rsplit("/", 1)[-1], {}).get("examples")
    if examples:
        media["example"] = examples[:1] if is_array else examples[0]


def _restore_examples(schemas: dict[str, Any]) -> None:
    """Restore the null values of the models' examples, which FastAPI omits."""
    for model in (*ANSWERS, *SERIES_ANSWERS):
        extra = model.model_config.get("json_schema_extra")
        if model.__name__ in schemas and isinstance(extra, dict):
            schemas[model.__name__]["examples"] = extra["examples"]
