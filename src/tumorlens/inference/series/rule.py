"""How the slices of a series become one score: a finding persists over neighbouring slices.

A series of 150 slices at two false alarms in a hundred has three of them; they stand alone or in
different places, while a tumour is seen in the next slice again, at the same place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.modelfile.series import SeriesRule


@dataclass(frozen=True, eq=False)
class Track:
    """The answered slices of one series, by rising index.

    Attributes:
        indices: int ``[n]``: index of each slice; slices that were set aside are missing.
        logits: float64 ``[n]``: calibrated logits.
        peaks_mm: float64 ``[n, 2]``: place of the class map's maximum in the slice, row and
            column in millimetres; NaN without a map.
        thickness_mm: distance of neighbouring slices' centres.
    """

    indices: NDArray[np.int64]
    logits: NDArray[np.float64]
    peaks_mm: NDArray[np.float64]
    thickness_mm: float

    def __len__(self) -> int:
        """Return the number of answered slices."""
        return len(self.indices)


@dataclass(frozen=True)
class Score:
    """The score of a series, in logit units, and the slices that carry it.

    ``first`` and ``last`` are positions in the track, both included.
    """

    value: float
    first: int
    last: int


def run_length(thickness_mm: float, rule: SeriesRule) -> int:
    """Return the number of neighbouring slices that make a run.

    At least two, as many as cover ``rule.span_mm``; one where slices are ``rule.thick_mm`` apart
    or more.
    """
    if thickness_mm >= rule.thick_mm:
        return 1
    return max(2, math.ceil(rule.span_mm / thickness_mm - 1e-6))


def score_series(track: Track, rule: SeriesRule) -> Score:
    """Combine the slices of a series.

    ``maximum``: the largest logit. ``top_mean``: the mean of the ``top_k`` largest, wherever they
    are. ``run_mean`` and ``run_minimum``: of all runs of neighbouring slices, the largest mean or
    the largest minimum. ``agreeing_run``: the largest mean of the runs whose maps' peaks lie
    within ``distance_mm`` of each other from slice to slice; other runs count with their minimum.

    Raises:
        DataError: No slice was answered.
    """
    if not len(track):
        raise DataError("a series without answered slices has no score")
    z = track.logits
    if rule.name == "maximum":
        at = int(np.argmax(z))
        return Score(float(z[at]), at, at)
    if rule.name == "top_mean":
        top = np.argsort(z)[::-1][: rule.top_k]
        return Score(float(z[top].mean()), int(top.min()), int(top.max()))
    found = [
        Score(_run_value(track, first, last, rule), first, last)
        for first, last in _runs(track, run_length(track.thickness_mm, rule))
    ]
    return max(found, key=lambda each: each.value)


def longest_run(flags: NDArray[np.bool_], indices: NDArray[np.int64]) -> int:
    """Return the largest number of neighbouring slices that are all flagged; both ``[n]``."""
    longest = current = 0
    previous = None
    for index, flag in zip(indices.tolist(), flags.tolist(), strict=True):
        adjacent = previous is not None and index - previous == 1
        current = (current + 1 if adjacent else 1) if flag else 0
        longest, previous = max(longest, current), index
    return longest


def _run_value(track: Track, first: int, last: int, rule: SeriesRule) -> float:
    z = track.logits[first : last + 1]
    if rule.name == "run_minimum":
        return float(z.min())
    if rule.name == "agreeing_run" and not _agree(track.peaks_mm[first : last + 1], rule):
        return float(z.min())
    return float(z.mean())


def _agree(peaks_mm: NDArray[np.float64], rule: SeriesRule) -> bool:
    steps = np.linalg.norm(np.diff(peaks_mm, axis=0), axis=1)
    # NaN, of a model without a map, says nothing against agreement.
    return not bool((steps > rule.distance_mm).any())


def _runs(track: Track, length: int) -> Iterator[tuple[int, int]]:
    """Yield first and last position of each run, in which at most one slice is missing.

    A series with no such run is too short or too patchy for one: then of its longest runs.
    """
    n = len(track)
    for size in range(min(length, n), 0, -1):
        found = [
            (first, first + size - 1)
            for first in range(n - size + 1)
            if track.indices[first + size - 1] - track.indices[first] <= size
        ]
        if found:
            yield from found
            return
