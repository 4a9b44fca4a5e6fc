"""The load: clients that wait for their answer, and requests at fixed times.

Only complete 2xx answers count: the whole body must have arrived, be JSON, and hold a
probability. Everything else is counted as bad and never enters a percentile.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_BOUNDARY = "tumorlens-race"
# A client of the closed loop waits for this long; at fixed rates an answer this late is bad.
_CLOSED_SECONDS, _OPEN_SECONDS = 30.0, 5.0


@dataclass(frozen=True)
class Load:
    """One measurement. Latencies are of good answers, in milliseconds; NaN without any.

    Attributes:
        kind: ``closed`` (``level`` clients) or ``open`` (``level`` requests a second).
        good, bad: Answers that count, and requests without one.
        per_second: Good answers a second.
    """

    kind: str
    level: float
    good: int
    bad: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; percentiles of nothing are null."""
        values = asdict(self)
        return {name: None if value != value else value for name, value in values.items()}


def request_bytes(path: str, image: bytes) -> bytes:
    """Return a whole HTTP/1.1 request that uploads a JPEG as the form's ``file``."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="scan.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def counts(status: int, body: bytes) -> bool:
    """Return whether an answer counts: 2xx, and JSON with a probability in 0..1."""
    if not 200 <= status < 300:
        return False
    try:
        prob = json.loads(body)["prob"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(prob, float | int) and 0 <= prob <= 1


class Connection:
    """A kept-open connection that asks one request at a time."""

    def __init__(self, port: int, patience_s: float = _CLOSED_SECONDS) -> None:
        self._port = port
        self._patience_s = patience_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> bool:
        """Send a request and return whether its answer counts; a failure closes the connection."""
        try:
            async with asyncio.timeout(self._patience_s):
                status, body = await self._exchange(request)
        except (OSError, ValueError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            self.close()
            return False
        return counts(status, body)

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status_line, *lines = head.split("\r\n")
        fields = {
            name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        if fields.get("transfer-encoding") == "chunked":
            body = await _chunks(reader)
        else:
            body = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            self.close()
        return int(status_line.split()[1]), body

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


def ask_once(port: int, request: bytes) -> bool:
    """Ask once over a new connection; returns whether the answer counts."""

    async def once() -> bool:
        connection = Connection(port)
        try:
            return await connection.ask(request)
        finally:
            connection.close()

    return asyncio.run(once())


def closed_loop(port: int, request: bytes, clients: int, seconds: float) -> Load:
    """Let each client ask, wait for the answer and ask again, for ``seconds``."""
    return asyncio.run(_closed(port, request, clients, seconds))


async def _closed(port: int, request: bytes, clients: int, seconds: float) -> Load:
    good: list[float] = []
    bad = 0
    begin = time.perf_counter()

    async def client() -> None:
        nonlocal bad
        connection = Connection(port)
        while (start := time.perf_counter()) < begin + seconds:
            if await connection.ask(request):
                good.append(time.perf_counter() - start)
            else:
                bad += 1
                await asyncio.sleep(0.01)  # a server that refuses is not to be flooded
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return _summary("closed", clients, good, bad, time.perf_counter() - begin)


def open_loop(port: int, request: bytes, rate: float, seconds: float) -> Load:
    """Send requests at fixed times, answered or not.

    A latency counts from the time at which the request was due, so a server that falls behind
    cannot slow the load down and look good (coordinated omission). An answer counts when it comes
    within 5 seconds of its sending.
    """
    return asyncio.run(_open(port, request, rate, seconds))


async def _open(port: int, request: bytes, rate: float, seconds: float) -> Load:
    good: list[float] = []
    bad = 0
    idle: list[Connection] = []
    begin = time.perf_counter()

    async def one(due: float) -> None:
        nonlocal bad
        connection = idle.pop() if idle else Connection(port, _OPEN_SECONDS)
        if await connection.ask(request):
            good.append(time.perf_counter() - due)
        else:
            bad += 1
        idle.append(connection)

    tasks = []
    for number in range(max(1, round(rate * seconds))):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return _summary("open", rate, good, bad, time.perf_counter() - begin)


def _summary(kind: str, level: float, good: Sequence[float], bad: int, elapsed: float) -> Load:
    quantiles = np.percentile(good, (50, 95, 99)) * 1000 if good else np.full(3, np.nan)
    p50, p95, p99 = (round(float(each), 2) for each in quantiles)
    return Load(kind, level, len(good), bad, round(len(good) / elapsed, 2), p50, p95, p99)
