"""The process itself: start, several workers, a killed worker, a swapped model, the stop."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.models_for_tests import write_tiny_model
from tests.serving.live import LiveServer
from tests.serving.scans import png_scan
from tumorlens.cli.app import run
from tumorlens.serving.server import _listen
from tumorlens.serving.settings import Settings

PATIENCE_SECONDS = 20.0


def eventually(happened: Callable[[], bool]) -> None:
    """Poll until ``happened``; the processes under test have no event to wait for."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.05)


def predict(url: str, scan: bytes) -> httpx.Response:
    return httpx.post(f"{url}/predict", files={"file": ("a", scan)}, timeout=30)


def total(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    found = [re.fullmatch(rf"{name}(?:{{.*}})? (\S+)", line) for line in lines]
    return sum(float(match[1]) for match in found if match)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "/nowhere/model.onnx"], "/nowhere/model.onnx"),
        (["--port", "99999"], "TUMORLENS_PORT"),
        (["--host", "203.0.113.7", "--port", "0"], "cannot listen there"),
        (["--ssl-certfile", "a", "--ssl-keyfile", "b"], "no such TLS file"),
    ],
)
def test_what_cannot_start_says_why(
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    for name in list(os.environ):
        if name.startswith("TUMORLENS_"):
            monkeypatch.delenv(name)
    if "--model" not in arguments:
        arguments = ["--model", str(tiny_model_path), *arguments]
    monkeypatch.setattr("tumorlens.serving.server.configure_logging", lambda settings: None)
    assert run(["serve", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_answers_are_not_held_back_by_nagle() -> None:
    # asyncio turns Nagle's algorithm off only where the socket names its protocol.
    with _listen(Settings(port=0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_two_workers_count_together_and_survive_a_kill(tiny_model_path: Path) -> None:
    scan = png_scan()
    with LiveServer(tiny_model_path, workers=2, rate_limit=1000, rate_window=3600) as server:
        eventually(lambda: total(server.url, "tumorlens_ready_workers") == 2)
        for _ in range(24):
            assert predict(server.url, scan).status_code == 200
        assert total(server.url, "tumorlens_predictions_total") == 24

        _, *workers = [pid for pid in server.pids() if is_worker(pid)]
        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: workers[0] not in server.pids())
        eventually(lambda: survives(server.url, scan))
        eventually(lambda: total(server.url, "tumorlens_ready_workers") == 2)
        # What the killed worker counted is not lost, and its gauges are not counted twice.
        assert total(server.url, "tumorlens_predictions_total") >= 25
        answer = predict(server.url, scan)
        remaining = int(re.search(r"r=(\d+)", answer.headers["ratelimit"])[1])  # type: ignore[index]
        answered = total(server.url, "tumorlens_predictions_total")
        assert remaining <= 1000 - answered
    assert server.process.returncode == 0


def is_worker(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"resource_tracker" not in command


def survives(url: str, scan: bytes) -> bool:
    try:
        return predict(url, scan).status_code == 200
    except httpx.TransportError:
        return False  # it stood in the killed worker's queue


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_under_load_loses_no_accepted_request(tiny_model_path: Path, workers: int) -> None:
    scan = png_scan()
    outcomes: Counter[str] = Counter()
    enough, stopped = threading.Event(), threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(timeout=30) as client:
            while not stopped.is_set():
                try:
                    answer = client.post(f"{url}/predict", files={"file": ("a", scan)})
                except httpx.ConnectError:
                    outcomes["not accepted"] += 1
                    return
                except httpx.TransportError as exc:
                    outcomes[type(exc).__name__] += 1
                    return
                outcomes[str(answer.status_code)] += 1
                if outcomes["200"] > 40:
                    enough.set()

    with LiveServer(tiny_model_path, workers=workers, max_wait_s=60, stop_timeout=8) as server:
        threads = [threading.Thread(target=ask, args=(server.url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert enough.wait(PATIENCE_SECONDS)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        stopped.set()
        for thread in threads:
            thread.join()
    answered = [line for line in server.log_lines("request") if line["route"] == "/predict"]
    # Every request the server took has its answer at the client, and the other way round. What
    # the kernel still held when the port closed was not taken: the client sees it reset.
    assert Counter(str(line["status"]) for line in answered) == +Counter(
        {status: count for status, count in outcomes.items() if status.isdigit()}
    )
    assert {line["status"] for line in answered} == {200}


def test_what_the_stop_cannot_wait_for_is_answered_and_logged_alike(tiny_model_path: Path) -> None:
    with LiveServer(tiny_model_path, stop_timeout=1) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                b"Content-Length: 99\r\nExpect: 100-continue\r\n\r\n"
            )
            assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            server.process.send_signal(signal.SIGTERM)
            received = b"".join(iter(lambda: client.recv(4096), b""))
        assert server.process.wait(PATIENCE_SECONDS) == 0
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head
    problem = json.loads(body)
    assert problem["type"] == "/problems/not-ready"
    (line,) = server.log_lines("request")
    assert (line["request_id"], line["status"]) == (problem["request_id"], 503)


def test_a_damaged_swap_keeps_the_old_model_and_says_so(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.onnx")
    with LiveServer(model, reload_seconds=0.1) as server:
        sha256 = httpx.get(f"{server.url}/model", timeout=30).json()["sha256"]
        model.write_bytes(model.read_bytes()[:-100])
        eventually(
            lambda: (
                httpx.get(f"{server.url}/readyz", timeout=30).json()["model_refused"] is not None
            )
        )
        ready = httpx.get(f"{server.url}/readyz", timeout=30).json()
        assert ready["model_refused"] == "ModelDamagedError"
        assert ready["model"]["sha256"] == sha256
        assert predict(server.url, png_scan()).json()["model"]["sha256"] == sha256
        # The file may also have been read while it was being written.
        assert {line["outcome"] for line in server.log_lines("model")} == {"refused"}
        write_tiny_model(model, version="2.0")
        eventually(lambda: httpx.get(f"{server.url}/model", timeout=30).json()["version"] == "2.0")


@pytest.mark.system("openssl")
def test_tls_answers_with_strict_transport_security(tiny_model_path: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    with LiveServer(tiny_model_path, ssl_certfile=certificate, ssl_keyfile=key) as server:
        assert server.url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(certificate))
        answer = httpx.get(f"{server.url}/healthz", verify=trust, timeout=30)
    assert answer.json() == {"status": "ok"}
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_a_believed_proxy_names_the_client(tiny_model_path: Path) -> None:
    with LiveServer(tiny_model_path, rate_limit=1) as server:
        statuses = [
            httpx.get(
                f"{server.url}/model", timeout=30, headers={"X-Forwarded-For": who}
            ).status_code
            for who in ("198.51.100.1", "198.51.100.2", "198.51.100.1")
        ]
    assert statuses == [200, 200, 429]


def test_a_prefix_that_a_proxy_strips_stands_in_addresses(tiny_model_path: Path) -> None:
    with LiveServer(tiny_model_path, root_path="/lens") as server:
        assert server.url.endswith("/lens")
        direct = server.url.removesuffix("/lens")
        assert predict(direct, png_scan()).status_code == 200
        problem = predict(direct, b"text").json()
        assert (problem["type"], problem["instance"]) == (
            "/lens/problems/unsupported-format",
            "/predict",
        )
        assert httpx.get(f"{direct}/openapi.json").json()["servers"] == [{"url": "/lens"}]
        assert httpx.get(f"{direct}/assets/app.js").status_code == 200
    routes = {line["route"] for line in server.log_lines("request")}
    assert routes == {"/predict", "/openapi.json", "/assets/{name}"}


def test_the_log_is_json_and_names_no_file(tiny_model_path: Path) -> None:
    with LiveServer(tiny_model_path) as server:
        httpx.post(
            f"{server.url}/predict", files={"file": ("Jane_Doe.png", png_scan())}, timeout=30
        )
    text = server.log_text()
    assert "Jane" not in text
    for line in text.splitlines():
        assert line.startswith("TumorLens answers on") or isinstance(json.loads(line), dict)


def test_a_worker_accepts_one_connection_in_a_turn_of_its_event_loop() -> None:
    with _listen(Settings(host="127.0.0.1", port=0)) as listener:
        listener.setblocking(False)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        accepted = []
        for _ in clients:
            accepted.append(listener.accept()[0])
            with pytest.raises(BlockingIOError):  # so that another worker takes the next
                listener.accept()
        with pytest.raises(BlockingIOError):  # none is left
            listener.accept()
        for each in [*clients, *accepted]:
            each.close()
