"""An application in this process, and live servers on loopback, both with a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serving.live import LiveServer
from tests.serving.scans import png_scan
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.app import create_app
from tumorlens.serving.settings import Settings

MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="session")
def predictor(tiny_model_path: Path) -> Predictor:
    return Predictor.open(tiny_model_path, threads=1)


@pytest.fixture
def make_client(predictor: Predictor) -> Iterator[MakeClient]:
    """Return a function: settings → a client of an application, started and stopped."""
    clients: list[TestClient] = []

    def make(*, using: Predictor = predictor, **settings: Any) -> TestClient:
        client = TestClient(create_app(using, Settings(**settings)))
        client.__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__()


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    return make_client()


@pytest.fixture(scope="session")
def scan() -> bytes:
    return png_scan()


@pytest.fixture(scope="session")
def live(tiny_model_path: Path) -> Iterator[LiveServer]:
    """Return a server in a process of its own that lives as long as the tests."""
    with LiveServer(tiny_model_path, max_wait_s=60) as server:
        yield server
