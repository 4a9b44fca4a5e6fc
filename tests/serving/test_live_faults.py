"""What people send by mistake or on purpose, against a real server on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving import scans
from tests.serving.live import LiveServer

MIB = 2**20
MEMORY_MIB = 500


@pytest.fixture(scope="module")
def http(live: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=30) as client:
        yield client


def still_serves(http: httpx.Client) -> bool:
    answer = http.post("/predict", files={"file": ("a.png", scans.png_scan())})
    return answer.status_code == 200 and answer.json()["label"] in ("tumor", "healthy")


@pytest.mark.parametrize(
    ("name", "body", "status", "problem"),
    [
        ("report.pdf", b"%PDF-1.7" + bytes(4096), 415, "unsupported-format"),
        ("notes.jpg", b"a text file named .jpg\n" * 50, 415, "unsupported-format"),
        ("empty.png", b"", 422, "empty-file"),
        ("half.jpg", scans.truncated_jpeg(), 422, "not-decodable"),
        ("huge.png", scans.png_bomb(40_000, 40_000), 413, "too-large"),
        ("wide.png", scans.png_bomb(16_777_217, 1), 413, "too-large"),
        ("blank.png", scans.blank_png(), 422, "not-brain-mri"),
        ("long.bin", bytes(33 * MIB), 413, "too-large"),
    ],
)
def test_a_fault_is_refused_and_the_server_goes_on(
    live: LiveServer, http: httpx.Client, name: str, body: bytes, status: int, problem: str
) -> None:
    answer = http.post("/predict", files={"file": (name, body)})
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert still_serves(http)
    assert live.rss_mib("VmHWM") < MEMORY_MIB


def test_a_chunked_body_is_cut_off_at_the_limit(live: LiveServer, http: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += MIB
            yield bytes(MIB)

    answer = http.post(
        "/predict",
        content=endless(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    # The zeros are no multipart form, which is noticed with the first of them.
    assert answer.status_code == 400
    assert sent < 40 * MIB
    assert still_serves(http)
    assert live.rss_mib("VmHWM") < MEMORY_MIB


def test_a_declared_length_over_the_limit_is_refused_before_the_body(live: LiveServer) -> None:
    head = (
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as raw:
        raw.sendall(head.encode())
        answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00 not http\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9x\r\n\r\n", b"400"),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET //x HTTP/9.9\r\n\r\n", b"400"),
    ],
)
def test_a_broken_head_gets_a_problem_document(
    live: LiveServer, http: httpx.Client, sent: bytes, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as raw:
        raw.sendall(sent)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"application/problem+json" in answer
    assert still_serves(http)


def test_too_many_connections_are_told_so(tiny_model_path: Path) -> None:
    with LiveServer(tiny_model_path, max_connections=4) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as one_more:
            answer = b"".join(iter(lambda: one_more.recv(65536), b""))
        for connection in idle:
            connection.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in answer
