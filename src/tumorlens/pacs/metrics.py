"""Prometheus metrics: numbers only, with labels from fixed sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tumorlens.errors import ConfigError, QueueError
from tumorlens.pacs.queue import Queue

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class PacsMetrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        options: dict[str, Any] = {"registry": self.registry}
        prefix = "tumorlens_pacs"
        self.received = Counter(
            f"{prefix}_received_objects", "C-STORE requests by answer.", ["status"], **options
        )
        self.received_bytes = Counter(f"{prefix}_received_bytes", "Bytes stored.", **options)
        self.rejected = Counter(
            f"{prefix}_rejected_associations", "Associations that were refused.", **options
        )
        self.associations = Gauge(f"{prefix}_associations", "Associations open now.", **options)
        self.found = Counter(f"{prefix}_found_series", "Series put into the queue.", **options)
        self.late = Counter(
            f"{prefix}_late_objects",
            "Objects that came after their series was answered.",
            **options,
        )
        self.jobs = Counter(f"{prefix}_jobs", "Jobs ended, by outcome.", ["outcome"], **options)
        self.failures = Counter(
            f"{prefix}_failures",
            "What went wrong and is tried again, by part.",
            ["part"],
            **options,
        )
        self.stored = Counter(f"{prefix}_stored_results", "Results confirmed.", **options)
        self.seconds = Histogram(
            f"{prefix}_seconds", "Duration by stage.", ["stage"], buckets=_SECONDS, **options
        )
        self.free = Gauge(f"{prefix}_disk_free_bytes", "Free space of the folder.", **options)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Observe the duration of a stage: fetch, analyse or store."""
        with self.seconds.labels(stage).time():
            yield

    def watch(self, queue: Queue, free_bytes: Callable[[], int]) -> None:
        """Report the queue's counts and the free space at every scrape."""
        self.free.set_function(free_bytes)
        self.registry.register(_QueueCollector(queue))

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve the metrics from a thread; return what stops that. Raises `ConfigError`."""
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served on {host}:{port} ({error.strerror}); choose another port"
            ) from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


class _QueueCollector(Collector):
    """Asks the queue when it is scraped; says whether that worked."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Describe nothing: registering must not ask the queue."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the jobs by state, and whether the queue answered."""
        counts: dict[str, int] = {}
        with suppress(QueueError):
            counts = self._queue.counts()
        up = GaugeMetricFamily("tumorlens_pacs_queue_up", "Whether the queue can be used.")
        up.add_metric([], float(bool(counts)))
        yield up
        jobs = GaugeMetricFamily(
            "tumorlens_pacs_queue_jobs", "Jobs in the queue by state.", labels=["state"]
        )
        for state, count in counts.items():
            jobs.add_metric([state], count)
        yield jobs
