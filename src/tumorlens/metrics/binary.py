"""Metrics of a binary classifier with intervals from a grouped bootstrap.

Labels are 0 (healthy) or 1 (tumour), int ``[N]``; ``prob`` is P(tumour), float ``[N]`` in 0..1.
A metric that is undefined for the data (sensitivity without tumours, ROC-AUC with one class) is
``nan``. Weights count how often the bootstrap has drawn each scan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.intervals import Estimate, Floats, bootstrap

# Probabilities are clipped to this distance from 0 and 1 in the logarithm, as in scikit-learn.
_EPS = np.finfo(np.float64).eps


def metric_values(
    labels: ArrayLike, prob: ArrayLike, threshold: ArrayLike = 0.5
) -> dict[str, float]:
    """Return every metric by name, without intervals.

    Accuracy, balanced accuracy, sensitivity, specificity, precision, F1 and Matthews' correlation
    (Matthews, BBA 1975) at the threshold; ROC-AUC, where ties count one half (Mann–Whitney);
    average precision, ``sum (R_k - R_{k-1}) P_k`` over distinct scores; the Brier score (1950);
    and the mean negative log-likelihood in nats. Raises as `evaluate`.
    """
    y, p, limit = _checked(labels, prob, threshold)
    values = weighted_metrics(y, p, limit, np.ones((1, y.size)))
    return {name: float(value[0]) for name, value in values.items()}


def weighted_roc_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Floats:
    """Return the ROC-AUC ``[B]`` of scores ``[N]`` of any range, for scan weights ``[B, N]``.

    It is ``nan`` for a row of weights in which one class has no weight.
    """
    y, p = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    return _roc_auc(Ranking(y, p), np.asarray(weights, dtype=np.float64))


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

    Args:
        labels: 0 or 1, ``[N]``.
        prob: P(tumour), ``[N]``.
        groups: Any hashable ids ``[N]``; None resamples single scans.
        threshold: Scans of at least this probability are predicted positive; one number, or
            ``[N]`` where scans were predicted by models with different thresholds.
        n_boot: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        DataError: Empty or mismatched arrays, labels other than 0 and 1, probabilities
            outside 0..1.
    """
    y, p, limit = _checked(labels, prob, threshold)
    rows = np.arange(y.size) if groups is None else np.asarray(groups)
    if rows.shape != y.shape:
        raise DataError(f"{y.size} labels but {rows.size} group ids")
    return bootstrap(
        lambda weights: weighted_metrics(y, p, limit, weights), rows, n_boot=n_boot, seed=seed
    )


def _checked(
    labels: ArrayLike, prob: ArrayLike, threshold: ArrayLike
) -> tuple[NDArray[np.int64], Floats, Floats]:
    y, p = np.asarray(labels), np.asarray(prob, dtype=np.float64)
    if y.size == 0 or y.ndim != 1 or y.shape != p.shape:
        raise DataError(f"metrics need labels and probabilities [N]; got {y.shape} and {p.shape}")
    if not np.isin(y, (0, 1)).all():
        raise DataError("labels must be 0 (healthy) or 1 (tumour)")
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("probabilities must lie in 0..1 and not be NaN")
    limit = np.asarray(threshold, dtype=np.float64)
    if limit.shape not in ((), y.shape):
        raise DataError(f"{y.size} labels but {limit.size} thresholds")
    return y.astype(np.int64), p, limit


def weighted_metrics(
    y: NDArray[np.int64], p: Floats, threshold: ArrayLike, weights: Floats
) -> dict[str, Floats]:
    """Return name → values ``[B]`` for scan weights ``[B, N]``; does not check the arrays."""
    ranking = Ranking(y, p)
    total = weights.sum(axis=1)
    clipped = np.clip(p, _EPS, 1 - _EPS)
    return {
        **_confusion_metrics(y, p, threshold, weights),
        "roc_auc": _roc_auc(ranking, weights),
        "pr_auc": _pr_auc(ranking, weights),
        "brier": weights @ ((p - y) ** 2) / total,
        "nll": weights @ -np.where(y == 1, np.log(clipped), np.log1p(-clipped)) / total,
    }


def _confusion_metrics(
    y: NDArray[np.int64], p: Floats, threshold: ArrayLike, weights: Floats
) -> dict[str, Floats]:
    positive, truth = p >= np.asarray(threshold, dtype=np.float64), y == 1
    tp, fp = weights @ (positive & truth), weights @ (positive & ~truth)
    fn, tn = weights @ (~positive & truth), weights @ (~positive & ~truth)
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


class Ranking:
    """Scans in descending order of score, with the last index of each run of tied scores."""

    def __init__(self, y: NDArray[np.int64], p: Floats) -> None:
        self.order: NDArray[np.int64] = np.argsort(-p, kind="stable")
        self.ends = np.append(np.flatnonzero(np.diff(p[self.order])), p.size - 1)
        self.positive = (y[self.order] == 1).astype(np.float64)

    def cumulative_counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return true and false positives ``[B, K]`` with the threshold below each run of ties."""
        ordered = weights[:, self.order]
        tp = np.cumsum(ordered * self.positive, axis=1)[:, self.ends]
        fp = np.cumsum(ordered * (1 - self.positive), axis=1)[:, self.ends]
        return tp, fp


def _roc_auc(ranking: Ranking, weights: Floats) -> Floats:
    tp, fp = ranking.cumulative_counts(weights)
    before = np.concatenate([np.zeros((len(tp), 1)), tp[:, :-1]], axis=1)
    widths = np.diff(fp, axis=1, prepend=0)
    area = (widths * (before + tp) / 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(area / (tp[:, -1] * fp[:, -1]))


def _pr_auc(ranking: Ranking, weights: Floats) -> Floats:
    tp, fp = ranking.cumulative_counts(weights)
    new_tp = np.diff(tp, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(tp + fp > 0, tp / (tp + fp), 0)
        return np.asarray((new_tp * precision).sum(axis=1) / tp[:, -1])
