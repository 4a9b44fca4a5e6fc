from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tumorlens.bench.load import ask, form, repeat, summarise
from tumorlens.errors import ConfigError


@contextmanager
def answering(status: int) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Serve ``status`` to every POST on loopback; the list holds the bodies that came."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield ("127.0.0.1", server.server_port), bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_summarise_gives_percentiles_in_ms_and_throughput() -> None:
    timing = summarise("x", [0.001 * step for step in range(101)], elapsed=2.0)
    assert (timing.n, timing.per_second) == (101, 50.5)
    assert timing.p50_ms == pytest.approx(50)
    assert timing.p95_ms == pytest.approx(95)
    assert timing.p99_ms == pytest.approx(99)


def test_form_is_a_multipart_body_with_the_bytes_untouched() -> None:
    body, headers = form(b"\x00\xff\r\n", "a.png")
    boundary = headers["Content-Type"].partition("boundary=")[2].encode()
    head, content = body.split(b"\r\n\r\n", 1)
    assert head.startswith(b"--" + boundary + b"\r\n")
    assert b'name="file"; filename="a.png"' in head
    assert content == b"\x00\xff\r\n\r\n--" + boundary + b"--\r\n"


def test_repeat_stops_at_the_count() -> None:
    calls: list[int] = []
    assert repeat("x", lambda: calls.append(1), times=5, seconds=60).n == len(calls) == 5


def test_repeat_measures_once_even_when_there_is_no_time() -> None:
    assert repeat("x", lambda: None, times=5, seconds=0).n == 1


@pytest.mark.parametrize("clients", [1, 3])
def test_every_request_is_sent_once_and_completely(clients: int) -> None:
    upload = form(b"scan", "a.png")
    with answering(200) as (address, bodies):
        timing = ask(address, "/predict", upload, clients=clients, requests=20, seconds=60)
    assert timing.n == len(bodies) == 20
    assert set(bodies) == {upload[0]}


def test_a_refusal_is_an_error() -> None:
    with answering(503) as (address, _), pytest.raises(ConfigError, match="2 clients: 503"):
        ask(address, "/predict", form(b"scan", "a.png"), clients=2, requests=9, seconds=60)


def test_an_unreachable_service_is_an_error() -> None:
    with answering(200) as (address, _):
        pass
    with pytest.raises(ConfigError, match="ConnectionRefusedError"):
        ask(address, "/predict", form(b"scan", "a.png"), clients=1, requests=9, seconds=60)
