"""An operating point for the worst of several sources, instead of their pooled mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.decision import Threshold

SMALLEST_STRATUM = 20
"""Strata with fewer scans are pooled into one."""
_POOLED = "others"


def pooled_strata(strata: Sequence[str]) -> NDArray[np.str_]:
    """Return the strata ``[N]`` with those of fewer than 20 scans pooled into one."""
    names = np.asarray(strata, dtype=np.str_)
    found, place, sizes = np.unique(names, return_inverse=True, return_counts=True)
    kept = np.where(sizes < SMALLEST_STRATUM, _POOLED, found)
    return np.asarray(kept[place])


def threshold_for_worst_stratum(
    labels: ArrayLike,
    prob: ArrayLike,
    strata: Sequence[str],
    sensitivity: float,
    specificity: float,
    origin: str,
) -> Threshold:
    """Return the threshold whose worst stratum is furthest above its target, or least below it.

    Each stratum (such as one source's tumours in one sequence) has a share of scans on the right
    side: its sensitivity, compared with the target ``sensitivity``, or its specificity. The
    threshold maximises the smallest difference. A pooled threshold is that of the largest source,
    and may lose a small one altogether.

    Args:
        labels: 0 or 1, ``[N]``.
        prob: P(tumour), ``[N]``.
        strata: Names, ``[N]``; those of one class with fewer than 20 scans are pooled.
        sensitivity, specificity: Targets, 0..1.
        origin: Description for the card.

    Raises:
        DataError: A class is missing, or lengths differ.
    """
    y, p = np.asarray(labels), np.asarray(prob, dtype=np.float64)
    if not y.shape == p.shape == (len(strata),) or set(np.unique(y).tolist()) != {0, 1}:
        raise DataError(
            f"a threshold needs tumours and other scans; got {y.size} labels, {p.size} "
            f"probabilities and {len(strata)} strata"
        )
    ranked = np.unique(p)
    candidates = np.concatenate([[ranked[0] / 2], (ranked[1:] + ranked[:-1]) / 2])
    worst = np.full(len(candidates), np.inf)
    for positive, target in ((1, sensitivity), (0, specificity)):
        scores = p[y == positive]
        names = pooled_strata(
            [name for name, own in zip(strata, y, strict=True) if own == positive]
        )
        for name in np.unique(names):
            own = np.sort(scores[names == name])
            below = np.searchsorted(own, candidates, side="left") / len(own)
            right = 1 - below if positive else below
            worst = np.minimum(worst, right - target)
    # The middle of the widest run of equally good thresholds: furthest from either side's scans.
    best = np.flatnonzero(worst >= worst.max() - 1e-12)
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    widest = max(runs, key=lambda run: candidates[run[-1]] - candidates[run[0]])
    return Threshold(float(candidates[widest].mean()), sensitivity, origin, int(y.size))
