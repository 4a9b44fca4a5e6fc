"""Metrics of drift: the last answers beside the reference histograms on the model's card.

A worker keeps the bins of its last answers (`tumorlens.drift.window`), never a scan's values. With
several workers the counts of all are added before they are compared, so that the metrics are those
of the whole service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tumorlens.drift.window import NONE, Window, compare
from tumorlens.modelfile import DriftReference

_BINS = "tumorlens_drift_bin_images"
_FAMILIES = {
    "n": ("tumorlens_drift_window_images", "Answers compared with the model's reference."),
    "psi": (
        "tumorlens_drift_psi",
        "Population stability index of the last answers; 0.1: slight drift, 0.25: large.",
    ),
    "psi_by_chance": (
        "tumorlens_drift_psi_by_chance",
        "The index that so few answers exceed once in a thousand times without drift.",
    ),
    "ks": ("tumorlens_drift_ks", "Kolmogorov-Smirnov distance of the last answers, 0 to 1."),
    "ks_by_chance": (
        "tumorlens_drift_ks_by_chance",
        "The distance that so few answers exceed once in a thousand times without drift.",
    ),
}


class DriftMonitor(Collector):
    """Follows the model in use; used from the event loop, collected from any thread.

    Args:
        size: Answers in a worker's window; 0 watches nothing.
        shared: Whether other workers' answers are added, through Prometheus' own files.
    """

    def __init__(self, size: int, *, shared: bool) -> None:
        self._size = size
        self._window: Window | None = None
        self._gauge: Gauge | None = None
        self._children: dict[str, list[Gauge]] = {}
        if shared:
            self._gauge = Gauge(
                _BINS,
                "Answers in one bin.",
                ("statistic", "bin"),
                registry=None,
                multiprocess_mode="livesum",
            )

    def follow(self, reference: DriftReference | None) -> None:
        """Start an empty window for a model; None when its card has no reference."""
        for children in self._children.values():
            for child in children:
                child.set(0)
        self._children = {}
        self._window = Window(reference, self._size) if reference and self._size else None
        if self._window is not None and self._gauge is not None:
            self._children = {
                each.name: [
                    self._gauge.labels(each.name, str(at)) for at in range(len(each.counts))
                ]
                for each in self._window.reference.histograms
            }

    def add(self, observed: Sequence[float]) -> None:
        """Add an answer, as `tumorlens.drift.statistics.observe` sees it; empty adds nothing."""
        if self._window is None or not observed:
            return
        changes = self._window.add(observed)
        for name, (gained, lost) in zip(self._window.names, changes, strict=True):
            if self._children and gained != lost:
                if gained != NONE:
                    self._children[name][gained].inc()
                if lost != NONE:
                    self._children[name][lost].dec()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this worker's window."""
        window = self._window
        yield from self._families(window, window.counts() if window else {})

    def collect_all(self, workers: MultiProcessCollector) -> Iterator[Metric]:
        """Yield what all workers wrote, with the metrics of their windows for the bins."""
        window = self._window
        counts = _empty_counts(window)
        for family in workers.collect():  # type: ignore[no-untyped-call]
            if family.name == _BINS:
                _add_samples(counts, family)
            else:
                yield family
        yield from self._families(window, counts)

    def _families(
        self, window: Window | None, counts: Mapping[str, NDArray[np.int64]]
    ) -> Iterator[Metric]:
        found = compare(window.reference, counts) if window else {}
        for field, (name, text) in _FAMILIES.items():
            family = GaugeMetricFamily(name, text, labels=("statistic",))
            for statistic, drift in found.items():
                if drift.n or field == "n":
                    family.add_metric((statistic,), getattr(drift, field))
            yield family


class AllWorkers(Collector):
    """The metrics of all workers, from the files in their shared folder."""

    def __init__(self, folder: str, drift: DriftMonitor) -> None:
        self._workers = MultiProcessCollector(None, path=folder)  # type: ignore[no-untyped-call]
        self._drift = drift

    def collect(self) -> Iterable[Metric]:
        """Yield them."""
        return self._drift.collect_all(self._workers)


def _empty_counts(window: Window | None) -> dict[str, NDArray[np.int64]]:
    histograms = window.reference.histograms if window else ()
    return {each.name: np.zeros(len(each.counts), dtype=np.int64) for each in histograms}


def _add_samples(counts: dict[str, NDArray[np.int64]], family: Metric) -> None:
    for sample in family.samples:
        own = counts.get(sample.labels["statistic"])
        at = int(sample.labels["bin"])
        # During a change of the model a worker may still count in the former model's bins.
        if own is not None and at < len(own):
            own[at] += round(sample.value)
