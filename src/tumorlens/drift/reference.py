"""Scans → the reference histograms for a card."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.drift.statistics import STATISTICS
from tumorlens.errors import DataError
from tumorlens.metrics.drift import MIN_VALUES, count_bins, equal_frequency_edges
from tumorlens.modelfile.drift import DriftReference, ReferenceHistogram


def make_reference(
    values: Mapping[str, ArrayLike], groups: ArrayLike, scans: str
) -> DriftReference:
    """Return the histograms of a model's scans.

    Args:
        values: Statistic → float ``[N]``, as `observe` gives them; one that is not finite
            for every scan (``domain`` without a detector) is left out.
        groups: ``[N]``; near-duplicates and scans of one person share a number.
        scans: Which scans they are, in words.

    Raises:
        DataError: Fewer than 50 scans.
    """
    ids = np.asarray(groups)
    if len(ids) < MIN_VALUES:
        raise DataError(
            f"a drift reference needs {MIN_VALUES} scans that the model answers, and there are "
            f"{len(ids)}; give more scans"
        )
    return DriftReference(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        scans=scans,
        n=len(ids),
        groups=len(np.unique(ids)),
        histograms=tuple(
            _histogram(name, np.asarray(values[name], dtype=np.float64))
            for name in STATISTICS
            if name in values and np.isfinite(values[name]).all()
        ),
    )


def columns(rows: Sequence[Sequence[float]]) -> dict[str, NDArray[np.float64]]:
    """Return the results of `observe` for N scans as statistic → float64 ``[N]``."""
    table = np.asarray(rows, dtype=np.float64).reshape(len(rows), len(STATISTICS))
    return dict(zip(STATISTICS, table.T, strict=True))


def _histogram(name: str, values: NDArray[np.float64]) -> ReferenceHistogram:
    edges = equal_frequency_edges(values)
    counts = count_bins(values, edges)
    return ReferenceHistogram(name=name, edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))
