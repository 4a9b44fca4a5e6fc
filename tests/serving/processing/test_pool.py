"""The pool of inference threads: a queue bounded in time, abandoned jobs, large images alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import ClientGoneError, ProblemError
from tumorlens.serving.processing.pool import Pool, Ticket


def block(pool: Pool) -> tuple[Callable[[Ticket], str], threading.Event, threading.Event]:
    started, free = threading.Event(), threading.Event()

    def job(ticket: Ticket) -> str:
        started.set()
        assert free.wait(20)
        with ticket.stage("forward"):
            return "done"

    return job, started, free


def test_a_queue_beyond_the_budget_sheds_at_once_and_then_takes_again() -> None:
    async def scenario() -> list[str]:
        # Nothing was measured yet: each job is taken for 0.05 s, give or take.
        pool = Pool(1, 0.2, Metrics())
        job, _, free = block(pool)
        admitted = [asyncio.ensure_future(pool.run(job)) for _ in range(2)]
        await asyncio.sleep(0)
        while not pool.full:
            admitted.append(asyncio.ensure_future(pool.run(job, urgent=False)))
            await asyncio.sleep(0)
        with pytest.raises(ProblemError) as shed:
            await pool.run(job)
        assert shed.value.kind.status == 503
        assert int(shed.value.headers["Retry-After"]) >= 1
        free.set()
        done = [(await each)[0] for each in admitted]
        await pool.wait_for_capacity()
        done.append((await pool.run(job))[0])
        pool.close()
        return done

    done = asyncio.run(scenario())
    assert len(done) >= 3
    assert set(done) == {"done"}


def test_without_a_budget_only_a_free_thread_takes_an_image() -> None:
    async def scenario() -> None:
        pool = Pool(2, 0, Metrics())
        job, _, free = block(pool)
        admitted = [asyncio.ensure_future(pool.run(job)) for _ in range(2)]
        await asyncio.sleep(0)
        assert pool.full
        with pytest.raises(ProblemError):
            await pool.run(job)
        free.set()
        await asyncio.gather(*admitted)
        await pool.wait_for_capacity()
        assert not pool.full
        pool.close()

    asyncio.run(scenario())


def test_what_waited_beyond_the_budget_is_refused_before_any_work() -> None:
    ran: list[str] = []

    async def scenario() -> None:
        pool = Pool(1, 0.3, Metrics())
        job, started, free = block(pool)
        first = asyncio.ensure_future(pool.run(job))
        await asyncio.to_thread(started.wait, 20)
        second = asyncio.ensure_future(pool.run(lambda ticket: ran.append("second")))
        await asyncio.sleep(0.35)  # the first takes far longer than predicted
        free.set()
        with pytest.raises(ProblemError) as late:
            await second
        assert late.value.kind.slug == "overloaded"
        assert (await first)[0] == "done"
        pool.close()

    asyncio.run(scenario())
    assert ran == []


def test_a_place_counts_until_it_is_used_given_up_or_expired() -> None:
    async def scenario() -> list[int]:
        pool = Pool(2, 1, Metrics())
        first, second, third = (pool.reserve("predict") for _ in range(3))
        assert first is not None
        assert second is not None
        assert third is not None
        found = [pool.forecast.pending]
        first.leave()
        first.leave()
        found.append(pool.forecast.pending)
        await pool.run(lambda ticket: None, place=second)
        second.leave()
        await pool.wait_for_capacity()
        while pool.forecast.pending:  # the third expires: its body does not come
            await asyncio.sleep(0.01)
        # Its image comes after all, and is asked for a place again.
        await pool.run(lambda ticket: None, place=third)
        pool.close()
        return found

    assert asyncio.run(scenario()) == [3, 2]


def test_a_full_pool_reserves_nothing() -> None:
    async def scenario() -> None:
        pool = Pool(1, 0, Metrics())
        place = pool.reserve("predict")
        assert place is not None
        assert pool.reserve("predict") is None
        place.leave()
        again = pool.reserve("predict")
        assert again is not None
        again.leave()
        pool.close()

    asyncio.run(scenario())


def test_what_needs_much_memory_runs_alone() -> None:
    inside: list[int] = []

    async def scenario() -> None:
        pool = Pool(4, 60, Metrics())

        def large(ticket: Ticket) -> None:
            with ticket.alone():
                inside.append(1)
                assert sum(inside) == 1
                with ticket.stage("decode"):
                    threading.Event().wait(0.01)
                inside.append(-1)

        await asyncio.gather(*(pool.run(large) for _ in range(8)))
        pool.close()

    asyncio.run(scenario())
    assert len(inside) == 16


def test_an_abandoned_job_stops_before_its_next_stage_and_frees_its_place() -> None:
    ended: list[str] = []

    async def scenario() -> None:
        pool = Pool(1, 60, Metrics())
        job, started, free = block(pool)

        def watched(ticket: Ticket) -> str:
            try:
                return job(ticket)
            except ClientGoneError:
                ended.append("stopped")
                raise

        running = asyncio.ensure_future(pool.run(watched))
        queued = asyncio.ensure_future(pool.run(lambda ticket: ended.append("never")))
        await asyncio.to_thread(started.wait, 20)
        for task in (running, queued):
            task.cancel()
        await asyncio.gather(running, queued, return_exceptions=True)
        free.set()
        await pool.wait_for_capacity()
        pool.close()

    asyncio.run(scenario())
    assert ended == ["stopped"]
