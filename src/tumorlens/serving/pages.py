"""The page, its files, the drawn examples, and the pages that explain the API."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import resources
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.overlay import encode_png, heat_rgba
from tumorlens.serving.problems import TYPES, ProblemError, openapi_responses
from tumorlens.serving.routes import CLOSED, EVERYWHERE
from tumorlens.serving.schemas import ProblemKind
from tumorlens.serving.state import service_of

ASSETS = {
    "app.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "docs.js": "text/javascript; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
}
EXAMPLE_SEED = 7
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class _File:
    body: bytes
    media_type: str
    etag: str


def make_router() -> APIRouter:
    """Return the routes of the page; each asset is a literal path, so there is none to guess."""
    router = APIRouter(tags=["page"])
    _add(router, "/", "The page.", partial(_packaged, "index.html", HTML))
    _add(router, "/docs", "How to use the API, for people.", partial(_packaged, "docs.html", HTML))
    for name, media_type in ASSETS.items():
        _add(
            router,
            f"/assets/{name}",
            f"The page's {name}.",
            partial(_packaged, name, media_type),
        )
    for name in ("lesion", "healthy", "scale"):
        _add(
            router,
            f"/examples/{name}.png",
            "The heat map's colours, none to strong." if name == "scale" else "A drawn head.",
            partial(_drawn, name),
        )
    router.add_api_route(
        "/problems",
        _problems,
        response_model=list[ProblemKind],
        responses=openapi_responses(*EVERYWHERE),
    )
    router.add_api_route(
        "/problems/{slug}",
        _problem,
        response_model=ProblemKind,
        responses=openapi_responses(*EVERYWHERE, "not-found"),
    )
    return router


def metrics_router() -> APIRouter:
    """Return the route of the Prometheus metrics."""
    router = APIRouter(tags=["service"])
    router.add_api_route(
        "/metrics",
        _metrics,
        response_class=Response,
        responses={
            200: {
                "description": "All workers' metrics.",
                "content": {
                    "text/plain": {
                        "schema": {"type": "string"},
                        "example": "tumorlens_queue_depth 0.0\n",
                    }
                },
            },
            **openapi_responses(*CLOSED),
        },
    )
    return router


async def _metrics(request: Request) -> Response:
    """Return the metrics of all workers in the Prometheus text format."""
    body = service_of(request).metrics.expose()
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _problems() -> list[ProblemKind]:
    """List every kind of problem the service answers with."""
    return [_kind(slug) for slug in TYPES]


_Slug = Annotated[str, Path(json_schema_extra={"enum": list(TYPES)})]


async def _problem(slug: _Slug) -> ProblemKind:
    """Explain one kind of problem; its ``type`` is this address."""
    if slug not in TYPES:
        raise ProblemError("not-found", "There is no such kind of problem; see /problems.")
    return _kind(slug)


def _kind(slug: str) -> ProblemKind:
    kind = TYPES[slug]
    return ProblemKind(
        type=f"/problems/{slug}", title=kind.title, status=kind.status, advice=kind.advice
    )


def _add(router: APIRouter, path: str, summary: str, load: Callable[[], _File]) -> None:
    async def serve(request: Request) -> Response:
        # A drawn head takes a while the first time: not on the event loop.
        file = await asyncio.to_thread(load)
        headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers, media_type=file.media_type)

    serve.__doc__ = summary
    media_type = _type_of(path)
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
            304: {"description": "The copy the client holds is current."},
            **openapi_responses(*EVERYWHERE),
        },
    )


def _type_of(path: str) -> str:
    if path.endswith(".png"):
        return "image/png"
    return ASSETS.get(path.rsplit("/", 1)[-1], HTML).partition(";")[0]


@lru_cache(maxsize=16)
def _packaged(name: str, media_type: str) -> _File:
    body = (resources.files("tumorlens.serving") / "web" / name).read_bytes()
    return _file(body, media_type)


@lru_cache(maxsize=4)
def _drawn(name: str) -> _File:
    if name == "scale":
        # The legend is drawn by the function that colours the heat maps, so they agree.
        ramp = np.tile(np.linspace(0, 1, 240, dtype=np.float32), (16, 1))
        return _file(encode_png(heat_rgba(ramp)), "image/png")
    phantom = draw_phantom(EXAMPLE_SEED, lesion=name == "lesion", size=384)
    return _file(encode_png(phantom.image), "image/png")


def _file(body: bytes, media_type: str) -> _File:
    return _File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
