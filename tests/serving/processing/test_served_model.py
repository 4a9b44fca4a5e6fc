"""A model file that changes while the service runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from tests.models_for_tests import write_tiny_model
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.app import create_app
from tumorlens.serving.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model.onnx")


@pytest.fixture
def client(path: Path) -> TestClient:
    settings = Settings(model=path, reload_seconds=0)
    return TestClient(create_app(Predictor.open(path, threads=1), settings))


def look(client: TestClient) -> None:
    asyncio.run(client.app.state.service.model.check())  # type: ignore[attr-defined]


def model_info(client: TestClient) -> dict[str, float]:
    found = {}
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("tumorlens_model_info{"):
            labels, value = line.rsplit(" ", 1)
            found[labels.partition('version="')[2].partition('"')[0]] = float(value)
    return found


def test_a_good_file_takes_over(client: TestClient, path: Path) -> None:
    write_tiny_model(path, version="2.0")
    with capture_logs() as logs:
        look(client)
    assert client.get("/model").json()["version"] == "2.0"
    assert client.get("/readyz").json()["model"]["version"] == "2.0"
    assert [line["outcome"] for line in logs if line["event"] == "model"] == ["loaded"]
    assert model_info(client) == {"1.0": 0.0, "2.0": 1.0}


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ("cut", "ModelDamagedError"),
        ("foreign", "ForeignModelError"),
        ("gone", "ModelNotFoundError"),
    ],
)
def test_a_bad_file_leaves_the_old_model_serving(
    client: TestClient, path: Path, scan: bytes, damage: str, error: str
) -> None:
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "foreign":
        path.write_bytes(b"not a model at all")
    else:
        path.unlink()
    with capture_logs() as logs:
        look(client)
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["model_refused"] == error
    assert ready.json()["model"]["version"] == "1.0"
    assert client.post("/predict", files={"file": ("a", scan)}).status_code == 200
    (line,) = (line for line in logs if line["event"] == "model")
    assert (line["outcome"], line["error"]) == ("refused", error)
    assert 'tumorlens_model_reloads_total{outcome="refused"} 1.0' in client.get("/metrics").text

    path.write_bytes(whole)
    look(client)
    assert client.get("/readyz").json()["model_refused"] is None


def test_an_unchanged_file_is_not_opened_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "open", lambda *_, **__: pytest.fail("opened again"))
    look(client)
