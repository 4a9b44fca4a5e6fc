"""Each route and status that docs/serving.md lists is in the OpenAPI document, and happens."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from tests.models_for_tests import write_tiny_model
from tests.serving import scans
from tests.serving.conftest import MakeClient
from tests.serving.messages import CHUNKED, START, Talk, part
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.app import create_app
from tumorlens.serving.middleware.access import ApiKeys
from tumorlens.serving.processing.pool import Pool
from tumorlens.serving.settings import Settings

DOCS = Path(__file__).resolve().parents[3] / "docs" / "serving.md"
EVERY_ROUTE, CLOSED_ROUTE = {400, 500, 504}, {401, 429}
ROW = re.compile(r"^\| `(GET|POST) (\S+)` \| (yes|no) \| ([\d, ]+) \|", re.MULTILINE)

# The documented routes, as requests: (method, path), whether a key closes it, own statuses.
ROUTES = [
    ((method, path), key == "yes", {int(status) for status in own.split(",")})
    for method, path, key, own in ROW.findall(DOCS.read_text("utf-8"))
]
CLOSED = [route for route, closed, _ in ROUTES if closed]
UPLOADS = ["/predict", "/explain", "/predict/batch"]


def ask(client: TestClient, route: tuple[str, str], **options: Any) -> httpx.Response:
    method, path = route
    path = path.replace("{slug}", "timeout").replace("{name}", "app.js")
    path = path.replace("{model}", "tiny").replace("{version}", "1.0")
    return client.request(method, path, **options)


def test_the_openapi_document_lists_the_same_routes_and_statuses(client: TestClient) -> None:
    described = {
        (method.upper(), path): {int(status) for status in operation["responses"]}
        for path, item in client.get("/openapi.json").json()["paths"].items()
        for method, operation in item.items()
    }
    documented = {
        route: own | EVERY_ROUTE | (CLOSED_ROUTE if closed else set())
        for route, closed, own in ROUTES
        if route[1] != "/openapi.json"
    }
    assert documented == described


@pytest.mark.parametrize("route", [route for route, _, own in ROUTES if route[0] == "GET"])
def test_what_can_be_read_is_answered_with_200(client: TestClient, route: tuple[str, str]) -> None:
    assert ask(client, route).status_code == 200


@pytest.mark.parametrize("route", [route for route, _, own in ROUTES if 304 in own])
def test_a_current_copy_gets_304(client: TestClient, route: tuple[str, str]) -> None:
    first = ask(client, route)
    assert first.headers["cache-control"] == "no-cache"
    again = ask(client, route, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("route", [route for route, _, _ in ROUTES])
def test_every_route_refuses_an_unknown_host(
    make_client: MakeClient, route: tuple[str, str]
) -> None:
    answer = ask(make_client(trusted_hosts="lens.example"), route)
    assert answer.status_code == 400
    if route[1].startswith("/v2"):
        assert answer.json().keys() == {"error"}
    else:
        assert answer.json()["type"] == "/problems/untrusted-host"


@pytest.mark.parametrize(("fault", "status"), [("raise", 500), ("hang", 504)])
def test_every_route_answers_a_fault_and_a_timeout(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, fault: str, status: int
) -> None:
    async def broken(*_: object) -> None:
        if fault == "hang":
            await asyncio.sleep(20)
        raise RuntimeError

    client = make_client(request_timeout=0.01, batch_timeout=0.01)
    monkeypatch.setattr(ApiKeys, "__call__", broken)
    assert {route: ask(client, route).status_code for route, _, _ in ROUTES} == {
        route: status for route, _, _ in ROUTES
    }


@pytest.mark.parametrize("route", CLOSED)
def test_closed_routes_answer_401_and_429(make_client: MakeClient, route: tuple[str, str]) -> None:
    client = make_client(api_keys="k" * 32, metrics_key=True, rate_limit=1)
    assert [ask(client, route).status_code for _ in range(2)] == [401, 429]


def test_open_routes_need_no_key_and_have_no_rate(make_client: MakeClient) -> None:
    client = make_client(api_keys="k" * 32, metrics_key=True, rate_limit=1)
    statuses = {ask(client, route).status_code for _ in range(2) for route, closed, _ in ROUTES
                if not closed}  # fmt: skip
    assert statuses == {200}


def test_an_unknown_kind_of_problem_gets_404(client: TestClient) -> None:
    assert client.get("/problems/unheard-of").status_code == 404


@pytest.mark.parametrize("name", ["index.html", "unknown.js", "..%2fapp.py", "%00"])
def test_another_file_than_the_pages_gets_404(client: TestClient, name: str) -> None:
    assert client.get(f"/assets/{name}").status_code == 404


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (scans.png_scan(), 200),
        (bytes(2 * 2**20), 413),
        (b"PK\x03\x04 no zip", {"/predict/batch": 422}),
        (b"text", {"/predict": 415, "/explain": 415}),
        (b"", {"/predict": 422, "/explain": 422}),
    ],
)
def test_uploads_are_answered(
    make_client: MakeClient, path: str, body: bytes, status: int | dict[str, int]
) -> None:
    client = make_client(max_upload_bytes=2**20, batch_max_bytes=2**20)
    expected = status if isinstance(status, int) else status.get(path, 0)
    if expected:
        assert client.post(path, files={"file": ("a", body)}).status_code == expected


@pytest.mark.parametrize("path", UPLOADS)
def test_uploads_of_another_kind_slow_or_too_many_are_refused(
    predictor: Predictor, client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    assert client.post(path, content=b"{}").status_code == 415
    slow = Talk([part(START)], CHUNKED, path)
    asyncio.run(slow.play(create_app(predictor, Settings(body_timeout=0.05))))
    assert slow.status == 408
    monkeypatch.setattr(Pool, "is_full", lambda *_: True)
    assert client.post(path, files={"file": ("a", b"x")}).status_code == 503
    assert client.get("/readyz").status_code == 503


def test_explain_refuses_other_kinds_of_answer_and_models_without_a_map(
    client: TestClient, make_client: MakeClient, tmp_path: Path
) -> None:
    form = {"file": ("a", scans.png_scan())}
    assert client.post("/explain", files=form, headers={"Accept": "text/csv"}).status_code == 406
    path = write_tiny_model(tmp_path / "plain.onnx", has_map=False)
    plain = make_client(using=Predictor.open(path, threads=1))
    assert plain.post("/explain", files=form).status_code == 409
