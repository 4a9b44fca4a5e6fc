"""The prediction of waiting times: what waits, what runs, and what each kind of work costs."""

from __future__ import annotations

import pytest

from tumorlens.serving.processing.admission import Cost, Forecast


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def forecast(threads: int, seconds: float = 0.1) -> tuple[Forecast, Clock]:
    """Return a forecast that has learned that ``predict`` takes ``seconds``."""
    clock = Clock()
    found = Forecast(threads, clock)
    for job in range(200):
        found.enter("predict")
        found.start(job, "predict")
        clock.now += seconds
        found.finish(job)
    return found, clock


@pytest.mark.parametrize(
    ("threads", "running", "waiting", "expected"),
    [
        (2, 0, 0, 0.0),
        (2, 1, 0, 0.0),  # the second thread is free
        (2, 2, 0, 0.1),
        (2, 2, 4, 0.3),  # both are busy for 0.1 s, then two rounds of two
        (1, 1, 9, 1.0),
        (4, 4, 10, 0.35),
    ],
)
def test_the_wait_is_the_work_ahead_shared_by_the_threads(
    threads: int, running: int, waiting: int, expected: float
) -> None:
    found, _ = forecast(threads)
    for job in range(running):
        found.enter("predict")
        found.start(job, "predict")
    for _ in range(waiting):
        found.enter("predict")
    assert found.wait() == pytest.approx(expected, rel=0.02)
    assert found.pending == running + waiting


def test_a_thread_with_long_work_is_not_counted_on() -> None:
    found, clock = forecast(2)
    found.enter("series")
    found.start("long", "series")
    clock.now += 30.0  # far longer than a series was thought to take
    assert found.wait() == 0.0
    found.enter("predict")
    found.start("short", "predict")
    # Not half of half a minute: the other thread is free in 0.1 s.
    assert found.wait() == pytest.approx(0.1, rel=0.02)


def test_the_answer_takes_the_wait_the_work_itself_and_a_margin() -> None:
    found, clock = forecast(1)
    found.enter("predict")
    found.start("job", "predict")
    steady = found.answer("predict")
    assert 0.19 <= steady <= 0.22
    found.finish("job")
    for seconds in (0.05, 0.15) * 8:  # as long on average, but less sure
        found.enter("predict")
        found.start("job", "predict")
        clock.now += seconds
        found.finish("job")
    found.enter("predict")
    found.start("job", "predict")
    assert found.answer("predict") > steady + 0.05


def test_who_gives_up_waiting_no_longer_counts() -> None:
    found, _ = forecast(1)
    found.enter("predict")
    found.leave("predict")
    assert (found.pending, found.wait()) == (0, 0.0)


def test_one_slow_image_does_not_close_the_door_and_slow_work_is_learned() -> None:
    cost = Cost(0.01, 0.0)
    cost.observe(10.0)
    assert cost.mean < 0.02
    for _ in range(60):
        cost.observe(0.2)
    assert cost.mean == pytest.approx(0.2, rel=0.05)
    for _ in range(60):
        cost.observe(0.01)
    assert cost.mean == pytest.approx(0.01, rel=0.05)
