"""The Prometheus metrics of the service.

With several workers each process writes its values to files in
``$PROMETHEUS_MULTIPROC_DIR``, and the worker that is scraped aggregates them.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import mark_process_dead

from tumorlens.serving.observability.drift import AllWorkers, DriftMonitor

MULTIPROC_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
STAGES = ("read", "queue", "decode", "preprocess", "forward", "encode")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BYTES = tuple(float(4**power * 1024) for power in range(8))
_PIXELS = tuple(float(128**2 * 4**power) for power in range(7))
_TENTHS = tuple(step / 10 for step in range(1, 11))


def shared_folder() -> Path | None:
    """Return the folder shared by the workers; None for a single process."""
    folder = os.environ.get(MULTIPROC_VARIABLE)
    return Path(folder) if folder else None


class Metrics:
    """The metrics of one application, in their own registry.

    ``drift_window`` is the number of answers that are compared with the model's reference.
    """

    def __init__(self, drift_window: int = 1000) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self.requests = counter(
            "tumorlens_http_requests_total",
            "Requests answered, by route, method and status.",
            ("route", "method", "status"),
        )
        self.duration = histogram(
            "tumorlens_http_request_duration_seconds",
            "Seconds from the request's head to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
        )
        self.stage = histogram(
            "tumorlens_stage_duration_seconds",
            "Seconds of one stage of the work: " + ", ".join(STAGES) + ".",
            ("stage",),
            buckets=_SECONDS,
        )
        self.problems = counter(
            "tumorlens_problems_total",
            "Requests and batch items refused, by problem.",
            ("problem",),
        )
        self.shed = counter(
            "tumorlens_shed_total",
            "Requests refused with 503 to protect the service.",
            ("reason",),
        )
        self.in_flight = gauge("tumorlens_http_requests_in_flight", "Requests being served.")
        self.queue_depth = gauge("tumorlens_queue_depth", "Images waiting for a thread.")
        self.working = gauge("tumorlens_inference_in_flight", "Images being processed.")
        self.ready = gauge("tumorlens_ready_workers", "Workers that are ready to serve.")
        self.model_info = Gauge(
            "tumorlens_model_info",
            "1 for the model that answers.",
            ("name", "version", "sha256"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.reloads = counter(
            "tumorlens_model_reloads_total",
            "Changes of the model file seen, by outcome.",
            ("outcome",),
        )
        # To detect drift of predictions and inputs.
        self.decisions = counter(
            "tumorlens_predictions_total", "Images answered, by decision.", ("decision",)
        )
        self.score = histogram(
            "tumorlens_score", "Calibrated probability of a tumour.", buckets=_TENTHS
        )
        self.input_bytes = histogram(
            "tumorlens_input_size_bytes", "Bytes of an image.", buckets=_BYTES
        )
        self.input_pixels = histogram(
            "tumorlens_input_pixels", "Pixels of an image.", buckets=_PIXELS
        )
        self.input_format = counter(
            "tumorlens_input_format_total", "Images read, by format.", ("format",)
        )
        self.input_mean = histogram(
            "tumorlens_input_mean_ratio",
            "Mean intensity of an image as a share of its range.",
            buckets=_TENTHS,
        )
        self.input_contrast = histogram(
            "tumorlens_input_contrast_ratio",
            "Standard deviation of an image's intensity as a share of its range.",
            buckets=tuple(step / 20 for step in range(1, 11)),
        )
        self.drift = DriftMonitor(drift_window, shared=shared_folder() is not None)
        registry.register(self.drift)
        if shared_folder() is None:
            ProcessCollector(namespace="tumorlens", registry=registry)

    def expose(self) -> bytes:
        """Return the metrics of all workers in the Prometheus text format."""
        folder = shared_folder()
        if folder is None:
            return generate_latest(self.registry)
        _forget_dead_workers(folder)
        shared = CollectorRegistry()
        shared.register(AllWorkers(str(folder), self.drift))
        return generate_latest(shared)


def _forget_dead_workers(folder: Path) -> None:
    """Drop the gauges of workers that have ended; their counters are kept."""
    for file in folder.glob("gauge_live*.db"):
        pid = file.stem.rsplit("_", 1)[-1]
        if pid.isdigit() and not _is_alive(int(pid)):
            mark_process_dead(int(pid), path=str(folder))  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only checks that the process exists
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists, under another user
    return True
