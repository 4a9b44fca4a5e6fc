"""OpenTelemetry spans: one a request, children for the stages, joined to the caller's trace."""

from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.serving.conftest import MakeClient
from tumorlens.errors import MissingExtraError
from tumorlens.serving import app as app_module
from tumorlens.serving.observability.tracing import Tracer, make_tracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_request_becomes_a_span_with_its_stages(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, scan: bytes
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(app_module, "make_tracer", lambda: Tracer(provider))
    client = make_client(otel=True)
    client.post(
        "/predict",
        files={"file": ("Jane.png", scan)},
        headers={"traceparent": f"00-{TRACE}-{SPAN}-01"},
    )
    spans = {span.name: span for span in exporter.get_finished_spans()}
    whole = spans.pop("POST /predict")
    assert set(spans) == {"read", "queue", "decode", "preprocess", "forward"}
    assert f"{whole.context.trace_id:032x}" == TRACE
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" == SPAN
    assert whole.attributes is not None
    assert whole.attributes["http.route"] == "/predict"
    assert whole.attributes["tumorlens.decision"] == "tumor"
    for child in spans.values():
        assert child.parent is not None
        assert child.parent.span_id == whole.context.span_id
        assert child.start_time is not None
        assert whole.start_time is not None
        assert whole.start_time <= child.start_time
    assert "Jane" not in repr([span.to_json() for span in exporter.get_finished_spans()])


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"tumorlens\[otel\]"):
        make_tracer()
