"""Load generation: clients that send requests one after another over keep-alive connections."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tumorlens.errors import ConfigError

_BOUNDARY = "tumorlens-bench"


@dataclass(frozen=True)
class Timing:
    """One measurement: latencies in milliseconds, throughput in responses per second."""

    name: str
    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float


def summarise(name: str, seconds: list[float], elapsed: float) -> Timing:
    """Summarise latencies in seconds over ``elapsed`` seconds in total."""
    p50, p95, p99 = (float(q) * 1000 for q in np.percentile(seconds, [50, 95, 99]))
    return Timing(name, len(seconds), p50, p95, p99, len(seconds) / elapsed)


def form(data: bytes, name: str) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a multipart upload of one ``file``."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    )
    body = head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def repeat(name: str, work: Callable[[], object], *, times: int, seconds: float) -> Timing:
    """Time ``work`` up to ``times`` times within about ``seconds``, at least once."""
    durations: list[float] = []
    begin = time.perf_counter()
    while not durations or (len(durations) < times and time.perf_counter() - begin < seconds):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return summarise(name, durations, time.perf_counter() - begin)


def ask(
    address: tuple[str, int],
    path: str,
    upload: tuple[bytes, dict[str, str]],
    *,
    clients: int,
    requests: int,
    seconds: float,
) -> Timing:
    """Post ``upload`` from ``clients`` threads, ``requests`` in all, for at most ``seconds``.

    Every client waits for the response before its next request (closed loop). Raises
    `ConfigError` for a status other than 200: fast refusals would bias the latency.
    """
    shared = _Shared(requests, time.perf_counter() + seconds)
    threads = [
        threading.Thread(target=_client, args=(address, path, upload, shared), daemon=True)
        for _ in range(clients)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - begin
    name = f"POST {path}, {clients} client{'s' if clients > 1 else ''}"
    if shared.failure is not None or not shared.latencies:
        raise ConfigError(f"{name}: {shared.failure or 'no response'}")
    return summarise(name, shared.latencies, elapsed)


class _Shared:
    """State shared by the clients: remaining requests and measured latencies."""

    def __init__(self, requests: int, deadline: float) -> None:
        self.latencies: list[float] = []
        self.failure: str | None = None
        self._remaining = requests
        self._deadline = deadline
        self._lock = threading.Lock()

    def next(self) -> bool:
        with self._lock:
            proceed = self._remaining > 0 and self.failure is None
            self._remaining -= 1
        return proceed and time.perf_counter() < self._deadline


def _client(
    address: tuple[str, int], path: str, upload: tuple[bytes, dict[str, str]], shared: _Shared
) -> None:
    connection = http.client.HTTPConnection(*address, timeout=60)
    body, headers = upload
    try:
        while shared.next():
            start = time.perf_counter()
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            content = reply.read()
            latency = time.perf_counter() - start
            if reply.status != 200:
                shared.failure = f"{reply.status} {content[:200].decode('utf-8', 'replace')}"
                return
            shared.latencies.append(latency)
    except (OSError, http.client.HTTPException) as error:
        shared.failure = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
