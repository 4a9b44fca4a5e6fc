"""Out-of-fold temperature, evaluated on folds it was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.metrics.calibration import fit_temperature, sigmoid
from tumorlens.metrics.out_of_fold import out_of_fold_temperature
from tumorlens.metrics.summary import Predictions


def fold(rng: np.random.Generator, n: int, factor: float, fitted: float) -> Predictions:
    """Return answers whose true logits were scaled by ``factor`` and divided by ``fitted``."""
    logits = 2 * rng.standard_normal(n)
    labels = (rng.random(n) < sigmoid(logits)).astype(np.int64)
    return Predictions(
        keys=tuple(f"{n}-{i}" for i in range(n)),
        labels=labels,
        prob=sigmoid(logits * factor / fitted),
        threshold=np.full(n, 0.7),
        groups=np.arange(n),
        sources=("drawn",) * n,
        views=(None,) * n,
    )


def test_temperature_three_is_recovered_and_the_ece_falls() -> None:
    rng = np.random.default_rng(0)
    folds = {f"r0/f{k}": fold(rng, 3000, 3.0, 1.0) for k in range(5)}
    found = out_of_fold_temperature(folds)
    assert found.temperature == pytest.approx(3, rel=0.05)
    assert all(value == pytest.approx(3, rel=0.05) for value in found.by_fold.values())
    assert found.ece.value < 0.01
    assert found.ece.n == 15_000
    assert (found.predictions["r0/f0"].threshold == 0.5).all()


def test_each_fold_uses_the_temperature_of_the_other_folds() -> None:
    rng = np.random.default_rng(1)
    folds = {"r0/f0": fold(rng, 4000, 1.0, 1.0), "r0/f1": fold(rng, 4000, 4.0, 1.0),
             "r1/f0": fold(rng, 4000, 2.0, 1.0), "r1/f1": fold(rng, 4000, 2.0, 1.0)}  # fmt: skip
    found = out_of_fold_temperature(folds)
    assert found.by_fold["r0/f0"] == pytest.approx(4, rel=0.05)
    assert found.by_fold["r0/f1"] == pytest.approx(1, rel=0.05)
    assert found.by_fold["r1/f0"] == pytest.approx(2, rel=0.05)
    assert found.ece.value > 0.05


def test_raw_logits_are_recovered_from_each_folds_temperature() -> None:
    rng = np.random.default_rng(2)
    fitted = {"r0/f0": 0.5, "r0/f1": 3.0}
    folds = {name: fold(rng, 500, 3.0, value) for name, value in fitted.items()}
    found = out_of_fold_temperature(folds, fitted)
    logits = np.concatenate([np.log(t.prob / (1 - t.prob)) * fitted[n] for n, t in folds.items()])
    labels = np.concatenate([t.labels for t in folds.values()])
    assert found.temperature == pytest.approx(fit_temperature(logits, labels), rel=1e-6)


def test_a_single_fold_or_a_missing_temperature_is_rejected() -> None:
    one = fold(np.random.default_rng(3), 50, 1.0, 1.0)
    with pytest.raises(DataError, match="only one of its repeat"):
        out_of_fold_temperature({"r0/f0": one, "r1/f0": one})
    with pytest.raises(DataError, match="no temperature for the folds r0/f1"):
        out_of_fold_temperature({"r0/f0": one, "r0/f1": one}, {"r0/f0": 1.0})
