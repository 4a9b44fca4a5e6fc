"""A PostgreSQL of its own on loopback, which can be stopped and started."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.pacs.orthanc import free_port


@dataclass
class PostgresServer:
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        self.folder.mkdir(parents=True)
        if os.getuid() == 0:  # which PostgreSQL refuses to be
            shutil.chown(self.folder, "postgres")
            for parent in self.folder.parents[:2]:
                parent.chmod(0o755)
        self._run("initdb", "-D", str(self.folder / "db"), "-A", "trust", "-U", "postgres")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self._run("pg_ctl", "-D", str(self.folder / "db"), "-o", options,
                  "-l", str(self.folder / "log"), "-w", "start")  # fmt: skip

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "db"), "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
        binary = shutil.which(program) or str(found[-1])
        as_user = ["setpriv", "--reuid", "postgres", "--clear-groups"] if os.getuid() == 0 else []
        subprocess.run([*as_user, binary, *arguments], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, cwd="/")  # fmt: skip


@contextmanager
def postgresql(folder: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(folder)
    server.make()
    server.start()
    try:
        yield server
    finally:
        server.stop()
