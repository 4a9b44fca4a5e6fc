"""What was put in comes out once, in spite of other processes, failures and time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pacs.fakes import MODEL, SERIES, STUDY
from tumorlens.errors import ConfigError, MissingExtraError, QueueError
from tumorlens.pacs.queue import Found, Job, Queue, key_of
from tumorlens.pacs.retry import Backoff

FOUND = Found(SERIES, STUDY, "place", 20)
LEASE = 60.0


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(f"sqlite:///{tmp_path / 'queue.sqlite'}", Backoff(0.0001, 0.0001))
    yield made
    made.close()


def claimed(queue: Queue, owner: str = "me", lease: float = LEASE) -> Job:
    until = time.monotonic() + 5
    while (job := queue.claim(owner, lease)) is None:
        assert time.monotonic() < until
    return job


def test_a_series_is_there_once_for_each_model(queue: Queue) -> None:
    assert queue.put([FOUND, FOUND], MODEL, "watch") == 1
    assert queue.put([FOUND], MODEL, "watch") == 0
    assert queue.put([FOUND], "n" * 64, "watch") == 1
    assert queue.counts() == {"waiting": 2, "done": 0, "dead": 0}


def test_a_job_is_claimed_by_one_and_carries_what_was_found(queue: Queue) -> None:
    queue.put([FOUND], MODEL, "watch")
    job = claimed(queue)
    assert (job.series_uid, job.study_uid, job.place, job.images) == (SERIES, STUDY, "place", 20)
    assert (job.series, job.attempts, job.owner) == (key_of(SERIES), 1, "me")
    assert queue.claim("you", LEASE) is None
    assert queue.renew(job, "me", LEASE)
    assert not queue.renew(job, "you", LEASE)


def test_a_lease_that_ran_out_is_taken_over_and_the_first_may_not_change_it(queue: Queue) -> None:
    queue.put([FOUND], MODEL, "watch")
    first = claimed(queue, lease=-1.0)
    second = claimed(queue, "you")
    assert second.attempts == 2
    queue.fail(first, "late", max_attempts=0)
    assert queue.list()[0].state == "waiting"
    queue.finish(second, "answered")
    queue.postpone(first, "later")
    assert queue.list()[0].state == "done"


def test_what_a_killed_process_had_is_freed_by_its_name(queue: Queue) -> None:
    queue.put([FOUND], MODEL, "watch")
    claimed(queue)
    assert queue.release("you") == 0
    assert queue.release("me") == 1
    assert claimed(queue, "you").attempts == 2


def test_failures_wait_and_end_on_the_dead_letter_list_until_retried(queue: Queue) -> None:
    queue.put([FOUND], MODEL, "watch")
    assert not queue.fail(claimed(queue), "one", max_attempts=2)
    assert queue.fail(claimed(queue), "two", max_attempts=2)
    (dead,) = queue.list("dead")
    assert (dead.reason, dead.attempts) == ("two", 2)
    assert queue.claim("me", LEASE) is None
    assert queue.retry([dead.id]) == 1
    assert claimed(queue).attempts == 1


def test_postponing_does_not_count(queue: Queue) -> None:
    queue.put([FOUND], MODEL, "watch")
    for _ in range(20):
        queue.postpone(claimed(queue), "the archive is away")
    assert claimed(queue).attempts == 1


def test_what_is_done_is_not_retried_but_can_be_forgotten(queue: Queue) -> None:
    queue.put([FOUND], MODEL, "watch")
    job = claimed(queue)
    assert queue.forget([job.id]) == []
    queue.finish(job, "answered")
    assert queue.retry([job.id]) == 0
    assert [each.id for each in queue.forget([job.id])] == [job.id]
    assert queue.put([FOUND], MODEL, "watch") == 1


def test_series_of_our_own_results_are_never_taken(queue: Queue) -> None:
    queue.put([FOUND], MODEL, "watch")
    queue.finish(claimed(queue), "answered", ["1.2.3"])
    assert queue.is_own("1.2.3")
    assert queue.put([Found("1.2.3", STUDY)], MODEL, "watch") == 0


def test_a_cursor_moves_with_what_was_found(queue: Queue) -> None:
    assert queue.cursor("watch") is None
    queue.put([FOUND], MODEL, "watch", cursor=("watch", "7"))
    queue.put([], MODEL, "watch", cursor=("watch", "8"))
    assert queue.cursor("watch") == "8"


def test_earlier_series_are_known_and_not_answered(queue: Queue) -> None:
    assert queue.put([FOUND], MODEL, "watch", answered=True) == 1
    assert queue.claim("me", LEASE) is None
    assert queue.list()[0].outcome == "earlier"


def test_growth_after_the_answer_is_counted(queue: Queue) -> None:
    queue.put([FOUND], MODEL, "watch")
    queue.put([Found(SERIES, STUDY, "place", 21)], MODEL, "watch")
    assert queue.list()[0].late == 0
    queue.finish(claimed(queue), "answered")
    queue.put([Found(SERIES, STUDY, "place", 22)], MODEL, "watch")
    queue.put([Found(SERIES, STUDY, "place", 22)], MODEL, "watch")
    assert queue.list()[0].late == 2


def test_received_objects_are_new_again_or_late(queue: Queue) -> None:
    found = Found(SERIES, STUDY)
    assert queue.put_received(found, MODEL, ["a", "b"]) == (True, frozenset())
    assert queue.put_received(found, MODEL, ["b", "c"]) == (False, frozenset())
    assert queue.list()[0].images == 3
    queue.finish(claimed(queue), "answered")
    assert queue.put_received(found, MODEL, ["a", "c"]) == (False, frozenset())
    assert queue.put_received(found, MODEL, ["c", "d"]) == (False, frozenset({"d"}))
    assert (queue.list()[0].late, queue.list()[0].state) == (1, "done")


def test_a_queue_that_is_away_says_so_without_what_was_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no data base" * 100)
    queue = Queue(f"sqlite:///{tmp_path / 'file'}")
    with pytest.raises(QueueError, match="cannot be used now") as caught:
        queue.put([FOUND], MODEL, "watch")
    assert SERIES not in str(caught.value)
    assert caught.value.__cause__ is None
    queue.close()


@pytest.mark.parametrize(
    ("url", "error"),
    [("nonsense", ConfigError), ("nosuch://host/name", ConfigError),
     ("postgresql+pg8000://host/name", MissingExtraError)],
)  # fmt: skip
def test_a_url_that_cannot_be_meant_is_refused(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Queue(url)


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(1.0, 10.0)
    waits = [backoff.wait(failures) for failures in (1, 2, 3, 4, 5, 500)]
    for wait, whole in zip(waits, (1, 2, 4, 8, 10, 10), strict=True):
        assert 0.75 * whole <= wait <= whole
