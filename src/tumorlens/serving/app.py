"""``create_app``: routes, middleware and error handling of the ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tumorlens import __version__
from tumorlens.errors import TumorLensError
from tumorlens.imaging.foreign import quiet
from tumorlens.inference.predictor import Predictor
from tumorlens.serving import problems
from tumorlens.serving.api import batch, documents, pages, predict, series, slices, status
from tumorlens.serving.api.openapi import describe
from tumorlens.serving.middleware.access import ApiKeys, TrustedHosts, load_keys
from tumorlens.serving.middleware.admission import LoadShedding
from tumorlens.serving.middleware.headers import Cors, SecurityHeaders
from tumorlens.serving.middleware.limits import BodyLimits, ByteBudget, Deadline
from tumorlens.serving.middleware.rate import RateLimit
from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.observability.telemetry import Telemetry
from tumorlens.serving.observability.tracing import make_tracer
from tumorlens.serving.open_inference import routes as open_inference
from tumorlens.serving.problems import ProblemError
from tumorlens.serving.processing.pool import Pool
from tumorlens.serving.processing.served_model import ServedModel
from tumorlens.serving.processing.service import Service
from tumorlens.serving.settings import Settings

# Request ids that clients may set: long enough for a UUID, and safe in log lines.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def create_app(predictor: Predictor, settings: Settings | None = None) -> FastAPI:
    """Return the ASGI application that serves ``predictor``.

    Background tasks start with the application's lifespan, the inference threads with the first
    image. Raises :class:`ConfigError` when the key file cannot be used.
    """
    settings = settings or Settings()
    metrics = Metrics(settings.drift_window)
    service = Service(
        settings=settings,
        metrics=metrics,
        model=ServedModel(predictor, settings, metrics),
        pool=Pool(settings.threads, settings.max_wait_s, metrics),
    )
    app = FastAPI(
        title="TumorLens",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=_middleware(service),
    )
    app.state.service = service
    routers = [
        status.router, predict.router, batch.router, series.router, slices.router,
        open_inference.router, documents.router, pages.make_router(),
    ]  # fmt: skip
    if settings.metrics:
        routers.append(status.metrics_router)
    for router in routers:
        app.include_router(router)
    for kind in (ProblemError, TumorLensError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _respond_to_error)
    app.state.known_routes = _literal_paths([app.router, *routers])
    describe(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    watch = asyncio.create_task(service.model.watch())
    service.metrics.ready.set(1)
    with quiet():  # once, and not for each image
        yield
    service.metrics.ready.set(0)
    watch.cancel()
    service.pool.close()


def _middleware(service: Service) -> list[Middleware]:
    """Return the middleware, outermost first.

    Problems are raised inside ``Deadline``, which responds to them; ``BodyLimits`` around it lets
    a client that is still sending read the response before the connection closes.
    """
    settings = service.settings
    origins = settings.cors_origins
    budget = ByteBudget(settings.buffer_bytes, service.metrics)
    keys = load_keys(settings)
    tracer = make_tracer() if settings.otel else None
    limited = [Middleware(RateLimit, settings=settings, keys=keys)] if settings.rate_limit else []
    return [
        Middleware(
            CorrelationIdMiddleware,
            generator=partial(secrets.token_hex, 16),
            validator=lambda value: REQUEST_ID.fullmatch(value) is not None,
            update_request_header=False,
        ),
        Middleware(Telemetry, metrics=service.metrics, tracer=tracer),
        Middleware(SecurityHeaders, cross_origin=bool(origins)),
        *([Middleware(Cors, origins=origins)] if origins else []),
        Middleware(LoadShedding, pool=service.pool),
        Middleware(BodyLimits, settings=settings, budget=budget),
        Middleware(Deadline, settings=settings),
        Middleware(TrustedHosts, hosts=settings.trusted_hosts),
        *limited,
        Middleware(ApiKeys, settings=settings, keys=keys),
    ]


async def _respond_to_error(request: Request, exc: Exception) -> Response:
    return problems.response(_as_problem(exc), request.scope)


def _as_problem(exc: Exception) -> ProblemError:
    if isinstance(exc, ProblemError):
        return exc
    if isinstance(exc, TumorLensError):
        return problems.from_exception(exc)
    if isinstance(exc, RequestValidationError):
        error: dict[str, Any] = exc.errors()[0]
        location = " ".join(str(part) for part in error["loc"])
        return ProblemError("malformed-request", f"{location}: {error['msg']}.")
    if isinstance(exc, HTTPException) and exc.status_code in (404, 405):
        slug = "not-found" if exc.status_code == 404 else "method-not-allowed"
        return ProblemError(slug, headers=exc.headers)
    return ProblemError("malformed-request")


def _literal_paths(routers: list[APIRouter]) -> frozenset[str]:
    """Return the paths without parameters, which the metrics may use as labels."""
    # An including router need not list the routes of the routers it includes.
    paths = {
        route.path for router in routers for route in router.routes if isinstance(route, Route)
    }
    return frozenset(path for path in paths if "{" not in path)
