"""Who may ask, how often, under which name, and what browsers are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.serving.conftest import MakeClient
from tumorlens.errors import ConfigError
from tumorlens.serving.middleware.access import load_keys
from tumorlens.serving.middleware.rate import RateTable
from tumorlens.serving.settings import Settings


@pytest.fixture
def closed(make_client: MakeClient, tmp_path: Path) -> TestClient:
    keys = tmp_path / "keys"
    keys.write_text("# operators\nthird-key\n\n")
    return make_client(api_keys="first-key, second-key", api_keys_file=keys, metrics_key=True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic first-key"}, 401),
        ({"Authorization": "Bearer first-key,"}, 401),
        ({"Authorization": "Bearer # operators"}, 401),
        ({"X-API-Key": ""}, 401),
        ({"Authorization": "Bearer first-key"}, 200),
        ({"Authorization": "bearer  second-key"}, 200),
        ({"X-API-Key": "third-key"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/model", "/metrics"])
def test_closed_paths_need_a_known_key(
    closed: TestClient, path: str, headers: dict[str, str], status: int
) -> None:
    answer = closed.get(path, headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="tumorlens"'
        assert answer.json()["type"] == "/problems/unauthorized"


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/docs", "/problems", "/openapi.json"]
)
def test_open_paths_need_none(closed: TestClient, path: str) -> None:
    assert closed.get(path).status_code == 200


def test_the_body_of_an_unknown_client_is_not_read(closed: TestClient) -> None:
    sent = []

    def body() -> object:
        sent.append(1)
        yield bytes(1000)

    answer = closed.post("/predict", content=body())  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["connection"] == "close"


def test_a_prefix_does_not_open_closed_paths(closed: TestClient) -> None:
    assert closed.get("/problems/../model").status_code == 401
    assert closed.get("/assets/x/../../model").status_code == 401


@pytest.mark.parametrize("content", [None, "", "# only a comment\n"])
def test_a_key_file_without_a_key_stops_the_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="TUMORLENS_API_KEYS_FILE"):
        load_keys(Settings(api_keys_file=path))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("lens.example.org", 200),
        ("LENS.example.org:8000", 200),
        ("a.wild.example", 200),
        ("wild.example", 400),
        ("example.org", 400),
        ("lens.example.org.evil.com", 400),
        ("[::1]:8000", 200),
    ],
)
def test_only_trusted_hosts_are_answered(make_client: MakeClient, host: str, status: int) -> None:
    client = make_client(trusted_hosts="lens.example.org,*.wild.example,[::1]")
    answer = client.get("/healthz", headers={"Host": host})
    assert answer.status_code == status


ASK = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}


def test_other_origins_may_call_only_when_listed(make_client: MakeClient) -> None:
    client = make_client(cors_origins="https://a.example", api_keys="k")
    allowed = client.options("/predict", headers=ASK)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (
        200,
        "https://a.example",
    )
    refused = client.options("/predict", headers={**ASK, "Origin": "https://b.example"})
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    # A refusal must carry the header too, or the page cannot read why.
    error = client.post("/predict", headers={"Origin": "https://a.example"})
    assert error.status_code == 401
    assert error.headers["access-control-allow-origin"] == "https://a.example"


def test_without_a_list_no_origin_is_named(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"Origin": "https://a.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing", "/predict"])
def test_every_answer_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "strict-transport-security" not in headers


def test_over_the_rate_the_answer_is_429_with_the_fields(make_client: MakeClient) -> None:
    client = make_client(rate_limit=3, rate_window=60)
    answers = [client.get("/model") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
    assert answers[0].headers["ratelimit"] == '"default";r=2;t=20'
    assert answers[2].headers["ratelimit"] == '"default";r=0;t=60'
    assert answers[3].headers["retry-after"] == "20"
    assert answers[3].json()["type"] == "/problems/rate-limited"
    assert client.get("/healthz").status_code == 200


def test_rates_count_by_key_and_wrong_keys_by_address(make_client: MakeClient) -> None:
    client = make_client(rate_limit=2, rate_window=60, api_keys="a-key,b-key")
    ask = lambda key: client.get("/model", headers={"X-API-Key": key}).status_code  # noqa: E731
    assert [ask("a-key") for _ in range(3)] == [200, 200, 429]
    assert [ask("b-key") for _ in range(3)] == [200, 200, 429]
    assert [ask(f"guess-{n}") for n in range(3)] == [401, 401, 429]


def test_the_allowance_comes_back_with_time() -> None:
    table = RateTable(quota=2, window=10, path=None)
    said = [(now, table.count(b"x", now).allowed) for now in (100, 100, 100, 104.9, 105.1, 105.2)]
    assert said == [
        (100, True),
        (100, True),
        (100, False),
        (104.9, False),
        (105.1, True),
        (105.2, False),
    ]
    assert table.count(b"x", 200).remaining == 1
    table.close()


def test_workers_share_one_table(tmp_path: Path) -> None:
    tables = [RateTable(4, 60, tmp_path / "rates") for _ in range(2)]
    said = [tables[n % 2].count(b"who", 50.0).allowed for n in range(6)]
    assert said == [True, True, True, True, False, False]
    for table in tables:
        table.close()


def test_many_clients_do_not_grow_the_table() -> None:
    table = RateTable(1, 60, None)
    allowed = sum(table.count(str(n).encode(), 10.0).allowed for n in range(20_000))
    assert allowed == 20_000
    assert sum(table.count(str(n).encode(), 10.0).allowed for n in range(20_000)) < 400
    table.close()
