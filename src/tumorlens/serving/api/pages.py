"""The web page and its files, example images of a phantom, and the API documentation page."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.overlay import encode_png, heat_rgba
from tumorlens.serving.api.openapi import ANY_ROUTE, problem_responses
from tumorlens.serving.problems import ProblemError
from tumorlens.volumes.phantom import draw_phantom_volume
from tumorlens.volumes.write import write_nifti

# Only these files are served: a name from outside never reaches the file system.
ASSETS = (
    "answer.js", "api.js", "app.js", "card.js", "colours.js", "compare.js", "curve.js",
    "dicom.js", "docs.css", "docs.js", "dom.js", "gauge.js", "gestures.js", "i18n.js",
    "icon.svg", "paint.js", "png.js", "queue.js", "reasons.js", "render.js", "strings.js",
    "study.js", "style.css", "takeaway.js", "thumbnail.js", "toolbar.js", "upload.js",
    "viewer.css", "viewer.js", "worklist.js", "zip.js",
)  # fmt: skip
EXAMPLE_SEED, SERIES_SEED = 7, 1
# Slices below show a drawn skull base, which is not lifelike.
_SPACING, _BASE = (1.5, 1.5, 1.5), 67

_ASSET_TYPES = ("text/javascript", "text/css", "image/svg+xml")
_static = StaticFiles(packages=[("tumorlens.serving", "web")])


def make_router() -> APIRouter:
    """Return the routes of the page, its files and its examples, and of the API's page."""
    router = APIRouter(tags=["page"])
    _add(router, "/", "text/html", "The page.", partial(_packaged, "index.html"))
    summary = "How to use the API."
    _add(router, "/docs", "text/html", summary, partial(_packaged, "docs.html"))
    _add(router, "/assets/{name}", _ASSET_TYPES, "A file of the page.", _asset, _NAME)
    for name in ("lesion", "healthy", "scale"):
        summary = "The heat map's colours, none to strong." if name == "scale" else "A drawn head."
        _add(router, f"/examples/{name}.png", "image/png", summary, partial(_drawn, name))
    summary = "A drawn head in 77 slices, with a lesion."
    answer = partial(_drawn, "series")
    _add(router, "/examples/series.nii.gz", "application/gzip", summary, answer)
    return router


def _add(
    router: APIRouter,
    path: str,
    media_types: str | tuple[str, ...],
    summary: str,
    answer: Callable[[Request], Awaitable[Response]],
    parameter: dict[str, Any] | None = None,
) -> None:
    async def serve(request: Request) -> Response:
        return await answer(request)

    serve.__doc__ = summary
    kinds = (media_types,) if isinstance(media_types, str) else media_types
    router.add_api_route(
        path,
        serve,
        summary=summary,
        response_class=Response,
        responses={
            200: {
                "description": summary,
                "content": {
                    kind: {"schema": {"type": "string"}, "example": summary} for kind in kinds
                },
            },
            304: {"description": "The client's cached copy is current."},
            **problem_responses(*ANY_ROUTE, *(("not-found",) if parameter else ())),
        },
        openapi_extra={"parameters": [parameter]} if parameter else None,
    )


_NAME: dict[str, Any] = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "Its name.",
    "schema": {"type": "string", "enum": list(ASSETS)},
}


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        raise ProblemError("not-found")
    return await _packaged(name, request)


async def _packaged(name: str, request: Request) -> Response:
    return await _static.get_response(name, request.scope)


async def _drawn(name: str, request: Request) -> Response:
    # Drawing a phantom takes a while the first time, so it runs off the event loop.
    body = await asyncio.to_thread(_draw, name)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    kind = "application/gzip" if name == "series" else "image/png"
    return Response(body, headers={"ETag": etag}, media_type=kind)


@lru_cache(maxsize=4)
def _draw(name: str) -> bytes:
    if name == "series":
        return _draw_series()
    if name == "scale":
        # The legend uses the colours of the heat maps themselves.
        return encode_png(heat_rgba(np.tile(np.linspace(0, 1, 240, dtype=np.float32), (16, 1))))
    return encode_png(draw_phantom(EXAMPLE_SEED, lesion=name == "lesion", size=384).image)


def _draw_series() -> bytes:
    volume = draw_phantom_volume(SERIES_SEED, lesion=True, spacing_mm=_SPACING).volume
    upper = np.ascontiguousarray(volume.data[:, :, _BASE:])
    file = io.BytesIO()
    write_nifti(file, upper, volume.affine, "TumorLens: a drawn head, no patient")
    return file.getvalue()
