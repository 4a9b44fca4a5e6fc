"""Clients that send one request after another over open connections, each answer timed."""

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
    """Answers of one measurement; times in milliseconds, throughput in answers a second."""

    name: str
    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float


def summarise(name: str, seconds: list[float], elapsed: float) -> Timing:
    """Summarise the duration of each answer, and of all of them together (``elapsed``)."""
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
    """Time ``work`` up to ``times`` times, for at most about ``seconds``; at least once."""
    taken: list[float] = []
    begin = time.perf_counter()
    while not taken or (len(taken) < times and time.perf_counter() - begin < seconds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return summarise(name, taken, time.perf_counter() - begin)


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

    Every client waits for its answer before its next request (closed loop). Raises
    `ConfigError` when an answer is not 200: refusals are quick, and would make the service look
    faster than it is.
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
    if shared.failure is not None or not shared.taken:
        raise ConfigError(f"POST {path} with {clients} clients: {shared.failure or 'no answer'}")
    return summarise(_name(path, clients), shared.taken, elapsed)


def _name(path: str, clients: int) -> str:
    return f"POST {path}, {clients} client{'s' if clients > 1 else ''}"


class _Shared:
    """What the clients share: the requests left, and the times measured."""

    def __init__(self, requests: int, deadline: float) -> None:
        self.taken: list[float] = []
        self.failure: str | None = None
        self._left = requests
        self._deadline = deadline
        self._lock = threading.Lock()

    def next(self) -> bool:
        with self._lock:
            go_on = self._left > 0 and self.failure is None
            self._left -= 1
        return go_on and time.perf_counter() < self._deadline


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
            taken = time.perf_counter() - start
            if reply.status != 200:
                shared.failure = f"{reply.status} {content[:200].decode('utf-8', 'replace')}"
                return
            shared.taken.append(taken)
    except (OSError, http.client.HTTPException) as error:
        shared.failure = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
