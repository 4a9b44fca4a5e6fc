"""What is settled, registered, late, swept: the way from received files to jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imaging.dicoms import encode
from tests.pacs.fakes import MODEL, FakeAnalysis, FakeArchive, workplace
from tests.pacs.test_receiver import SERIES, image
from tumorlens.errors import QueueError
from tumorlens.pacs.intake import Intake
from tumorlens.pacs.queue import Queue, key_of
from tumorlens.pacs.spool import Spool
from tumorlens.pacs.worker import Worker, Workplace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    with workplace(tmp_path, FakeArchive(), FakeAnalysis(), listen=True) as made:
        yield made


def spool_of(place: Workplace) -> Spool:
    assert place.spool is not None
    return place.spool


def receive(place: Workplace, *numbers: int) -> None:
    for number in numbers:
        made = image(number)
        spool_of(place).add(SERIES, made.SOPInstanceUID, encode(made))


def take_in(place: Workplace) -> None:
    intake = Intake(place, spool_of(place), threading.Event())
    intake._swept = float("inf")  # the sweep is asked for by itself
    intake.step()


def test_a_received_series_is_answered_and_a_repetition_is_not(place: Workplace) -> None:
    receive(place, 1, 2)
    take_in(place)
    worker = Worker(place, threading.Event())
    assert worker.step()
    receive(place, 1, 2)
    take_in(place)
    assert not worker.step()
    (job,) = place.queue.list()
    assert (job.state, job.images, job.late, job.origin) == ("done", 2, 0, "listen")
    assert place.archive().stored  # type: ignore[attr-defined]


def test_late_images_are_kept_counted_and_change_no_answer(place: Workplace) -> None:
    receive(place, 1)
    take_in(place)
    worker = Worker(place, threading.Event())
    worker.step()
    receive(place, 2)
    take_in(place)
    assert not worker.step()
    (job,) = place.queue.list()
    assert (job.late, job.images) == (1, 2)
    assert len(spool_of(place).files(key_of(SERIES))) == 2
    assert place.metrics.registry.get_sample_value("tumorlens_pacs_late_objects_total") == 1


def test_a_queue_that_is_away_loses_nothing(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise QueueError("the queue cannot be used now (test)")

    receive(place, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "put_received", away)
        take_in(place)
    assert place.queue.list() == []
    take_in(place)
    assert len(place.queue.list()) == 1


def test_answered_series_are_swept_after_their_hours_and_others_are_not(tmp_path: Path) -> None:
    archive = FakeArchive()
    with workplace(tmp_path, archive, FakeAnalysis(), listen=True, keep_hours=0.0) as place:
        receive(place, 1)
        intake = Intake(place, spool_of(place), threading.Event())
        intake.step()
        intake.sweep()
        assert spool_of(place).series() == [key_of(SERIES)]
        Worker(place, threading.Event()).step()
        intake.sweep()
        assert spool_of(place).series() == []
        receive(place, 1)
        take_in(place)
        assert [job.late for job in place.queue.list()] == [0]
        receive(place, 2)
        take_in(place)
        assert [job.late for job in place.queue.list()] == [1]


def test_a_forgotten_series_is_new_again(place: Workplace) -> None:
    receive(place, 1)
    take_in(place)
    Worker(place, threading.Event()).step()
    (job,) = place.queue.list()
    place.queue.forget([job.id])
    receive(place, 1, 2)
    take_in(place)
    assert Worker(place, threading.Event()).step()
    assert place.queue.find(key_of(SERIES), MODEL) is not None
