"""The thread pool that processes images off the event loop, with a queue bounded in time.

An image is admitted while its answer is expected within the budget (`Forecast`), and otherwise
refused at once with 503; an unbounded queue would turn an overload into timeouts for all clients.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import ClientGoneError, ProblemError, overloaded
from tumorlens.serving.processing.admission import Forecast

T = TypeVar("T")
# How often a job that waits for the memory lock checks whether its client is still connected.
LOCK_POLL_SECONDS = 0.1
# How long an upload keeps the place that it was given at the request's head.
ARRIVAL_SECONDS = 0.2
# The part of the budget that may be planned; the rest is for reading requests and sending answers
# while the event loop is busy refusing others.
PLANNED = 0.85


class Ticket:
    """The progress of one image in the pool: seconds by stage, and whether it was abandoned."""

    def __init__(self, metrics: Metrics, lock: threading.Lock) -> None:
        self.stages: dict[str, float] = {}
        self.abandoned = False
        self._metrics = metrics
        self._lock = lock

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; raises :class:`ClientGoneError` if the job was abandoned."""
        if self.abandoned:
            raise ClientGoneError
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.record(name, time.perf_counter() - begin)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the pool's lock for memory-intensive work: one image at a time."""
        while not self._lock.acquire(timeout=LOCK_POLL_SECONDS):
            if self.abandoned:
                raise ClientGoneError
        try:
            yield
        finally:
            self._lock.release()

    def record(self, name: str, seconds: float) -> None:
        """Add the seconds of a stage."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds
        self._metrics.stage.labels(name).observe(seconds)


class Place:
    """A place in the queue, given at a request's head and kept until its image is started.

    While the body arrives the place is kept for a short time only: slow uploads must not keep
    others out.
    """

    def __init__(self, pool: Pool, kind: str) -> None:
        self.kind = kind
        self.since = time.perf_counter()
        self.behind_others = not pool.idle
        self._pool = pool
        self._timer: asyncio.TimerHandle | None = None
        self._taken = False
        pool.forecast.enter(kind)
        pool.update()

    def expire_after(self, seconds: float) -> None:
        """Give the place up after ``seconds``, unless its image is queued by then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self.leave)

    def leave(self) -> None:
        """Give the place up: the request was refused, has ended, or sends too slowly."""
        if self.take():
            self._pool.forecast.leave(self.kind)
            self._pool.update()

    def take(self) -> bool:
        """Take what the place is for, once; False when it was given up or taken before."""
        if self._timer is not None:
            self._timer.cancel()
        taken, self._taken = self._taken, True
        return not taken


class Pool:
    """Threads and a queue bounded by the predicted answer time; used from one event loop.

    Args:
        threads: Images processed at once.
        max_wait_s: Seconds within which an admitted image should be answered. With 0 an image is
            admitted when a thread is free for it.
        metrics: The service's metrics.
    """

    def __init__(self, threads: int, max_wait_s: float, metrics: Metrics) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="tumorlens-inference")
        self.forecast = Forecast(threads)
        self._budget = max_wait_s
        self._metrics = metrics
        self._freed = asyncio.Event()
        self._waiters = 0
        self._lock = threading.Lock()

    @property
    def idle(self) -> bool:
        """Whether a thread is free for one more image."""
        return self.forecast.pending < self.forecast.threads

    @property
    def full(self) -> bool:
        """Whether the next image would be refused."""
        return self.is_full("predict")

    def is_full(self, kind: str) -> bool:
        """Whether the next work of ``kind`` would be refused."""
        return not self.idle and self.forecast.answer(kind) > PLANNED * self._budget

    def reserve(self, kind: str) -> Place | None:
        """Return a place for a request whose body is still to be read; None when full."""
        if self.is_full(kind):
            return None
        place = Place(self, kind)
        place.expire_after(ARRIVAL_SECONDS)
        return place

    def refusal(self) -> ProblemError:
        """Count a refused image and return its 503 problem with the estimated waiting time."""
        self._metrics.shed.labels("queue").inc()
        detail = f"The answer would take longer than {self._budget:g} seconds."
        return overloaded(detail, self.forecast.wait())

    async def wait_for_capacity(self) -> None:
        """Wait until the pool is not full, for work that is not urgent."""
        # Counted first: a thread that sees no one waiting has left before `full` is read.
        self._waiters += 1
        try:
            while self.full:
                self._freed.clear()
                await self._freed.wait()
        finally:
            self._waiters -= 1

    async def run(
        self,
        job: Callable[[Ticket], T],
        kind: str = "predict",
        place: Place | None = None,
        *,
        urgent: bool = True,
    ) -> tuple[T, Ticket]:
        """Return the job's result and its ticket.

        Args:
            job: Runs in a thread of the pool.
            kind: The name under which its time is learned.
            place: From `reserve`; one that was given up is asked for again.
            urgent: Whether the job is refused when no thread was free for it within the budget.

        Raises the 503 problem when the pool is full. A caller that is cancelled abandons
        the job: it never starts, or stops before its next stage.
        """
        if place is not None and place.take():
            since, waits = place.since, place.behind_others
        else:
            if self.is_full(kind):
                raise self.refusal()
            since, waits = time.perf_counter(), not self.idle
            self.forecast.enter(kind)
        self.update()
        ticket = Ticket(self._metrics, self._lock)
        patience = PLANNED * self._budget - self.forecast.expected(kind)
        work = _Work(self, job, kind, ticket, since + patience if urgent and waits else None)
        loop = asyncio.get_running_loop()
        future = self._executor.submit(work)
        future.add_done_callback(lambda _: self._ended(loop, work))
        try:
            return await asyncio.wrap_future(future), ticket
        except asyncio.CancelledError:
            ticket.abandoned = True
            raise

    def _ended(self, loop: asyncio.AbstractEventLoop, work: _Work[T]) -> None:
        # In a thread of the pool, or where the job was cancelled before it started.
        work.end()
        self.update()
        if self._waiters and not loop.is_closed():
            loop.call_soon_threadsafe(self._freed.set)

    def late(self) -> ProblemError:
        """Count an admitted image that waited for too long and return its 503 problem."""
        self._metrics.shed.labels("late").inc()
        return overloaded(f"No thread was free within {self._budget:g} seconds.")

    def update(self) -> None:
        """Show the state in the metrics."""
        pending, threads = self.forecast.pending, self.forecast.threads
        self._metrics.working.set(min(pending, threads))
        self._metrics.queue_depth.set(max(0, pending - threads))

    def close(self) -> None:
        """Wait for running jobs and start no new ones."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Work(Generic[T]):
    """One queued job: runs in a thread, and tells the forecast when it starts and ends."""

    def __init__(
        self,
        pool: Pool,
        job: Callable[[Ticket], T],
        kind: str,
        ticket: Ticket,
        deadline: float | None,
    ) -> None:
        self._pool, self._job, self._kind = pool, job, kind
        self._ticket = ticket
        self._deadline = deadline
        self._queued = time.perf_counter()
        self._started = False

    def __call__(self) -> T:
        begin = time.perf_counter()
        self._ticket.record("queue", begin - self._queued)
        if self._deadline is not None and begin > self._deadline:
            raise self._pool.late()
        self._pool.forecast.start(self, self._kind)
        self._started = True
        return self._job(self._ticket)

    def end(self) -> None:
        """Leave the forecast: the job has run, was refused, or never started."""
        if self._started:
            self._pool.forecast.finish(self)
        else:
            self._pool.forecast.leave(self._kind)
