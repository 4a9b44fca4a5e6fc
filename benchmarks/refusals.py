"""What refusing a request under overload costs the service: ``python -m benchmarks.refusals``.

One client keeps the only inference thread busy with large images; others upload a JPEG of 512
pixels and are refused with 503, since the service admits nothing that has to wait. Told is the
processor time of the event loop's thread for each refusal, beside an answered ``GET /healthz`` over
the same connections in the same run: medians of the rounds with the least and the largest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from pathlib import Path

from benchmarks.pixels import jpeg
from benchmarks.race.client import request_bytes
from benchmarks.race.servers import free_port, running

_TICKS = os.sysconf("SC_CLK_TCK")
_LARGE_SIDE = 4000
_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def event_loop_seconds(pid: int) -> float:
    """Return the processor time of a process's first thread, which runs the event loop."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def ask(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes
) -> tuple[int, bytes]:
    """Send a request over a kept-open connection; return status and body."""
    reader, writer = streams
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = head.partition("content-length:")[2].partition("\r\n")[0]
    return int(head.split(" ", 2)[1]), await reader.readexactly(int(length))


async def statuses(port: int, request: bytes, clients: int, seconds: float) -> list[int]:
    """Let each client ask and ask again for ``seconds``; return the statuses of all answers."""
    found: list[int] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        streams = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            status, _ = await ask(streams, request)
            found.append(status)
        streams[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return found


async def measure(port: int, pid: int, seconds: float) -> dict[str, float]:
    """Return one round: milliseconds of the event loop for a refusal and for ``/healthz``."""
    small, large = (request_bytes("/predict", jpeg(side, "L")) for side in (512, _LARGE_SIDE))
    told: dict[str, float] = {}
    begin = event_loop_seconds(pid)
    healthy = await statuses(port, _HEALTH, 4, seconds)
    told["healthz_ms"] = (event_loop_seconds(pid) - begin) / len(healthy) * 1000
    busy = asyncio.create_task(statuses(port, large, 1, seconds + 1))
    await asyncio.sleep(0.5)
    begin = event_loop_seconds(pid)
    answered = await statuses(port, small, 4, seconds)
    spent = event_loop_seconds(pid) - begin
    busy.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await busy
    refused = answered.count(503)
    told |= {
        "refusal_ms": spent / max(refused, 1) * 1000,
        "refused": refused,
        "answered": len(answered) - refused,
    }
    return told


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "tumorlens", "serve", "--port", str(port), "--log-level",
               "error"]  # fmt: skip
    settings = {"TUMORLENS_MAX_WAIT_S": "0", "TUMORLENS_INFERENCE_THREADS": "1"}
    first = request_bytes("/predict", jpeg(512, "L"))
    with running(command, port, first, settings) as service:
        rounds = [asyncio.run(measure(port, service.pid, given.seconds))
                  for _ in range(given.rounds)]  # fmt: skip
    told: dict[str, object] = {"rounds": rounds}
    for name in ("refusal_ms", "healthz_ms"):
        values = [each[name] for each in rounds]
        told[name] = [round(each, 3) for each in
                      (statistics.median(values), min(values), max(values))]  # fmt: skip
    print(json.dumps(told, indent=1))
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
