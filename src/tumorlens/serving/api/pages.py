"""The web page and its files, example images of a phantom, and the API documentation page."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.overlay import encode_png, heat_rgba
from tumorlens.serving.api.openapi import ANY_ROUTE, problem_responses

ASSETS = {
    "app.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    "docs.js": "text/javascript",
    "docs.css": "text/css",
}
EXAMPLE_SEED = 7

_static = StaticFiles(packages=[("tumorlens.serving", "web")])


def make_router() -> APIRouter:
    """Return the routes of the pages; every asset has its own route, so that no other is served."""
    router = APIRouter(tags=["page"])
    _add(router, "/", "text/html", "The page.", partial(_packaged, "index.html"))
    summary = "How to use the API."
    _add(router, "/docs", "text/html", summary, partial(_packaged, "docs.html"))
    for name, kind in ASSETS.items():
        _add(router, f"/assets/{name}", kind, f"The page's {name}.", partial(_packaged, name))
    for name in ("lesion", "healthy", "scale"):
        summary = "The heat map's colours, none to strong." if name == "scale" else "A drawn head."
        _add(router, f"/examples/{name}.png", "image/png", summary, partial(_drawn, name))
    return router


def _add(
    router: APIRouter,
    path: str,
    media_type: str,
    summary: str,
    answer: Callable[[Request], Awaitable[Response]],
) -> None:
    async def serve(request: Request) -> Response:
        return await answer(request)

    serve.__doc__ = summary
    router.add_api_route(
        path,
        serve,
        summary=summary,
        response_class=Response,
        responses={
            200: {
                "description": summary,
                "content": {media_type: {"schema": {"type": "string"}, "example": summary}},
            },
            304: {"description": "The client's cached copy is current."},
            **problem_responses(*ANY_ROUTE),
        },
    )


async def _packaged(name: str, request: Request) -> Response:
    return await _static.get_response(name, request.scope)


async def _drawn(name: str, request: Request) -> Response:
    # Drawing a phantom takes a while the first time, so it runs off the event loop.
    body = await asyncio.to_thread(_draw, name)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    return Response(body, headers={"ETag": etag}, media_type="image/png")


@lru_cache(maxsize=3)
def _draw(name: str) -> bytes:
    if name == "scale":
        # The legend uses the colours of the heat maps themselves.
        return encode_png(heat_rgba(np.tile(np.linspace(0, 1, 240, dtype=np.float32), (16, 1))))
    return encode_png(draw_phantom(EXAMPLE_SEED, lesion=name == "lesion", size=384).image)
