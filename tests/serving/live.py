"""A real ``tumorlens serve`` on loopback, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

COMMAND = [sys.executable, "-c", "from tumorlens.cli import main; main()", "serve"]
START_SECONDS = 60


class LiveServer:
    """Starts on entering, stops on leaving; ``url`` is where it answers."""

    def __init__(
        self, model: Path, *, environment: Mapping[str, str] | None = None, **settings: Any
    ) -> None:
        flags = {"port": 0, "log_format": "json", "log_level": "debug", "model": model, **settings}
        self._arguments: list[str] = []
        for name, value in flags.items():
            flag = f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                self._arguments.append(flag if value else f"--no-{flag[2:]}")
            else:
                self._arguments += [flag, str(value)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("TUMORLENS_")}
        self._environment = {**clean, "OMP_NUM_THREADS": "1", **(environment or {})}
        self._folder = tempfile.TemporaryDirectory(prefix="live-server-")
        self.folder = Path(self._folder.name)
        self.log_path = self.folder / "stderr.log"
        self.url = ""
        self._kept_log: str | None = None

    def __enter__(self) -> Self:
        self._log: IO[bytes] = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [*COMMAND, *self._arguments],
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd=self.folder,
        )
        self._announced = threading.Event()
        self._reader = threading.Thread(target=self._copy_log)
        self._reader.start()
        if not self._announced.wait(START_SECONDS) or not self.url:
            self.__exit__(None, None, None)
            raise RuntimeError(f"the server did not start:\n{self.log_text()}")
        return self

    def _copy_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._log.write(line)
            self._log.flush()
            found = re.search(rb"answers on (\S+)", line)
            if found and not self.url:
                self.url = found[1].decode()
                self._announced.set()
        self._announced.set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self._log.close()
        self._kept_log = self.log_text()
        self._folder.cleanup()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def log_text(self) -> str:
        """Return what the server wrote; kept after the server and its folder are gone."""
        if self._kept_log is not None:
            return self._kept_log
        return self.log_path.read_text("utf-8", "replace")

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the JSON lines of the log, or those of one event."""
        lines = [json.loads(line) for line in self.log_text().splitlines() if line[:1] == "{"]
        return [line for line in lines if event is None or line["event"] == event]

    def pids(self) -> list[int]:
        """Return the server's process and its workers, which are its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *(int(pid) for pid in children.split())]

    def rss_mib(self, field: str = "VmRSS") -> float:
        """Return the resident memory (or, with VmHWM, its peak) of the largest process."""
        sizes = []
        for pid in self.pids():
            status = Path(f"/proc/{pid}/status").read_text("utf-8")
            found = re.search(rf"{field}:\s+(\d+) kB", status)
            sizes.append(int(found[1]) / 1024 if found else 0.0)
        return max(sizes)
