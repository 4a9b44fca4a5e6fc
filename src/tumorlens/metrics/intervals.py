"""Estimates with 95 % intervals: the grouped bootstrap and Wilson's interval.

Scans of one group (near-duplicates, slices of one patient) are not independent; intervals that
assume they are would be too narrow. Whole groups are therefore resampled with replacement (Efron &
Tibshirani 1993, ch. 8); `scipy.stats.bootstrap` resamples single scans only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_Z = 1.959964  # 97.5 % of the standard normal
_MAX_WEIGHTS = 4_000_000  # in one chunk of resamples: about 30 MB


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval over ``n`` scans; ``nan`` where it is not defined."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the four fields, JSON-ready; an undefined value is None."""
        return {key: number if math.isfinite(number) else None
                for key, number in asdict(self).items()}  # fmt: skip

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"


UNDEFINED = Estimate(math.nan, math.nan, math.nan, 0)
"""The estimate over no scans."""


def to_dicts(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | int | None]]:
    """Return name → the four fields, JSON-ready."""
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def bootstrap(
    statistics: Callable[[Floats], Mapping[str, Floats]],
    groups: ArrayLike,
    *,
    n_boot: int,
    seed: int,
    interval: Callable[[float, Floats], tuple[float, float]] | None = None,
) -> dict[str, Estimate]:
    """Return each statistic with its 95 % interval over resamples of whole groups.

    Args:
        statistics: Takes weights float64 ``[B, N]``, how often each scan counts, and returns
            name → values ``[B]``.
        groups: Ids ``[N]``.
        n_boot: Number of resamples; those in which a statistic is undefined are left out of its
            interval.
        seed: Seed of the resampling.
        interval: Maps a value and its resamples ``[B]`` to an interval; `percentiles` by default.
    """
    n = np.size(groups)
    whole = statistics(np.ones((1, n)))
    parts = [statistics(weights) for weights in resample_weights(groups, n_boot, seed)]
    estimates = {}
    for name, (value,) in whole.items():
        resampled = np.concatenate([part[name] for part in parts])
        resampled = resampled[np.isfinite(resampled)]
        low = high = math.nan
        if math.isfinite(value) and resampled.size:
            low, high = (interval or percentiles)(float(value), resampled)
        estimates[name] = Estimate(float(value), low, high, n)
    return estimates


def resample_weights(groups: ArrayLike, n_boot: int, seed: int) -> Iterator[Floats]:
    """Yield how often each of N scans is drawn, float64 ``[B, N]``, in chunks of resamples."""
    ids, member = np.unique(np.asarray(groups), return_inverse=True)
    rng, shares = np.random.default_rng(seed), np.full(ids.size, 1 / ids.size)
    chunk = max(1, _MAX_WEIGHTS // member.size)
    for start in range(0, n_boot, chunk):
        counts = rng.multinomial(ids.size, shares, size=min(chunk, n_boot - start))
        yield counts[:, member].astype(np.float64)


def percentiles(value: float, resampled: Floats) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile of the resamples."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    return float(low), float(high)


def wilson_interval(share: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """Return Wilson's 95 % interval (JASA 22 (1927) 209) of shares ``[K]`` of ``n`` scans each.

    Its width is never 0, not even for a share of 0 or 1.
    """
    p, count = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    middle = (p + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * np.sqrt(p * (1 - p) / count + _Z**2 / (4 * count**2))
    return np.clip(middle - half, 0, p), np.clip(middle + half, p, 1)
