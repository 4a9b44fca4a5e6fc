"""An archive in memory and an analysis without a model, both of which can fail when told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset

from tests.imaging.dicoms import encode
from tumorlens.errors import ArchiveError
from tumorlens.pacs.analysis import Outcome
from tumorlens.pacs.archives.archive import News
from tumorlens.pacs.metrics import PacsMetrics
from tumorlens.pacs.outbox import Outbox, Result
from tumorlens.pacs.queue import Found, Job, Queue
from tumorlens.pacs.retry import Backoff
from tumorlens.pacs.settings import PacsSettings, load_pacs_settings
from tumorlens.pacs.spool import Spool
from tumorlens.pacs.state import StateFolder
from tumorlens.pacs.worker import Workplace

MODEL = "m" * 64
STUDY, SERIES = "1.2.826.7.1", "1.2.826.7.1.1"


class KilledError(BaseException):
    """The process ended here; nothing of ours may catch it."""


class FakeArchive:
    """Holds what was stored; ``before`` is called with the name of each question."""

    def __init__(self) -> None:
        self.series: list[Found] = []
        self.stored: dict[str, int] = {}
        self.before: Callable[[str], None] = lambda _: None
        self.forgetful = False

    def start(self, *, backlog: bool) -> tuple[str, tuple[Found, ...]]:
        self.before("start")
        return "0" if backlog else str(len(self.series)), ()

    def news(self, cursor: str) -> News:
        self.before("news")
        return News(tuple(self.series[int(cursor) :]), str(len(self.series)))

    def fetch(self, job: Job, folder: Path, max_files: int) -> int:
        self.before("fetch")
        (folder / "0.dcm").write_bytes(b"an image")
        return 1

    def missing(self, results: Iterable[Result]) -> list[Result]:
        self.before("missing")
        return [each for each in results if each.object_uid not in self.stored]

    def store(self, result: Result) -> None:
        self.before("store")
        if not self.forgetful:
            self.stored[result.object_uid] = self.stored.get(result.object_uid, 0) + 1


class FakeAnalysis:
    """Writes two results a series; their UIDs differ each time, as nothing promises they do not."""

    def __init__(self) -> None:
        self.calls = 0
        self.outcome = Outcome.answered
        self.error: BaseException | None = None

    def __call__(self, images: Path, out: Path) -> Outcome:
        self.calls += 1
        for k in range(2 if self.outcome is Outcome.answered else 0):
            made = Dataset()
            made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
            made.StudyInstanceUID, made.SeriesInstanceUID = STUDY, f"2.25.{self.calls}"
            made.SOPInstanceUID = f"2.25.{self.calls}.{k}"
            (out / f"{k}.dcm").write_bytes(encode(made))
            if self.error is not None:
                raise self.error
        return self.outcome


def settings_of(folder: Path, **more: object) -> PacsSettings:
    quick = {"retry_seconds": 0.001, "retry_max_seconds": 0.001, "settle_seconds": 0.0,
             "min_free_bytes": 0}  # fmt: skip
    return load_pacs_settings({"folder": folder, **quick, **more}, env_file=None)


@contextmanager
def workplace(
    folder: Path, archive: FakeArchive, analysis: FakeAnalysis, *, listen: bool = False,
    **more: object,
) -> Iterator[Workplace]:  # fmt: skip
    """Open a folder as a process does when it starts."""
    settings = settings_of(folder, **more)
    state = StateFolder.open(folder)
    queue = Queue(settings.queue_url, Backoff(0.001, 0.001))
    place = Workplace(
        settings, state, queue, Outbox(state.outbox), lambda: archive, analysis, PacsMetrics(),
        MODEL, Spool(state.spool) if listen else None,
    )  # fmt: skip
    try:
        queue.release(state.owner)
        yield place
    finally:
        queue.close()
        state.close()


def away(_: str) -> None:
    raise ArchiveError("the archive cannot be reached (test)")
