"""A temperature from out-of-fold predictions, measured on folds it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.calibration import fit_temperature, sigmoid
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions, ece_estimate

# Probabilities of exactly 0 or 1 are rounded logits of about 37.
_SMALLEST = 1e-16


@dataclass(frozen=True)
class OutOfFold:
    """What out-of-fold predictions say of a recipe's calibration.

    Attributes:
        temperature: Fitted on every fold's logits: the one for a network trained on all scans.
        by_fold: Each fold's, fitted on the other folds of its repeat.
        predictions: Each fold's predictions at its own of ``by_fold``, never fitted on it; the
            threshold is the 0.5 of a calibrated probability, since the folds' own are on another
            scale.
        ece: Of ``predictions`` by bins of equal width, all folds and repeats pooled.
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
        folds: Out-of-fold predictions by ``r0/f0`` (repeat, fold), as `crossvalidate` leaves them.
            No scan stands in two folds of a repeat, so what is measured was not fitted on.
        fitted: The temperature each fold's probabilities were made with, which takes them back to
            raw logits; None takes 1, and the result is then a correction on top of theirs.
        seed: Of the bootstrap.

    Raises:
        DataError: A repeat has one fold only, ``fitted`` misses a fold, or a class is missing.
    """
    if fitted is not None and (missing := sorted(set(folds) - set(fitted))):
        raise DataError(f"no temperature is given for the folds {', '.join(missing)}")
    logits = {name: _logit(table.prob) * (fitted or {}).get(name, 1.0)
              for name, table in folds.items()}  # fmt: skip
    by_fold, predictions = {}, {}
    for name, table in folds.items():
        repeat = name.partition("/")[0]
        others = [each for each in folds if each != name and each.partition("/")[0] == repeat]
        if not others:
            raise DataError(f"fold {name} is alone in its repeat; nothing is left to fit on")
        by_fold[name] = _fit(folds, logits, others)
        predictions[name] = replace(
            table,
            prob=sigmoid(logits[name] / by_fold[name]),
            threshold=np.full(len(table), 0.5),
        )
    tables = list(predictions.values())
    ece = ece_estimate(
        np.concatenate([table.labels for table in tables]),
        np.concatenate([table.prob for table in tables]),
        "width",
        groups=np.concatenate([table.groups for table in tables]),
        seed=seed,
    )
    return OutOfFold(_fit(folds, logits, list(folds)), by_fold, predictions, ece)


def _fit(
    folds: Mapping[str, Predictions], logits: Mapping[str, NDArray[np.float64]], names: list[str]
) -> float:
    return fit_temperature(
        np.concatenate([logits[name] for name in names]),
        np.concatenate([folds[name].labels for name in names]),
    )


def _logit(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(prob, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))
