"""Every error response of the service, as RFC 9457 problem details.

One table lists the problems, a second maps the exceptions of :mod:`tumorlens.errors` to them, and
all error responses are made from :class:`ProblemError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from tumorlens import errors

MEDIA_TYPE = "application/problem+json"
# Below this path the Open Inference Protocol is spoken.
PROTOCOL_ROOT = "/v2"
# The client's file name may contain a patient's name, so every upload is called this.
UPLOAD_NAME = "upload"
RETRY = "Try again after the seconds in Retry-After."


@dataclass(frozen=True)
class ProblemType:
    """One kind of problem: its name in URLs, HTTP status, title, and advice."""

    slug: str
    status: int
    title: str
    advice: str


_KINDS = (
    ProblemType(
        "malformed-request",
        400,
        "The request is malformed",
        "Send multipart/form-data with one part named 'file' that has a file name.",
    ),
    ProblemType(
        "untrusted-host",
        400,
        "Unknown host name",
        "Use a host name that the operator lists in TUMORLENS_TRUSTED_HOSTS.",
    ),
    ProblemType(
        "unauthorized",
        401,
        "An API key is required",
        "Send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.",
    ),
    ProblemType("not-found", 404, "No such path", "See /docs for the paths."),
    ProblemType(
        "method-not-allowed",
        405,
        "Method not allowed",
        "Use a method named in the Allow header.",
    ),
    ProblemType(
        "not-acceptable",
        406,
        "No representation matches the Accept header",
        "Accept application/json, or image/png for the overlay of /explain.",
    ),
    ProblemType(
        "upload-too-slow",
        408,
        "The upload did not arrive in time",
        "Send the body faster, or ask the operator to raise TUMORLENS_BODY_TIMEOUT.",
    ),
    ProblemType(
        "explanation-unavailable",
        409,
        "The loaded model gives no heat map",
        "Use /predict, or serve a model whose card says has_map.",
    ),
    ProblemType(
        "too-large",
        413,
        "The upload exceeds a limit",
        "Send a smaller image or fewer files; GET /model lists the limits.",
    ),
    ProblemType(
        "unsupported-format",
        415,
        "Unsupported file format",
        "Send PNG, JPEG, TIFF, BMP, WebP or DICOM in multipart/form-data, or as the body itself.",
    ),
    ProblemType("empty-file", 422, "The file is empty", "Send a file that holds an image."),
    ProblemType(
        "not-decodable",
        422,
        "The image is truncated or damaged",
        "Export the slice again and send the new file.",
    ),
    ProblemType(
        "not-brain-mri",
        422,
        "Not a usable slice of a brain MRI",
        "Send one slice that shows the whole head on a dark background.",
    ),
    ProblemType(
        "rate-limited",
        429,
        "Too many requests",
        "Wait for the seconds in Retry-After; the RateLimit fields state the quota.",
    ),
    ProblemType(
        "header-too-large",
        431,
        "The request headers are too large",
        "Send fewer or shorter header fields.",
    ),
    ProblemType("internal-error", 500, "Internal error", "Report the request_id to the operator."),
    ProblemType(
        "dicom-unavailable",
        501,
        "This service writes no DICOM",
        "Ask the operator to install the extra 'dicom'; /report and /fhir do without.",
    ),
    ProblemType("overloaded", 503, "The service is busy", RETRY),
    ProblemType("not-ready", 503, "The service is not ready", RETRY),
    ProblemType("timeout", 504, "The request timed out", "Try again, or send a smaller image."),
)
TYPES: dict[str, ProblemType] = {kind.slug: kind for kind in _KINDS}

# An exception is looked up by its class, then by its base classes, so that every subclass of
# TumorLensError is covered.
BY_EXCEPTION: dict[type[errors.TumorLensError], str] = {
    errors.EmptyInputError: "empty-file",
    errors.UnsupportedFormatError: "unsupported-format",
    errors.TooLargeError: "too-large",
    errors.DecodeError: "not-decodable",
    errors.NotBrainMRIError: "not-brain-mri",
    # Clients send bytes, never paths, so a path error is a fault of the service.
    errors.UnreadableFileError: "internal-error",
    errors.InputError: "not-decodable",
    errors.ModelFileError: "not-ready",
    errors.ExplanationUnavailableError: "explanation-unavailable",
    errors.TumorLensError: "internal-error",
}


class ProblemError(Exception):
    """An error response to the client.

    ``slug`` is a key of :data:`TYPES`; ``detail`` describes what is wrong with this request,
    without file names or file content.
    """

    def __init__(
        self, slug: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.kind = TYPES[slug]
        self.detail = detail or self.kind.advice
        self.headers = dict(headers or {})
        super().__init__(f"{slug}: {self.detail}")


class ClientGoneError(Exception):
    """The client closed the connection, so no response is possible."""


def from_exception(exc: errors.TumorLensError) -> ProblemError:
    """Return the problem for a `TumorLensError`, with its message as the detail.

    Messages of faults of the service itself are not included, since they may contain paths.
    """
    slug = next(BY_EXCEPTION[cls] for cls in type(exc).__mro__ if cls in BY_EXCEPTION)
    detail = None if TYPES[slug].status >= 500 else _sentence(str(exc))
    headers = {"Retry-After": "5"} if TYPES[slug].status == 503 else {}
    return ProblemError(slug, detail, headers=headers)


def _sentence(message: str) -> str:
    """Return an exception's message as a sentence, without the name of the upload."""
    text = message.removeprefix(f"{UPLOAD_NAME}: ")
    return f"{text[:1].upper()}{text[1:]}".removesuffix(".") + "."


def overloaded(detail: str, retry_after: float = 1.0) -> ProblemError:
    """Return a 503 problem that asks the client to retry after ``retry_after`` seconds."""
    seconds = max(1, round(retry_after))
    return ProblemError("overloaded", detail, headers={"Retry-After": str(seconds)})


def path_of(scope: Mapping[str, Any]) -> str:
    """Return the request's path without a proxy's prefix, as in the routes."""
    path: str = scope.get("path", "/")
    return path.removeprefix(scope.get("root_path", ""))


def document(problem: ProblemError, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the problem details object for the request in ``scope``."""
    root = scope.get("root_path", "")
    return {
        "type": f"{root}/problems/{problem.kind.slug}",
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "instance": path_of(scope),
        "request_id": scope.get("state", {}).get("request_id", ""),
    }


def response(problem: ProblemError, scope: Scope) -> Response:
    """Return the HTTP response for a problem, and record its slug for log and metrics.

    The routes of the Open Inference Protocol get its form of an error.
    """
    scope.setdefault("state", {})["problem"] = problem.kind.slug
    content, media_type = document(problem, scope), MEDIA_TYPE
    if f"{path_of(scope)}/".startswith(f"{PROTOCOL_ROOT}/"):
        content = {"error": f"{problem.kind.title}: {problem.detail}"}
        media_type = "application/json"
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(body, problem.kind.status, headers, media_type=media_type)
