"""When an image would be answered, predicted from the work that is already waiting.

A queue of fixed length is too short for quick work and too long for slow work. Here a request is
admitted while its answer is expected within a budget of seconds, whatever the images cost.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# Gains of the moving mean and mean deviation, as in TCP's estimate of the round-trip time
# (RFC 6298, section 2).
_MEAN_GAIN, _DEVIATION_GAIN = 1 / 8, 1 / 4
# One slow image must not close the door to the quick ones: its time counts at most this often.
_CLIP = 4.0
# Deviations added to the expected time, so that a prediction is rarely too short.
_DEVIATIONS = 2.0
# Seconds that a kind of work is taken to need before any was done.
_FIRST_SECONDS = 0.05


@dataclass
class Cost:
    """Moving mean and mean deviation of the seconds that one kind of work takes in a thread."""

    mean: float = _FIRST_SECONDS
    deviation: float = _FIRST_SECONDS / 2

    def observe(self, seconds: float) -> None:
        """Take one measured time into account."""
        error = min(seconds, _CLIP * self.mean) - self.mean
        self.deviation += _DEVIATION_GAIN * (abs(error) - self.deviation)
        self.mean += _MEAN_GAIN * error


class Forecast:
    """The work in the pool: how much waits, since when each thread is busy, what each kind costs.

    Thread-safe: the event loop asks and the inference threads report.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.threads = threads
        self._clock = clock
        self._costs: dict[str, Cost] = {}
        self._waiting: dict[str, int] = {}
        self._running: dict[object, tuple[str, float]] = {}
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """Number of jobs that wait, arrive or run."""
        with self._lock:
            return self._queued() + len(self._running)

    def enter(self, kind: str) -> None:
        """Count one more that waits or arrives."""
        with self._lock:
            self._waiting[kind] = self._waiting.get(kind, 0) + 1

    def leave(self, kind: str) -> None:
        """Count one fewer that waits: it was given up."""
        with self._lock:
            self._waiting[kind] -= 1

    def start(self, job: object, kind: str) -> None:
        """Record that a thread has started a job that waited."""
        with self._lock:
            self._waiting[kind] -= 1
            self._running[job] = (kind, self._clock())

    def finish(self, job: object) -> None:
        """Record that a thread has ended a job, and learn from the time that it took."""
        with self._lock:
            kind, since = self._running.pop(job)
            self._cost(kind).observe(self._clock() - since)

    def wait(self) -> float:
        """Return the seconds until a thread is free for one more; 0 if one is."""
        with self._lock:
            return self._wait()

    def answer(self, kind: str) -> float:
        """Return the seconds after which one more of ``kind`` is answered, rarely too short."""
        with self._lock:
            own = self._cost(kind)
            # Deviations of independent times add up as their squares.
            spread = own.deviation * math.sqrt(1 + self._queued() / self.threads)
            return self._wait() + own.mean + _DEVIATIONS * spread

    def expected(self, kind: str) -> float:
        """Return the mean seconds that one job of ``kind`` takes in a thread."""
        with self._lock:
            return self._cost(kind).mean

    def _wait(self) -> float:
        now = self._clock()
        busy = sorted(self._left(*entry, now) for entry in self._running.values())
        busy = [0.0] * (self.threads - len(busy)) + busy
        work = sum(self._cost(kind).mean * count for kind, count in self._waiting.items())
        # The time at which the threads, each once it is free, have done the waiting work. A
        # thread that is busy for longer does none of it.
        total = until = 0.0
        for helping, left in enumerate(busy, start=1):
            total += left
            until = (work + total) / helping
            if helping < len(busy) and until <= busy[helping]:
                break
        return until

    def _queued(self) -> int:
        return sum(self._waiting.values())

    def _cost(self, kind: str) -> Cost:
        return self._costs.setdefault(kind, Cost())

    def _left(self, kind: str, since: float, now: float) -> float:
        # What has taken longer than expected is taken to go on for as long as it is late.
        return abs(self._cost(kind).mean - (now - since))
