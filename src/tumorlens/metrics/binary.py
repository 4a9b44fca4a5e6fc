"""Every metric once, and its interval by a grouped bootstrap.

Labels are 0 (healthy) or 1 (tumour), int ``[N]``; ``prob`` is P(tumour), float ``[N]`` in 0..1.
A metric that the data cannot define (sensitivity without tumours, ROC-AUC with one class)
is ``nan``, never a guess. All take an optional weight per scan, which is how the bootstrap
counts a scan drawn several times.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError

Floats = NDArray[np.float64]
# Probabilities are kept this far from 0 and 1 in the logarithm, as scikit-learn does.
_EPS = np.finfo(np.float64).eps


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval over ``n`` scans."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int]:
        """Return the four fields."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"


def accuracy(labels: ArrayLike, prob: ArrayLike, threshold: float = 0.5) -> float:
    """Return (TP + TN) / n."""
    return _at_threshold("accuracy", labels, prob, threshold)


def balanced_accuracy(labels: ArrayLike, prob: ArrayLike, threshold: float = 0.5) -> float:
    """Return the mean of sensitivity and specificity."""
    return _at_threshold("balanced_accuracy", labels, prob, threshold)


def sensitivity(labels: ArrayLike, prob: ArrayLike, threshold: float = 0.5) -> float:
    """Return TP / (TP + FN), also called recall."""
    return _at_threshold("sensitivity", labels, prob, threshold)


def specificity(labels: ArrayLike, prob: ArrayLike, threshold: float = 0.5) -> float:
    """Return TN / (TN + FP)."""
    return _at_threshold("specificity", labels, prob, threshold)


def precision(labels: ArrayLike, prob: ArrayLike, threshold: float = 0.5) -> float:
    """Return TP / (TP + FP)."""
    return _at_threshold("precision", labels, prob, threshold)


def f1(labels: ArrayLike, prob: ArrayLike, threshold: float = 0.5) -> float:
    """Return 2 TP / (2 TP + FP + FN)."""
    return _at_threshold("f1", labels, prob, threshold)


def mcc(labels: ArrayLike, prob: ArrayLike, threshold: float = 0.5) -> float:
    """Return Matthews' correlation coefficient, -1..1 (Matthews, BBA 1975)."""
    return _at_threshold("mcc", labels, prob, threshold)


def roc_auc(labels: ArrayLike, prob: ArrayLike) -> float:
    """Return the area under the ROC curve; ties count one half (Mann–Whitney)."""
    y, p = _checked(labels, prob)
    return float(_roc_auc(_Ranking(y, p), np.ones((1, y.size)))[0])


def weighted_roc_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Floats:
    """Return the ROC-AUC ``[B]`` of scores ``[N]`` of any range, for scan weights ``[B, N]``.

    It is ``nan`` for a row of weights that leaves one class without weight.
    """
    y, p = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    return _roc_auc(_Ranking(y, p), np.asarray(weights, dtype=np.float64))


def pr_auc(labels: ArrayLike, prob: ArrayLike) -> float:
    """Return average precision, ``sum (R_k - R_{k-1}) P_k`` over distinct scores."""
    y, p = _checked(labels, prob)
    return float(_pr_auc(_Ranking(y, p), np.ones((1, y.size)))[0])


def brier(labels: ArrayLike, prob: ArrayLike) -> float:
    """Return the mean squared error of P(tumour) (Brier, 1950)."""
    y, p = _checked(labels, prob)
    return float(np.mean((p - y) ** 2))


def nll(labels: ArrayLike, prob: ArrayLike) -> float:
    """Return the mean negative log-likelihood in nats."""
    y, p = _checked(labels, prob)
    return float(np.mean(_log_losses(y, p)))


def evaluate(
    labels: ArrayLike,
    prob: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    threshold: ArrayLike = 0.5,
    n_boot: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return every metric with its 95 % percentile interval from a grouped bootstrap.

    Whole groups are drawn with replacement (Efron & Tibshirani 1993, ch. 8), because scans
    of one group are not independent: drawing scans would make intervals too narrow. A resample in
    which a metric is undefined is left out of that metric's interval.

    Args:
        labels: 0 or 1, ``[N]``.
        prob: P(tumour), ``[N]``.
        groups: Any hashable ids ``[N]``; None takes each scan for itself.
        threshold: From this probability on a scan is called a tumour; one number, or ``[N]`` where
            the scans were answered by models with thresholds of their own.
        n_boot: Resamples.
        seed: Of the resampling.

    Raises:
        DataError: Empty or ill-matched arrays, labels other than 0 and 1, probabilities
            outside 0..1.
    """
    y, p = _checked(labels, prob)
    rows = np.arange(y.size) if groups is None else np.asarray(groups)
    if rows.shape != y.shape:
        raise DataError(f"{y.size} labels but {rows.size} group ids")
    limit = np.asarray(threshold, dtype=np.float64)
    if limit.shape not in ((), y.shape):
        raise DataError(f"{y.size} labels but {limit.size} thresholds")
    names, member = np.unique(rows, return_inverse=True)
    rng = np.random.default_rng(seed)
    single = all_metrics(y, p, limit, np.ones((1, y.size)))
    drawn: dict[str, list[Floats]] = {name: [] for name in single}
    # In chunks, so that 2000 resamples of many scans stay within some tens of megabytes.
    chunk = max(1, min(n_boot, 4_000_000 // y.size))
    for start in range(0, n_boot, chunk):
        size = min(chunk, n_boot - start)
        counts = rng.multinomial(names.size, np.full(names.size, 1 / names.size), size=size)
        for name, values in all_metrics(y, p, limit, counts[:, member].astype(float)).items():
            drawn[name].append(values)
    return {
        name: estimate_from(float(value[0]), np.concatenate(drawn[name]), y.size)
        for name, value in single.items()
    }


def estimate_from(value: float, resampled: Floats, n: int) -> Estimate:
    """Return a value with the 95 % percentile interval of its resamples ``[B]``, nan left out."""
    defined = resampled[np.isfinite(resampled)]
    if not math.isfinite(value) or defined.size == 0:
        return Estimate(value, math.nan, math.nan, n)
    low, high = np.quantile(defined, (0.025, 0.975))
    return Estimate(value, float(low), float(high), n)


def _checked(labels: ArrayLike, prob: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    y, p = np.asarray(labels), np.asarray(prob, dtype=np.float64)
    if y.size == 0 or y.ndim != 1 or y.shape != p.shape:
        raise DataError(f"metrics need labels and probabilities [N]; got {y.shape} and {p.shape}")
    if not np.isin(y, (0, 1)).all():
        raise DataError("labels must be 0 (healthy) or 1 (tumour)")
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("probabilities must lie in 0..1 and not be NaN")
    return y.astype(np.int64), p


def _at_threshold(name: str, labels: ArrayLike, prob: ArrayLike, threshold: float) -> float:
    y, p = _checked(labels, prob)
    return float(_confusion_metrics(y, p, threshold, np.ones((1, y.size)))[name][0])


def all_metrics(
    y: NDArray[np.int64], p: Floats, threshold: ArrayLike, weights: Floats
) -> dict[str, Floats]:
    """Return name → values ``[B]`` for scan weights ``[B, N]``; the arrays are taken as checked."""
    ranking = _Ranking(y, p)
    total = weights.sum(axis=1)
    return {
        **_confusion_metrics(y, p, threshold, weights),
        "roc_auc": _roc_auc(ranking, weights),
        "pr_auc": _pr_auc(ranking, weights),
        "brier": weights @ ((p - y) ** 2) / total,
        "nll": weights @ _log_losses(y, p) / total,
    }


def _log_losses(y: NDArray[np.int64], p: Floats) -> Floats:
    clipped = np.clip(p, _EPS, 1 - _EPS)
    return np.asarray(-np.where(y == 1, np.log(clipped), np.log1p(-clipped)))


def _confusion_metrics(
    y: NDArray[np.int64], p: Floats, threshold: ArrayLike, weights: Floats
) -> dict[str, Floats]:
    called, truth = p >= np.asarray(threshold, dtype=np.float64), y == 1
    tp, fp = weights @ (called & truth), weights @ (called & ~truth)
    fn, tn = weights @ (~called & truth), weights @ (~called & ~truth)
    with np.errstate(invalid="ignore", divide="ignore"):
        sens, spec = tp / (tp + fn), tn / (tn + fp)
        root = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
        return {
            "accuracy": (tp + tn) / (tp + tn + fp + fn),
            "balanced_accuracy": (sens + spec) / 2,
            "sensitivity": sens,
            "specificity": spec,
            "precision": tp / (tp + fp),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "mcc": (tp * tn - fp * fn) / root,
        }


class _Ranking:
    """Scans in falling order of score, with the last index of each run of equal scores."""

    def __init__(self, y: NDArray[np.int64], p: Floats) -> None:
        self.order: NDArray[np.int64] = np.argsort(-p, kind="stable")
        falling = p[self.order]
        self.ends = np.append(np.flatnonzero(np.diff(falling)), p.size - 1)
        self.positive = (y[self.order] == 1).astype(np.float64)

    def cumulated(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return true and false positives ``[B, K]`` when everything up to each run is called."""
        ordered = weights[:, self.order]
        tp = np.cumsum(ordered * self.positive, axis=1)[:, self.ends]
        fp = np.cumsum(ordered * (1 - self.positive), axis=1)[:, self.ends]
        return tp, fp


def _roc_auc(ranking: _Ranking, weights: Floats) -> Floats:
    tp, fp = ranking.cumulated(weights)
    before = np.concatenate([np.zeros((len(tp), 1)), tp[:, :-1]], axis=1)
    widths = np.diff(fp, axis=1, prepend=0)
    area = (widths * (before + tp) / 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(area / (tp[:, -1] * fp[:, -1]))


def _pr_auc(ranking: _Ranking, weights: Floats) -> Floats:
    tp, fp = ranking.cumulated(weights)
    gained = np.diff(tp, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        at = np.where(tp + fp > 0, tp / (tp + fp), 0)
        return np.asarray((gained * at).sum(axis=1) / tp[:, -1])
