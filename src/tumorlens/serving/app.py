"""``create_app``: the routes, the guards around them, and one shape for every error."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tumorlens import __version__
from tumorlens.errors import TumorLensError
from tumorlens.inference.predictor import Predictor
from tumorlens.serving import batch, pages, problems, routes
from tumorlens.serving.access import HostGuard, KeyGuard, load_keys
from tumorlens.serving.headers import Cors, SecurityHeaders
from tumorlens.serving.limits import BodyGuard, ByteBudget, Deadline, Shedder
from tumorlens.serving.metrics import Metrics
from tumorlens.serving.models import ServedModel
from tumorlens.serving.openapi import describe
from tumorlens.serving.pool import Pool
from tumorlens.serving.problems import ProblemError
from tumorlens.serving.rate import RateGuard
from tumorlens.serving.settings import Settings
from tumorlens.serving.state import Service
from tumorlens.serving.telemetry import Telemetry
from tumorlens.serving.tracing import make_tracer


def create_app(predictor: Predictor, settings: Settings | None = None) -> FastAPI:
    """Return the ASGI application that answers with ``predictor``.

    Nothing is started before the application's lifespan begins, apart from the inference
    threads, which start with the first image. Raises :class:`ConfigError` when the key file
    cannot be used.
    """
    settings = settings or Settings()
    metrics = Metrics()
    service = Service(
        settings=settings,
        metrics=metrics,
        model=ServedModel(predictor, settings, metrics),
        pool=Pool(settings.threads, settings.queue_size, metrics),
    )
    app = FastAPI(
        title="TumorLens",
        version=__version__,
        root_path=settings.root_path,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=_guards(service),
    )
    app.state.service = service
    routers = [routes.router, batch.router, pages.make_router()]
    if settings.metrics:
        routers.append(pages.metrics_router())
    for router in routers:
        app.include_router(router)
    for kind in (ProblemError, TumorLensError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer_error)
    app.state.known_routes = _literal_paths([app.router, *routers])
    describe(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    watch = asyncio.create_task(service.model.watch())
    service.metrics.ready.set(1)
    yield
    service.metrics.ready.set(0)
    watch.cancel()
    service.pool.close()


def _guards(service: Service) -> list[Middleware]:
    """Return the middleware, outermost first.

    Refusals are raised inside ``Deadline``, which answers them; ``BodyGuard`` around it ends
    the connection politely when a refused body is still on its way.
    """
    settings = service.settings
    origins = settings.cors_origins
    budget = ByteBudget(settings.buffer_bytes, service.metrics)
    keys = load_keys(settings)
    tracer = make_tracer() if settings.otel else None
    limited = [Middleware(RateGuard, settings=settings, keys=keys)] if settings.rate_limit else []
    return [
        Middleware(Telemetry, metrics=service.metrics, tracer=tracer),
        Middleware(SecurityHeaders, cross_origin=bool(origins)),
        *([Middleware(Cors, origins=origins)] if origins else []),
        Middleware(Shedder, pool=service.pool),
        Middleware(BodyGuard, settings=settings, budget=budget),
        Middleware(Deadline, settings=settings),
        Middleware(HostGuard, allowed=settings.trusted_hosts),
        *limited,
        Middleware(KeyGuard, settings=settings, keys=keys),
    ]


async def _answer_error(request: Request, exc: Exception) -> Response:
    return problems.response(_as_problem(exc), request.scope)


def _as_problem(exc: Exception) -> ProblemError:
    if isinstance(exc, ProblemError):
        return exc
    if isinstance(exc, TumorLensError):
        return problems.from_exception(exc)
    if isinstance(exc, RequestValidationError):
        return ProblemError("malformed-request", _first_complaint(exc))
    if isinstance(exc, HTTPException) and exc.status_code in (404, 405):
        slug = "not-found" if exc.status_code == 404 else "method-not-allowed"
        return ProblemError(slug, headers=exc.headers)
    return ProblemError("malformed-request")


def _first_complaint(exc: RequestValidationError) -> str:
    complaint: dict[str, Any] = exc.errors()[0]
    place = " ".join(str(part) for part in complaint["loc"])
    return f"{place}: {complaint['msg']}."


def _literal_paths(routers: list[APIRouter]) -> frozenset[str]:
    """Return the paths without parameters: the labels that metrics may carry."""
    # Routers are asked one by one: an including router need not list what it includes.
    paths = {
        route.path for router in routers for route in router.routes if isinstance(route, Route)
    }
    return frozenset(path for path in paths if "{" not in path)
