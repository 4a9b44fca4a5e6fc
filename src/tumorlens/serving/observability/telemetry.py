"""One log line and one update of the metrics for every request.

The route's template is logged, never the requested path, and nothing of the body: file names,
pixels and DICOM headers do not appear in logs, metrics or traces.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import sys
import time
import traceback
from typing import Any

import structlog
from asgi_correlation_id import correlation_id
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.observability.tracing import Tracer
from tumorlens.serving.problems import ClientGoneError, ProblemError, path_of, response
from tumorlens.serving.settings import Settings

# W3C Trace Context; ids of zeros alone are invalid.
_TRACEPARENT = re.compile(
    r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_GONE = 499  # no response was possible; nginx logs this status, too


def configure_logging(settings: Settings) -> None:
    """Send log lines, and uvicorn's, to standard error in the configured format.

    Only the server's entry point calls this: a library does not configure logging.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: structlog.typing.Processor = structlog.processors.JSONRenderer()
    terminal = sys.stderr.isatty()
    if settings.log_format == "console" or (settings.log_format == "auto" and terminal):
        render = structlog.dev.ConsoleRenderer(colors=terminal)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # These libraries log what they parse (pydicom quotes element values).
    for name in ("pydicom", "nibabel", "PIL", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class Telemetry:
    """ASGI middleware: log line, metrics, and the last handler of unexpected exceptions."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self.app = app
        self.metrics = metrics
        self.tracer = tracer
        self.log = structlog.get_logger("tumorlens.serving")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, then log and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        state = scope.setdefault("state", {})
        _identify(scope, state)
        status = CLIENT_GONE
        started = False

        async def watched(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, watched)
        except ClientGoneError:
            state.setdefault("problem", "client-gone")
        except asyncio.CancelledError:
            # uvicorn cancels what is unfinished at the stop timeout, and would answer 500.
            if started:
                raise
            await response(_stopped(), scope)(scope, receive, watched)
        except Exception as exc:  # noqa: BLE001  a fault must not end the worker
            self._report_fault(exc, state)
            if started:
                raise _HiddenFaultError from None
            fault = ProblemError("internal-error")
            await response(fault, scope)(scope, receive, watched)
        finally:
            self.metrics.in_flight.dec()
            self._report(scope, state, status, time.perf_counter() - begin)

    def _report_fault(self, exc: Exception, state: dict[str, Any]) -> None:
        # The message may quote the upload, so only the type and the code locations are logged.
        locations = [
            f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(exc.__traceback__)[-8:]
        ]
        self.log.error(
            "fault", request_id=state["request_id"], error=type(exc).__name__, at=locations
        )

    def _report(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        route = _route(scope)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.duration.labels(route).observe(seconds)
        problem = state.get("problem")
        if problem is not None:
            self.metrics.problems.labels(problem).inc()
        if self.tracer is not None:
            self.tracer.report(state, method, route, status, seconds)
        body = state.get("body")
        line: dict[str, Any] = {
            "request_id": state["request_id"],
            "trace_id": state["trace_id"],
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
            "bytes_in": body.received if body is not None else 0,
        }
        fields = ("decision", "model", "stages", "problem")
        line |= {name: state[name] for name in fields if name in state}
        quiet = route in ("/healthz", "/readyz", "/metrics") and status < 400
        (self.log.debug if quiet else self.log.info)("request", **line)


def _stopped() -> ProblemError:
    detail = "The service stopped before the answer was ready."
    return ProblemError("not-ready", detail, headers={"Retry-After": "1"})


class _HiddenFaultError(RuntimeError):
    """Replaces an exception that was already logged, without its message."""


def _identify(scope: Scope, state: dict[str, Any]) -> None:
    parent = _TRACEPARENT.fullmatch(Headers(scope=scope).get("traceparent", ""))
    state["request_id"] = correlation_id.get()
    state["trace_id"] = secrets.token_hex(16) if parent is None else parent[1]
    state["parent_id"] = None if parent is None else parent[2]


def _route(scope: Scope) -> str:
    """Return the route's template, which is one of a fixed set and holds no client input."""
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    app = scope.get("app")
    known: frozenset[str] = app.state.known_routes if app is not None else frozenset()
    path = path_of(scope)
    return path if path in known else "unmatched"
