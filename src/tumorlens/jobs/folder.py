"""The folder of a job: results and errors in shards, and the manifest that says what is done.

::

    OUT/
      job.json                  the settings that answers depend on
      manifest.jsonl            a line for each finished shard
      results/part-00000000.csv answers, a file a shard
      errors/part-00000002.csv  inputs that could not be read, where a shard has any

A shard is finished when its line is in the manifest. Its files are written first, whole or not at
all, so a job that was killed does the shards without a line again and replaces their files.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tumorlens.atomic import atomic_file, write_text
from tumorlens.errors import ConfigError, OutputError
from tumorlens.jobs.settings import Settings, ShardResult

_JOB, _MANIFEST, _LOCK = "job.json", "manifest.jsonl", ".lock"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Line:
    """A finished shard as the manifest has it; the fields are those of `ShardResult`."""

    shard: int
    key: str
    inputs: int
    answered: int
    failed: int
    result_bytes: int
    error_bytes: int
    seconds: float


class JobFolder:
    """The open folder of a job; made by `open_folder`."""

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self.path = path
        self.settings = self._read_settings()
        self.output = str(self.settings.get("output", "")) if self.settings else ""
        self.finished: dict[int, Line] = dict(self._read_manifest())

    def start(self, settings: Settings) -> None:
        """Write the settings, and forget the lines of shards that a larger job left."""
        for name in ("results", "errors"):
            (self.path / name).mkdir(exist_ok=True)
        self.output = settings.output
        text = json.dumps({"format": _FORMAT, **asdict(settings)}, indent=1) + "\n"
        write_text(self.path / _JOB, text)

    def is_whole(self, index: int) -> bool:
        """Whether the files of a finished shard are still there, in the size they had."""
        line = self.finished[index]
        sizes = (("results", line.result_bytes), ("errors", line.error_bytes))
        return all(_size(self._file(kind, index)) == size for kind, size in sizes)

    def save(self, result: ShardResult) -> None:
        """Write a shard's files, then its line."""
        for kind, content in (("results", result.results), ("errors", result.errors)):
            path = self._file(kind, result.index)
            if content:
                with atomic_file(path) as file:
                    file.write(content)
            else:
                path.unlink(missing_ok=True)
        line = Line(
            result.index, result.key, result.inputs, result.answered, result.failed,
            len(result.results), len(result.errors), round(result.seconds, 3),
        )  # fmt: skip
        self._append(json.dumps(asdict(line)))
        self.finished[result.index] = line

    def drop_after(self, shards: int) -> None:
        """Remove what an earlier, larger job left behind the last shard."""
        stale = [index for index in self.finished if index >= shards]
        if not stale:
            return
        for index in stale:
            del self.finished[index]
        lines = (json.dumps(asdict(self.finished[each])) for each in sorted(self.finished))
        write_text(self.path / _MANIFEST, "".join(f"{line}\n" for line in lines))
        for index in stale:
            for kind in ("results", "errors"):
                self._file(kind, index).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the files and lines of all shards."""
        self.drop_after(0)

    def _file(self, kind: str, index: int) -> Path:
        return self.path / kind / f"part-{index:08}.{self.output}"

    def _read_settings(self) -> dict[str, Any] | None:
        path = self.path / _JOB
        try:
            values = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read; give another --out") from error
        if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
            raise ConfigError(f"{path}: not that of a job of this version; give another --out")
        return values

    def _read_manifest(self) -> Iterator[tuple[int, Line]]:
        path = self.path / _MANIFEST
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, torn = text.rpartition(b"\n")
        if torn:  # the line that was being written at the kill
            with atomic_file(path) as file:
                file.write(whole + b"\n" if whole else b"")
        for line in whole.splitlines():
            try:
                values = Line(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ConfigError(f"{path}: a damaged line; give another --out") from error
            yield values.shard, values

    def _append(self, line: str) -> None:
        path = self.path / _MANIFEST
        try:
            with path.open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


@contextmanager
def open_folder(path: Path) -> Iterator[JobFolder]:
    """Open or make the folder of a job, for this process alone.

    Raises:
        OutputError: it cannot be made or written.
        ConfigError: another process works in it, or it holds something else.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        others = any(each.name not in (_LOCK, _JOB) for each in path.iterdir())
        lock = (path / _LOCK).open("w")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); give another --out"
                          ) from error  # fmt: skip
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{path}: another run works on this job; wait for it") from error
        if others and not (path / _JOB).exists():
            raise ConfigError(f"{path}: not empty, and not the folder of a job; give another --out")
        yield JobFolder(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
