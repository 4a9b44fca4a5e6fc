"""The pool of inference threads: a bounded queue, abandoned jobs, large images one at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import ClientGoneError, ProblemError
from tumorlens.serving.processing.pool import Arrival, Pool, Ticket


def block(pool: Pool) -> tuple[Callable[[Ticket], str], threading.Event, threading.Event]:
    started, free = threading.Event(), threading.Event()

    def job(ticket: Ticket) -> str:
        started.set()
        assert free.wait(20)
        with ticket.stage("forward"):
            return "done"

    return job, started, free


def test_a_full_queue_sheds_at_once_and_then_takes_again() -> None:
    async def scenario() -> list[str]:
        pool = Pool(1, 1, Metrics())
        job, _, free = block(pool)
        first = asyncio.ensure_future(pool.run(job))
        second = asyncio.ensure_future(pool.run(job))
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as shed:
            await pool.run(job)
        assert shed.value.kind.status == 503
        assert int(shed.value.headers["Retry-After"]) >= 1
        free.set()
        done = [(await first)[0], (await second)[0]]
        await pool.wait_for_capacity()
        done.append((await pool.run(job))[0])
        pool.close()
        return done

    assert asyncio.run(scenario()) == ["done"] * 3


def test_arriving_requests_count_but_not_for_long() -> None:
    async def scenario() -> list[bool]:
        pool = Pool(1, 0, Metrics())
        first, second, _ = Arrival(pool), Arrival(pool), Arrival(pool)
        found = [pool.overloaded, pool.full]
        first.leave()
        first.leave()
        found.append(pool.overloaded)
        Arrival(pool)
        while pool.arriving:
            await asyncio.sleep(0.01)
        second.leave()
        pool.close()
        return [*found, pool.arriving == 0]

    assert asyncio.run(scenario()) == [True, False, False, True]


def test_what_needs_much_memory_runs_alone() -> None:
    inside: list[int] = []

    async def scenario() -> None:
        pool = Pool(4, 4, Metrics())

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
        pool = Pool(1, 1, Metrics())
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
