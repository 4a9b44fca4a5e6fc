"""The OpenAPI document: what FastAPI derives, corrected to what the service really answers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tumorlens.serving.schemas import ANSWERS, BatchLine, Problem

DESCRIPTION = (
    "Tells whether a slice of a brain MRI shows a tumour, where it looks, and how far its "
    "answer can be trusted. **A research tool, not for clinical use.** Every error is an "
    "RFC 9457 problem document; /problems lists them."
)
_TEXT_HEADERS = {
    "X-Request-ID": {
        "description": "Names this request in logs and problem documents.",
        "schema": {"type": "string"},
    }
}


def describe(app: FastAPI) -> None:
    """Make ``app.openapi`` return the corrected document; it is built once, when asked for."""

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
    line = BatchLine.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= line.pop("$defs")
    schemas["BatchLine"] = line
    # Our validation errors are problem documents with 400, never FastAPI's own 422.
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
        # FastAPI's summary is the function's name; the docstring's first line says more.
        operation["summary"] = operation["description"].partition("\n")[0].rstrip(".")
    content = responses.get("422", {}).get("content", {})
    if "application/json" in content:
        del responses["422"]
    if "401" in responses:
        operation["security"] = [{}, {"bearer": []}, {"apiKey": []}]
    for answer in responses.values():
        answer.setdefault("headers", {}).update(_TEXT_HEADERS)
        for media in answer.get("content", {}).values():
            _add_example(media, schemas)


def _add_example(media: dict[str, Any], schemas: dict[str, Any]) -> None:
    if "example" in media or "examples" in media:
        return
    schema = media.get("schema", {})
    many = schema.get("type") == "array"
    reference = (schema.get("items", {}) if many else schema).get("$ref", "")
    examples = schemas.get(reference.rsplit("/", 1)[-1], {}).get("examples")
    if examples:
        media["example"] = examples[:1] if many else examples[0]


def _restore_examples(schemas: dict[str, Any]) -> None:
    """Put back the nulls of the models' examples, which FastAPI leaves out."""
    for model in ANSWERS:
        extra = model.model_config.get("json_schema_extra")
        if model.__name__ in schemas and isinstance(extra, dict):
            schemas[model.__name__]["examples"] = extra["examples"]
