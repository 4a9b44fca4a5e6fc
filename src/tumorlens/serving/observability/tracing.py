"""Optional OpenTelemetry tracing: a span for each request, with a child span for each stage.

The spans are created after the request from times that are measured anyway, so that tracing adds no
latency and the rest of the service is independent of it.
"""

from __future__ import annotations

import time
from typing import Any

from tumorlens.errors import MissingExtraError
from tumorlens.serving.observability.metrics import STAGES


class Tracer:
    """Sends finished spans to an OpenTelemetry tracer provider."""

    def __init__(self, provider: Any) -> None:
        self._tracer = provider.get_tracer("tumorlens.serving")

    def report(
        self, state: dict[str, Any], method: str, route: str, status: int, seconds: float
    ) -> None:
        """Send the spans of a request that has just ended and took ``seconds``.

        ``state`` is the request's state: ids, decision, model hash and milliseconds by stage.
        """
        from opentelemetry import trace

        end = time.time_ns()
        begin = end - int(seconds * 1e9)
        span = self._tracer.start_span(
            f"{method} {route}",
            context=_parent(state),
            kind=trace.SpanKind.SERVER,
            start_time=begin,
            attributes=_attributes(state, method, route, status),
        )
        inside = trace.set_span_in_context(span)
        clock = begin
        stages = state.get("stages", {})
        for name in STAGES:
            if name in stages:
                child = self._tracer.start_span(name, context=inside, start_time=clock)
                clock += int(stages[name] * 1e6)
                child.end(clock)
        if status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)


def make_tracer() -> Tracer:
    """Return a tracer that exports by OTLP over HTTP, configured by the OTEL_… variables.

    Raises :class:`MissingExtraError` when OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise MissingExtraError("TUMORLENS_OTEL", "otel") from exc
    # An explicit OTEL_SERVICE_NAME wins over this default.
    provider = TracerProvider(resource=Resource.create({"service.name": "tumorlens"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)


def _parent(state: dict[str, Any]) -> Any:
    from opentelemetry import trace

    if state.get("parent_id") is None:
        return None
    parent = trace.SpanContext(
        trace_id=int(state["trace_id"], 16),
        span_id=int(state["parent_id"], 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))


def _attributes(state: dict[str, Any], method: str, route: str, status: int) -> dict[str, Any]:
    found = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "tumorlens.request_id": state["request_id"],
        "tumorlens.decision": state.get("decision"),
        "tumorlens.model": state.get("model"),
        "tumorlens.problem": state.get("problem"),
    }
    return {name: value for name, value in found.items() if value is not None}
