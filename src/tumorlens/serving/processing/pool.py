"""The thread pool that processes images off the event loop, with a bounded queue.

When threads and queue are full, further images are refused at once with 503; an unbounded queue
would turn an overload into timeouts for all clients.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import ClientGoneError, ProblemError, overloaded

T = TypeVar("T")
# How often a job that waits for the memory lock checks whether its client is still connected.
LOCK_POLL_SECONDS = 0.1
# How long an upload counts as arriving, and how many may arrive relative to the capacity.
ARRIVAL_SECONDS = 0.2
ARRIVAL_FACTOR = 3


class Ticket:
    """The progress of one image in the pool: seconds by stage, and whether it was abandoned."""

    def __init__(self, metrics: Metrics, lock: threading.Lock) -> None:
        self.stages: dict[str, float] = {}
        self.abandoned = False
        self._metrics = metrics
        self._lock = lock
        self._queued = time.perf_counter()

    def start(self) -> None:
        """Record the time in the queue, when a thread starts on the image."""
        self._record("queue", time.perf_counter() - self._queued)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; raises :class:`ClientGoneError` if the job was abandoned."""
        if self.abandoned:
            raise ClientGoneError
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._record(name, time.perf_counter() - begin)

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

    def _record(self, name: str, seconds: float) -> None:
        self.stages[name] = self.stages.get(name, 0.0) + seconds
        self._metrics.stage.labels(name).observe(seconds)


class Arrival:
    """A request whose body is still being read, before it enters the queue."""

    def __init__(self, pool: Pool) -> None:
        self._pool: Pool | None = pool
        pool.arriving += 1
        # Slow uploads must not block others, so they count as arriving only for a short time.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(ARRIVAL_SECONDS, self.leave)

    def leave(self) -> None:
        """Stop counting as arriving: queued, ended, or timed out."""
        if self._pool is not None:
            self._pool.arriving -= 1
            self._pool = None
            self._timer.cancel()


class Pool:
    """Threads and a bounded queue in front of them; used from one event loop."""

    def __init__(self, threads: int, queue_size: int, metrics: Metrics) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="tumorlens-inference")
        self._threads = threads
        self._capacity = threads + queue_size
        self._metrics = metrics
        self._pending = 0
        self.arriving = 0
        self._freed = asyncio.Event()
        self._lock = threading.Lock()
        self._mean_seconds = 0.05  # moving average of a job's duration, for Retry-After

    @property
    def full(self) -> bool:
        """Whether the next image would be refused."""
        return self._pending >= self._capacity

    @property
    def overloaded(self) -> bool:
        """Whether the pool is full, or too many requests are arriving.

        Some of these will be slow or disconnect, so their number may exceed the capacity.
        """
        return self.full or self._pending + self.arriving >= ARRIVAL_FACTOR * self._capacity

    def check_capacity(self) -> None:
        """Raise the 503 problem when the pool is full; cheap enough to call before uploads."""
        if self.full:
            raise self.refusal()

    def refusal(self) -> ProblemError:
        """Count a refused image and return its 503 problem with the estimated waiting time."""
        self._metrics.shed.labels("queue").inc()
        wait = self._pending * self._mean_seconds / self._threads
        return overloaded("The queue is full.", wait)

    async def wait_for_capacity(self) -> None:
        """Wait until the pool is not full, for work that is not urgent."""
        while self.full:
            self._freed.clear()
            await self._freed.wait()

    async def run(self, job: Callable[[Ticket], T]) -> tuple[T, Ticket]:
        """Return the job's result and its ticket.

        Raises the 503 problem when the pool is full. A caller that is cancelled abandons
        the job: it never starts, or stops before its next stage.
        """
        self.check_capacity()
        ticket = Ticket(self._metrics, self._lock)
        loop = asyncio.get_running_loop()
        self._pending += 1
        self._update_metrics()

        def work() -> T:
            ticket.start()
            begin = time.perf_counter()
            try:
                return job(ticket)
            finally:
                self._mean_seconds += 0.1 * (time.perf_counter() - begin - self._mean_seconds)

        future = self._executor.submit(work)
        future.add_done_callback(lambda done: self._on_done(loop, done))
        try:
            return await asyncio.wrap_future(future), ticket
        except asyncio.CancelledError:
            ticket.abandoned = True
            raise

    def _on_done(self, loop: asyncio.AbstractEventLoop, done: Future[T]) -> None:
        # The future may end in a worker thread; counters belong to the event loop's thread.
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._pending -= 1
        self._freed.set()
        self._update_metrics()

    def _update_metrics(self) -> None:
        self._metrics.working.set(min(self._pending, self._threads))
        self._metrics.queue_depth.set(max(0, self._pending - self._threads))

    def close(self) -> None:
        """Wait for running jobs and start no new ones."""
        self._executor.shutdown(wait=True, cancel_futures=True)
