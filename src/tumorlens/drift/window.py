"""The last answers of a service, as bins of the reference: no value of a scan is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorlens.drift.statistics import STATISTICS
from tumorlens.metrics.drift import bin_of, ks_by_chance, ks_distance, psi, psi_by_chance
from tumorlens.modelfile.drift import DriftReference

NONE = -1
"""Stands for the bin of an observation that is no number."""


@dataclass(frozen=True)
class Drift:
    """How far one statistic has moved from the reference; NaN while the window is empty.

    Attributes:
        n: Scans in the window.
        psi, ks: Population stability index, and Kolmogorov-Smirnov distance.
        psi_by_chance, ks_by_chance: What windows of n scans exceed once in a thousand times
            without drift.
    """

    n: int
    psi: float
    psi_by_chance: float
    ks: float
    ks_by_chance: float


class Window:
    """The bins of the last ``size`` observations. Not thread-safe.

    Memory is a byte or two for each observation and statistic, and 8 bytes for each bin.
    """

    def __init__(self, reference: DriftReference, size: int) -> None:
        self.reference = reference
        self.names = tuple(each.name for each in reference.histograms)
        self._at = [STATISTICS.index(name) for name in self.names]
        self._edges = [np.array(each.edges) for each in reference.histograms]
        self._bins = np.full((size, len(self.names)), NONE, dtype=np.int16)
        self._next = 0

    def add(self, observed: Sequence[float]) -> list[tuple[int, int]]:
        """Add the result of `observe`; the oldest observation leaves when the window is full.

        Returns for each of `names` the bin that gained an observation and the one that lost one,
        or `NONE`.
        """
        gained = []
        for at, edges in zip(self._at, self._edges, strict=True):
            value = observed[at]
            gained.append(NONE if np.isnan(value) else int(bin_of(value, edges)))
        row = self._bins[self._next]
        lost = [int(each) for each in row]
        row[:] = gained
        self._next = (self._next + 1) % len(self._bins)
        return list(zip(gained, lost, strict=True))

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return statistic → how many observations are in each bin."""
        return {
            name: np.bincount(column[column >= 0], minlength=len(edges) + 1).astype(np.int64)
            for name, column, edges in zip(self.names, self._bins.T, self._edges, strict=True)
        }


def compare(reference: DriftReference, counts: Mapping[str, NDArray[np.int64]]) -> dict[str, Drift]:
    """Return how far each statistic's counts are from the reference.

    The reference counts as many independent scans as it has groups.
    """
    found = {}
    for each in reference.histograms:
        window = counts.get(each.name, np.zeros(len(each.counts), dtype=np.int64))
        found[each.name] = Drift(
            int(window.sum()),
            psi(each.counts, window),
            psi_by_chance(each.counts, window, reference.groups),
            ks_distance(each.counts, window),
            ks_by_chance(each.counts, window, reference.groups),
        )
    return found
