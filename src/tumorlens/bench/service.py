"""A service of its own to measure: started, timed, watched and stopped."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tumorlens.errors import ConfigError

_MAIN = "from tumorlens.cli import main; main()"
_ADDRESS = re.compile(rb"http://([0-9.]+):(\d+)")
_LOOK_EVERY = 0.005  # seconds: how finely the start is timed
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Service:
    """A service that answers, and what its start cost.

    Attributes:
        host, port: Where it listens.
        pid: Its first process.
        cold_start_s: Seconds from starting the process to the first 200 of ``/readyz``.
    """

    host: str
    port: int
    pid: int
    cold_start_s: float

    def resident_bytes(self) -> int | None:
        """Return the resident memory of the service and its workers, or None off Linux.

        Pages that workers share count once for each of them.
        """
        found = [_resident(pid) for pid in (self.pid, *_children(self.pid))]
        known = [size for size in found if size is not None]
        return sum(known) if known else None


@contextmanager
def running(model: Path | None, *, workers: int = 1, timeout_s: float = 60.0) -> Iterator[Service]:
    """Start ``tumorlens serve`` on a free loopback port; stop it at the end.

    Raises `ConfigError` with the service's own words when it does not come up in time.
    """
    command = [sys.executable, "-c", _MAIN, "serve", "--host", "127.0.0.1", "--port", "0"]
    # All clients may wait: throughput is measured here, not shedding.
    command += ["--workers", str(workers), "--log-level", "error", "--queue-size", "64"]
    command += ["--model", str(model)] if model else []
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            host, port = _wait_until_ready(process, log, start + timeout_s)
            yield Service(host, port, process.pid, time.perf_counter() - start)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(
    process: subprocess.Popen[bytes], log: IO[bytes], deadline: float
) -> tuple[str, int]:
    while process.poll() is None and time.perf_counter() < deadline:
        log.seek(0)
        told = _ADDRESS.search(log.read())
        if told and _is_ready(told[1].decode(), int(told[2])):
            return told[1].decode(), int(told[2])
        time.sleep(_LOOK_EVERY)
    log.seek(0)
    words = log.read().decode("utf-8", "replace").strip() or "it said nothing"
    raise ConfigError(f"the service to measure did not come up: {words}")


def _is_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _resident(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:  # not Linux, or the process is gone
        return None
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else None


def _children(pid: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except OSError:
        return []
    return [int(child) for child in listed.split()]
