"""What TumorLens asks of an archive, and what it looks for in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tumorlens.pacs.outbox import Result
from tumorlens.pacs.queue import Found, Job

MR_CLASSES = frozenset({
    "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
})  # fmt: skip
OUR_MANUFACTURER = "TumorLens"


@dataclass(frozen=True)
class News:
    """Series that became complete since the last question, and where to go on."""

    found: tuple[Found, ...]
    cursor: str
    more: bool = False


class Archive(Protocol):
    """An archive. Every method raises `ArchiveError` when it refuses or cannot be reached."""

    def start(self, *, backlog: bool) -> tuple[str, tuple[Found, ...]]:
        """Return the first cursor: of the oldest series, or of what comes from now on.

        And those series that would be found from there, but are not asked for.
        """

    def news(self, cursor: str) -> News:
        """Return MR series that are complete and newer than the cursor; few at a time."""

    def fetch(self, job: Job, folder: Path, max_files: int) -> int:
        """Write the images of a series into a folder, numbered.

        Return how many; 0 when it holds no MR, or results of ours. Raises also `InputError` when
        the series is gone or has too many objects.
        """

    def missing(self, results: Iterable[Result]) -> list[Result]:
        """Return those results that the archive does not have."""

    def store(self, result: Result) -> None:
        """Store one result."""
