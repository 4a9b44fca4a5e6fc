"""What operators do, and machines: a killed worker under load, and a Prometheus that counts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

import httpx

from benchmarks.faults.crowds import GONE
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.wire import Connection, post
from tests.serving.live import LiveServer
from tests.serving.scans import png_scan


async def killed_worker(model: Path, seconds: float) -> Outcome:
    """Kill -9 one of two workers in the middle of a load of eight clients."""
    outcome = Outcome("kill -9 of one worker of two")
    found: Counter[str] = Counter()
    request = post("/predict", png_scan())
    with LiveServer(model, workers=2, max_wait_s=60) as server:
        _wait_for_workers(server, 2)
        end = time.monotonic() + seconds

        async def ask() -> None:
            async with Connection(server.url) as connection:
                while time.monotonic() < end:
                    try:
                        found[str((await connection.ask(request)).status)] += 1
                    except GONE:
                        found["cut off"] += 1
                        connection.close()

        async def kill() -> None:
            await asyncio.sleep(seconds / 3)
            victim = _workers(server)[0]
            os.kill(victim, signal.SIGKILL)

        await asyncio.gather(kill(), *(ask() for _ in range(8)))
        _wait_for_workers(server, 2)
        outcome.figures = {"answers": dict(found), "workers_after": len(_workers(server))}
    # A killed process cannot answer what it held: at most one request a connection.
    outcome.require(found["cut off"] <= 8, f"{found['cut off']} requests were cut off")
    outcome.require(set(found) <= {"200", "cut off"}, f"other answers: {found}")
    return outcome


def prometheus(model: Path, requests: int) -> Outcome:
    """Let a real Prometheus scrape two workers, and compare its sums with what was sent."""
    outcome = Outcome("Prometheus with two workers")
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            outcome.failures.append(f"{program} is not installed: apt-get install prometheus")
            return outcome
    with LiveServer(model, workers=2) as server:
        _wait_for_workers(server, 2)
        scan = png_scan()
        for _ in range(requests):
            httpx.post(f"{server.url}/predict", files={"file": ("a", scan)}, timeout=30)
        for _ in range(requests // 4):
            httpx.post(f"{server.url}/predict", files={"file": ("a", b"text")}, timeout=30)
        exposed = httpx.get(f"{server.url}/metrics", timeout=30).text
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=exposed, capture_output=True, text=True
        )
        outcome.require(checked.returncode == 0, f"promtool: {checked.stdout}{checked.stderr}")
        answered = _scrape(server, requests, outcome)
    outcome.figures |= {"sent": requests, "refused": requests // 4, "prometheus": answered}
    outcome.require(answered["predictions"] == requests, f"counted {answered['predictions']}")
    outcome.require(answered["refused"] == requests // 4, f"counted {answered['refused']}")
    return outcome


def _scrape(server: LiveServer, requests: int, outcome: Outcome) -> dict[str, float]:
    port = _free_port()
    config = server.folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n"
        f"- job_name: tumorlens\n  static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]\n"
    )
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={server.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ],
        cwd=server.folder,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        predictions = 0.0
        while predictions < requests and time.monotonic() < end:
            time.sleep(0.5)
            predictions = _query(port, "sum(tumorlens_predictions_total)")
        refused = _query(port, 'sum(tumorlens_problems_total{problem="unsupported-format"})')
        workers = _query(port, "tumorlens_ready_workers")
        outcome.require(workers == 2, f"Prometheus sees {workers} ready workers")
        return {"predictions": predictions, "refused": refused, "ready_workers": workers}
    finally:
        process.terminate()
        process.wait(20)


def _query(port: int, expression: str) -> float:
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}") as answer:
            result = json.load(answer)["data"]["result"]
    except OSError:
        return 0.0
    return float(result[0]["value"][1]) if result else 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _workers(server: LiveServer) -> list[int]:
    found = []
    for pid in server.pids()[1:]:
        if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            found.append(pid)
    return found


def _wait_for_workers(server: LiveServer, count: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        text = httpx.get(f"{server.url}/metrics", timeout=30).text
        if f"tumorlens_ready_workers {float(count)}" in text:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{count} workers were not ready in time")
