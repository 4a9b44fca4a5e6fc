"""Start, time and stop a service for the benchmark."""

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
_POLL_INTERVAL = 0.005  # seconds, the resolution of the start time
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        host, port: Its address.
        pid: Its main process.
        cold_start_s: Seconds from the start of the process to the first 200 of ``/readyz``.
    """

    host: str
    port: int
    pid: int
    cold_start_s: float

    def resident_bytes(self) -> int | None:
        """Return the resident memory of the service and its workers, None if not on Linux.

        Memory shared by workers counts once for each.
        """
        sizes = [_resident(pid) for pid in (self.pid, *_children(self.pid))]
        available = [size for size in sizes if size is not None]
        return sum(available) if available else None


@contextmanager
def running(model: Path | None, *, workers: int = 1, timeout_s: float = 60.0) -> Iterator[Service]:
    """Start ``tumorlens serve`` on a free loopback port; stop it at the end.

    Raises `ConfigError` with the service's log when it does not start in time.
    """
    command = [sys.executable, "-c", _MAIN, "serve", "--host", "127.0.0.1", "--port", "0"]
    # A generous budget: throughput is measured, not load shedding.
    command += ["--workers", str(workers), "--log-level", "error", "--max-wait-s", "60"]
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
        address = _ADDRESS.search(log.read())
        if address and _is_ready(address[1].decode(), int(address[2])):
            return address[1].decode(), int(address[2])
        time.sleep(_POLL_INTERVAL)
    log.seek(0)
    output = log.read().decode("utf-8", "replace").strip() or "no output"
    raise ConfigError(f"the service did not start: {output}")


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
