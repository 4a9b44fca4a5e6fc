"""Admission of image requests at their head, before the body is read."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from tumorlens.serving.middleware.limits import SMALL_BYTES, declared_length
from tumorlens.serving.problems import PROTOCOL_ROOT, path_of, response
from tumorlens.serving.processing.pool import Pool

# Path → the kind of work it asks for, whose time the pool learns.
_WORK = {
    "/predict": "predict",
    "/predict/batch": "predict",
    "/predict/series": "predict",
    "/explain": "explain",
    "/explain/series": "predict",
    "/report": "predict",
    "/dicom": "predict",
    "/fhir": "predict",
}


def work_of(path: str) -> str | None:
    """Return the kind of work that a path asks for; None for all that need no image."""
    if path.startswith(PROTOCOL_ROOT) and path.endswith("/infer"):
        return "infer"
    return _WORK.get(path)


class LoadShedding:
    """ASGI middleware: gives image requests a place in the queue, or refuses them at once.

    The routes refuse as well, but only after routing and API keys; under overload that work would
    delay the requests that were admitted.
    """

    def __init__(self, app: ASGIApp, pool: Pool) -> None:
        self.app = app
        self.pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 503."""
        kind = work_of(path_of(scope)) if scope["type"] == "http" else None
        if kind is None:
            await self.app(scope, receive, send)
            return
        place = self.pool.reserve(kind)
        if place is None:
            declared = declared_length(dict(scope["headers"]).get(b"content-length"))
            # uvicorn discards a small body by itself; a larger one needs BodyLimits.
            if declared is not None and declared <= SMALL_BYTES:
                await response(self.pool.refusal(), scope)(scope, receive, send)
                return
        scope.setdefault("state", {})["place"] = place
        try:
            await self.app(scope, receive, send)
        finally:
            if place is not None:
                place.leave()
