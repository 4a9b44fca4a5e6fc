"""The thread pool that processes images off the event loop, with a bounded queue.

An image that finds all threads and places taken is refused at once with 503: a growing queue
would only turn an overload into timeouts for everybody.
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
# How often an image that waits for its turn checks whether its client is still there.
TURN_SECONDS = 0.1
ARRIVAL_SECONDS = 0.2
ARRIVAL_FACTOR = 3


class Ticket:
    """One image's way through the pool: the seconds of each stage, and whether to go on."""

    def __init__(self, metrics: Metrics, turn: threading.Lock) -> None:
        self.stages: dict[str, float] = {}
        self.abandoned = False
        self._metrics = metrics
        self._turn = turn
        self._queued = time.perf_counter()

    def start(self) -> None:
        """Note that a thread started on the image."""
        self._note("queue", time.perf_counter() - self._queued)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; raises :class:`ClientGoneError` first when the caller has given up."""
        if self.abandoned:
            raise ClientGoneError
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._note(name, time.perf_counter() - begin)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other image of the pool is in such a block: for what needs much memory."""
        while not self._turn.acquire(timeout=TURN_SECONDS):
            if self.abandoned:
                raise ClientGoneError
        try:
            yield
        finally:
            self._turn.release()

    def _note(self, name: str, seconds: float) -> None:
        self.stages[name] = self.stages.get(name, 0.0) + seconds
        self._metrics.stage.labels(name).observe(seconds)


class Arrival:
    """A request on its way to the queue: its body is still being read."""

    def __init__(self, pool: Pool) -> None:
        self._pool: Pool | None = pool
        pool.arriving += 1
        # A slow upload must not keep others out: it counts as arriving for a moment only.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(ARRIVAL_SECONDS, self.leave)

    def leave(self) -> None:
        """Count no longer: the image takes its place, the request has ended, or time is up."""
        if self._pool is not None:
            self._pool.arriving -= 1
            self._pool = None
            self._timer.cancel()


class Pool:
    """Threads and a bounded queue in front of them; used from one event loop."""

    def __init__(self, threads: int, queue_size: int, metrics: Metrics) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="tumorlens-inference")
        self._threads = threads
        self._places = threads + queue_size
        self._metrics = metrics
        self._pending = 0
        self.arriving = 0
        self._freed = asyncio.Event()
        self._turn = threading.Lock()
        self._seconds = 0.05  # running mean of one job, for Retry-After

    @property
    def full(self) -> bool:
        """Whether the next image would be shed."""
        return self._pending >= self._places

    @property
    def crowded(self) -> bool:
        """Whether the places are taken, or too many are on their way to one.

        Some of those will go away or be slow, so more may be on their way than there are places.
        """
        return self.full or self._pending + self.arriving >= ARRIVAL_FACTOR * self._places

    def reserve(self) -> None:
        """Raise the 503 problem when the pool is full; cheap, so that it can be asked early."""
        if self.full:
            raise self.refusal()

    def refusal(self) -> ProblemError:
        """Count a shed image and return its 503 problem, with the time a place may take."""
        self._metrics.shed.labels("queue").inc()
        wait = self._pending * self._seconds / self._threads
        return overloaded("All places in the queue are taken.", wait)

    async def wait_for_place(self) -> None:
        """Wait until the next image would not be shed; for work that may take its time."""
        while self.full:
            self._freed.clear()
            await self._freed.wait()

    async def run(self, job: Callable[[Ticket], T]) -> tuple[T, Ticket]:
        """Return the job's result and its ticket.

        Raises the 503 problem when the pool is full. A caller that is cancelled abandons
        the job: it never starts, or stops before its next stage.
        """
        self.reserve()
        ticket = Ticket(self._metrics, self._turn)
        loop = asyncio.get_running_loop()
        self._pending += 1
        self._show()

        def work() -> T:
            ticket.start()
            begin = time.perf_counter()
            try:
                return job(ticket)
            finally:
                self._seconds += 0.1 * (time.perf_counter() - begin - self._seconds)

        future = self._executor.submit(work)
        future.add_done_callback(lambda done: self._tell(loop, done))
        try:
            return await asyncio.wrap_future(future), ticket
        except asyncio.CancelledError:
            ticket.abandoned = True
            raise

    def _tell(self, loop: asyncio.AbstractEventLoop, done: Future[T]) -> None:
        # The future may end in a worker thread; counters belong to the event loop's thread.
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._pending -= 1
        self._freed.set()
        self._show()

    def _show(self) -> None:
        self._metrics.working.set(min(self._pending, self._threads))
        self._metrics.queue_depth.set(max(0, self._pending - self._threads))

    def close(self) -> None:
        """Let running jobs end and start no new one."""
        self._executor.shutdown(wait=True, cancel_futures=True)
