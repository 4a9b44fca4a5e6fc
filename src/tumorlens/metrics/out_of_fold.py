"""Temperature from out-of-fold predictions, evaluated on folds it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.calibration import fit_temperature, probability
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions, ece_estimate

# Probabilities are clipped to this distance from 0 and 1: logits of about ±37.
_EPS = 1e-16


@dataclass(frozen=True)
class OutOfFold:
    """A training recipe's calibration, estimated from out-of-fold predictions.

    Attributes:
        temperature: Fitted on every fold's logits: the one for a network trained on all scans.
        by_fold: Fold → temperature, fitted on the other folds of its repeat.
        predictions: Fold → predictions calibrated with its entry of ``by_fold``. The threshold is
            0.5, since the folds' thresholds refer to differently scaled probabilities.
        ece: ECE (bins of equal width) of ``predictions``, all folds and repeats pooled.
    """

    temperature: float
    by_fold: dict[str, float]
    predictions: dict[str, Predictions]
    ece: Estimate


def out_of_fold_temperature(
    folds: Mapping[str, Predictions], fitted: Mapping[str, float] | None = None, *, seed: int = 0
) -> OutOfFold:
    """Fit a temperature on out-of-fold logits, leaving each fold out in turn to measure it.

    Args:
        folds: Out-of-fold predictions by ``r0/f0`` (repeat, fold), as `crossvalidate` writes them.
            No scan is in two folds of a repeat.
        fitted: The temperature of each fold's probabilities, to recover the raw logits; None
            assumes 1, and the result then corrects the folds' own temperatures.
        seed: Seed of the bootstrap.

    Raises:
        DataError: A repeat has one fold only, ``fitted`` misses a fold, or a class is missing.
    """
    if fitted is not None and (missing := sorted(set(folds) - set(fitted))):
        raise DataError(
            f"no temperature for the folds {', '.join(missing)}; give one for each fold"
        )
    logits = {name: _logit(table.prob) * (fitted or {}).get(name, 1.0)
              for name, table in folds.items()}  # fmt: skip
    by_fold, predictions = {}, {}
    for name, table in folds.items():
        repeat = name.partition("/")[0]
        others = [each for each in folds if each != name and each.partition("/")[0] == repeat]
        if not others:
            raise DataError(
                f"fold {name} is the only one of its repeat; temperatures need at least two"
            )
        by_fold[name] = _fit(folds, logits, others)
        predictions[name] = replace(
            table,
            prob=probability(logits[name], by_fold[name], 0.0),
            threshold=np.full(len(table), 0.5),
        )
    labels, prob, groups = (
        np.concatenate([getattr(table, column) for table in predictions.values()])
        for column in ("labels", "prob", "groups")
    )
    ece = ece_estimate(labels, prob, "width", groups=groups, seed=seed)
    return OutOfFold(_fit(folds, logits, list(folds)), by_fold, predictions, ece)


def _fit(
    folds: Mapping[str, Predictions], logits: Mapping[str, NDArray[np.float64]], names: list[str]
) -> float:
    return fit_temperature(
        np.concatenate([logits[name] for name in names]),
        np.concatenate([folds[name].labels for name in names]),
    )


def _logit(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(prob, _EPS, 1 - _EPS)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
