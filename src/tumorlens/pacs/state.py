"""The folder of one process: its name, its lock, and where it keeps files.

Names in it are hashes and numbers. Only the owner may enter.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tumorlens.atomic import write_text
from tumorlens.errors import ConfigError, OutputError


@dataclass(frozen=True)
class StateFolder:
    """Where received series, results not stored yet, and work in progress lie.

    Attributes:
        root: the folder.
        owner: a random name that stays with the folder, for claiming jobs.
    """

    root: Path
    owner: str
    _lock: IO[bytes]

    @classmethod
    def open(cls, root: Path) -> StateFolder:
        """Make the folder if absent and lock it; work that a killed process left is removed.

        Raises:
            ConfigError: another process has it.
            OutputError: it cannot be made or written.
        """
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (root / "lock").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.close()
                raise ConfigError(
                    f"{root}: another tumorlens pacs works in this folder; give it one of its own"
                ) from error
        except OSError as error:
            raise OutputError(
                f"{root}: cannot be used ({error.strerror}); check its permissions and space"
            ) from error
        name = root / "owner"
        if not name.is_file():
            write_text(name, secrets.token_hex(8))
        state = cls(root, name.read_text("utf-8"), lock)
        shutil.rmtree(state.work, ignore_errors=True)
        for folder in (state.spool, state.outbox, state.work):
            folder.mkdir(mode=0o700, exist_ok=True)
        return state

    @property
    def spool(self) -> Path:
        """Received series."""
        return self.root / "spool"

    @property
    def outbox(self) -> Path:
        """Results that the archive has not confirmed."""
        return self.root / "outbox"

    @property
    def work(self) -> Path:
        """Work in progress, removed at the next start."""
        return self.root / "work"

    def free_bytes(self) -> int:
        """Return the free space of its file system; 0 where it cannot be told."""
        with suppress(OSError):
            return shutil.disk_usage(self.root).free
        return 0

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.close()


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk, so that it outlives a power cut."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
