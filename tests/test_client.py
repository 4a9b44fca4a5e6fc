"""The Python client: what it returns, what it tries again, and what it never sends."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.serving.live import LiveServer
from tests.serving.scans import png_scan
from tumorlens.client import Client
from tumorlens.errors import ServiceError, UnreadableFileError
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.api.schemas import PredictionAnswer

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, waits: list[float], **options: object) -> Client:
    return Client(
        "http://service.invalid",
        transport=httpx.MockTransport(handler),
        sleep=waits.append,
        **options,  # type: ignore[arg-type]
    )


def busy(*answers: httpx.Response) -> tuple[Handler, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    return handler, asked


def shed(seconds: str | None) -> httpx.Response:
    headers = {} if seconds is None else {"Retry-After": seconds}
    return httpx.Response(503, headers=headers, json={"title": "Busy", "detail": "later"})


ANSWER = PredictionAnswer.model_config["json_schema_extra"]["examples"][0]
OK = httpx.Response(200, json={**ANSWER, "prob": 0.5})


def test_it_waits_as_long_as_the_service_asks() -> None:
    waits: list[float] = []
    handler, asked = busy(shed("3"), httpx.Response(429, headers={"Retry-After": "1"}), OK)
    assert client_of(handler, waits).predict(b"x").prob == 0.5
    assert (waits, len(asked)) == ([3.0, 1.0], 3)


def test_without_retry_after_it_backs_off_with_jitter() -> None:
    waits: list[float] = []
    handler, _ = busy(*[shed(None)] * 4, OK)
    client_of(handler, waits).predict(b"x")
    for attempt, wait in enumerate(waits):
        assert 0.125 * 2**attempt <= wait <= 0.375 * 2**attempt


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (shed("1"), 3),
        (shed("31"), 1),
        (httpx.Response(500), 1),
        (httpx.Response(504), 1),
        (httpx.Response(422), 1),
    ],
)
def test_it_gives_up_after_retries_or_a_long_wait(answer: httpx.Response, tries: int) -> None:
    waits: list[float] = []
    handler, asked = busy(answer)
    with pytest.raises(ServiceError) as caught:
        client_of(handler, waits, retries=2).predict(b"x")
    assert (caught.value.status, len(asked)) == (answer.status_code, tries)


def test_a_refused_connection_is_tried_again_but_a_broken_one_is_not() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def drop(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("dropped")

    for handler, expected in ((refuse, 4), (drop, 0)):
        waits: list[float] = []
        with pytest.raises(ServiceError) as caught:
            client_of(handler, waits).predict(b"x")
        assert (caught.value.status, len(waits)) == (0, expected)


def test_the_file_s_name_is_not_sent(tmp_path: Path) -> None:
    image = tmp_path / "Doe^Jane.png"
    image.write_bytes(png_scan())
    handler, asked = busy(OK)
    client_of(handler, []).predict(image)
    assert b"Doe" not in asked[0].read()


@pytest.mark.parametrize("body", [b"<html>", b'{"prob": 0.5}', b"[]"])
def test_a_response_of_another_service_is_refused(body: bytes) -> None:
    handler, _ = busy(httpx.Response(200, content=body))
    with pytest.raises(ServiceError, match="not a response of TumorLens"):
        client_of(handler, []).predict(b"x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"gone\.png: cannot be read: No such file"):
        client_of(busy(OK)[0], []).predict(tmp_path / "gone.png")


def test_it_works_with_a_real_service(tiny_model_path: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.png"
    scan.write_bytes(png_scan())
    predictor = Predictor.open(tiny_model_path, threads=1)
    expected = predictor.predict(scan).prob
    environment = {"TUMORLENS_API_KEYS": "open-sesame"}
    with (
        LiveServer(tiny_model_path, environment=environment) as server,
        Client(server.url, api_key="open-sesame") as client,
    ):
        assert client.ready()
        assert client.model()["sha256"] == predictor.sha256
        assert client.predict(scan).prob == pytest.approx(expected, abs=1e-6)
        explained = client.explain(scan.read_bytes())
        assert base64.b64decode(explained.heatmap.png).startswith(b"\x89PNG")
        assert client.overlay(scan).startswith(b"\x89PNG")
        lines = list(client.predict_many([scan, b"text"]))
        assert [line.prediction is not None for line in lines] == [True, False]
        with pytest.raises(ServiceError, match="Unsupported file format") as caught:
            client.predict(b"text")
        assert caught.value.status == 415
        assert caught.value.problem["request_id"]
        with pytest.raises(ServiceError) as refused, Client(server.url) as stranger:
            stranger.predict(scan)
        assert refused.value.status == 401
    with Client(server.url) as client:
        assert not client.ready()
