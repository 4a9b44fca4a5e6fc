"""``tumorlens pacs`` as a process of its own that can be killed, its log in a file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tumorlens.pacs.queue import Job, Queue

_SECONDS = 120.0
T = TypeVar("T")
QUICK = ("--settle-seconds", "0.5", "--poll-seconds", "0.2", "--retry-seconds", "0.2",
         "--retry-max-seconds", "1", "--min-free-bytes", "0")  # fmt: skip


def wait_for(found: Callable[[], T | None], what: str, seconds: float = _SECONDS) -> T:
    """Ask until there is an answer; only the failure depends on the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"no {what} after {seconds:.0f} seconds")


@dataclass
class PacsProcess:
    """One ``tumorlens pacs watch`` or ``listen`` on a state folder; started again after a kill."""

    verb: str
    url: str
    folder: Path
    model: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    state_folder: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        return self.state_folder or self.folder / "state"

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text("utf-8") if path.is_file() else ""

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        begun = len(self.log)
        only = QUICK[:2] + QUICK[4:8] + (QUICK[2:4] if self.verb == "watch" else QUICK[8:])
        command = [sys.executable, "-m", "tumorlens", "pacs", self.verb, self.url, *only]
        command += ["--folder", str(self.state), "--model", str(self.model), *self.options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stderr=log, stdout=log, env={**os.environ, **self.environment}
            )
        wait_for(lambda: "TumorLens " in self.log[begun:] or self._ended(), "start")

    def _ended(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return False

    @property
    def port(self) -> int:
        """The port of the latest start of ``listen``."""
        return int(re.findall(r"receives on [\d.]+:(\d+)", self.log)[-1])

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(_SECONDS)
        self.process = None
        return code

    def jobs(self) -> list[Job]:
        queue = Queue(f"sqlite:///{self.state / 'queue.sqlite'}")
        try:
            return queue.list(limit=100_000)
        finally:
            queue.close()

    def wait_for_first_question(self) -> None:
        """Wait until a watcher knows what was there before it."""

        def asked() -> bool:
            if not (self.state / "queue.sqlite").is_file():
                return False
            queue = Queue(f"sqlite:///{self.state / 'queue.sqlite'}")
            try:
                return queue.cursor("watch") is not None
            finally:
                queue.close()

        wait_for(asked, "first question")

    def wait_until_done(self, count: int, seconds: float = _SECONDS) -> list[Job]:
        """Wait for so many jobs, all of them done or dead."""

        def finished() -> list[Job]:
            jobs = self.jobs()
            whole = len(jobs) >= count and all(job.state != "waiting" for job in jobs)
            return jobs if whole else []

        try:
            return wait_for(finished, f"{count} jobs ended", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from None

    def close(self) -> None:
        if self.process is not None:
            self.kill()
