"""The entrants' servers: start, first answer, memory, share of the machine, stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.race.client import ask_once

_START_SECONDS = 120.0
_POLL_SECONDS = 0.01
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerFailedError(RuntimeError):
    """A server ended, or gave no answer that counts, before its time was over."""


@dataclass(frozen=True)
class Running:
    """A server that has given its first answer.

    Attributes:
        port: On loopback.
        pid: Its first process, which leads a process group of its own.
        cold_start_s: Seconds from the start of the process to its first complete answer.
    """

    port: int
    pid: int
    cold_start_s: float

    def resident_mib(self) -> float:
        """Return its memory in MiB, of all its processes; shared pages count once (PSS)."""
        return sum(_proportional_kib(pid) for pid in process_tree(self.pid)) / 1024

    def cpu_seconds(self) -> float:
        """Return the processor time of its living processes and of those they waited for."""
        return sum(_cpu_seconds(pid) for pid in process_tree(self.pid))


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, request: bytes, environment: Mapping[str, str]
) -> Iterator[Running]:
    """Start a server, wait for its first answer to ``request``, and stop it at the end.

    Raises `ServerFailedError` with the end of its output when there is none.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,  # some write files where they run
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            while not (_listens(port) and ask_once(port, request)):
                if process.poll() is not None or time.perf_counter() - begin > _START_SECONDS:
                    log.seek(0)
                    told = log.read().decode("utf-8", "replace")[-2000:]
                    raise ServerFailedError(f"{' '.join(command)}: no answer\n{told}")
                time.sleep(_POLL_SECONDS)
            yield Running(port, process.pid, time.perf_counter() - begin)
        finally:
            _stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server's process group: politely, then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            if number == signal.SIGTERM and _group_lives(process.pid):
                time.sleep(1)  # workers may take a moment longer than their parent
                continue
            if not _group_lives(process.pid):
                return


def _group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def process_tree(pid: int) -> list[int]:
    """Return a process and all that descend from it, as far as they live."""
    found, waiting = [], [pid]
    while waiting:
        at = waiting.pop()
        found.append(at)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{at}/task").iterdir():
                children = (task / "children").read_text("ascii").split()
                waiting += [int(each) for each in children]
    return found


def _proportional_kib(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    return 0.0


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS
    return 0.0


def machine_cpu_seconds() -> float:
    """Return the processor time that the whole machine has spent on anything but idling."""
    fields = Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / _TICKS
