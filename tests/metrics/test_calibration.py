"""Temperature, ECE and reliability against known values."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tumorlens
from tumorlens.errors import DataError
from tumorlens.metrics.binary import metric_values
from tumorlens.metrics.calibration import (
    Scheme,
    calibrated_logit,
    ece,
    fit_temperature,
    probability,
    reliability,
    sigmoid,
)


@pytest.mark.parametrize(
    ("logit", "prob"),
    [(0, 0.5), (math.log(3), 0.75), (-math.log(3), 0.25), (800, 1.0), (-800, 0.0)],
)
def test_sigmoid(logit: float, prob: float) -> None:
    assert sigmoid(logit) == pytest.approx(prob, abs=1e-15)


def calibrated(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return logits, and labels drawn with exactly their probability."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal(n)
    return logits, (rng.random(n) < sigmoid(logits)).astype(np.int64)


@pytest.mark.parametrize("factor", [1 / 3, 1.0, 3.0, 10.0])
def test_temperature_recovers_the_scale_of_the_logits(factor: float) -> None:
    logits, labels = calibrated(20_000, 0)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.05)


def test_temperature_is_the_minimum_of_the_nll() -> None:
    logits, labels = calibrated(300, 1)
    best = fit_temperature(4 * logits, labels)
    at = [
        metric_values(labels, sigmoid(4 * logits / (best * change)))["nll"]
        for change in (0.98, 1.0, 1.02)
    ]
    assert at[1] < at[0]
    assert at[1] < at[2]


@pytest.mark.parametrize(
    ("logits", "labels", "temperature"),
    [([-2.0, 2.0], [0, 1], 0.02), ([-2.0, 2.0], [1, 0], 50.0)],
    ids=["separable", "always wrong"],
)
def test_temperature_stays_in_its_bounds(
    logits: list[float], labels: list[int], temperature: float
) -> None:
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=1e-6)


@pytest.mark.parametrize(("logits", "labels"), [([], []), ([1.0, 2.0], [1, 1]), ([1.0], [0, 1])])
def test_temperature_needs_both_classes(logits: list[float], labels: list[int]) -> None:
    with pytest.raises(DataError, match="temperature"):
        fit_temperature(logits, labels)


@pytest.mark.parametrize(
    ("labels", "prob", "bins", "scheme", "error"),
    [
        # One bin each: |1/2 - 0.6| of all.
        ([1, 0], [0.7, 0.5], 1, "width", 0.1),
        # Two halves: 2/4 |0 - 0.2| + 2/4 |1/2 - 0.9|.
        ([0, 0, 1, 0], [0.1, 0.3, 0.8, 1.0], 2, "width", 0.5 * 0.2 + 0.5 * 0.4),
        # The same four in two equally full bins, then with an uneven spread.
        ([0, 0, 1, 0], [0.1, 0.3, 0.8, 1.0], 2, "mass", 0.5 * 0.2 + 0.5 * 0.4),
        ([0, 1, 0, 1], [0.6, 0.7, 0.8, 0.9], 2, "mass", 0.5 * 0.15 + 0.5 * 0.35),
        ([0, 1, 0, 1], [0.6, 0.7, 0.8, 0.9], 2, "width", 0.25),
        ([1, 0, 1], [1.0, 0.0, 1.0], 15, "width", 0.0),
        ([0, 1, 0], [1.0, 0.0, 1.0], 15, "mass", 1.0),
    ],
)  # fmt: skip
def test_ece_matches_hand_computed_values(
    labels: list[int], prob: list[float], bins: int, scheme: Scheme, error: float
) -> None:
    assert ece(labels, prob, bins, scheme) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("scheme", ["width", "mass"])
def test_ece_is_small_when_calibrated_and_large_when_not(scheme: Scheme) -> None:
    logits, labels = calibrated(50_000, 2)
    assert ece(labels, sigmoid(logits), scheme=scheme) < 0.01
    assert ece(labels, sigmoid(4 * logits), scheme=scheme) > 0.08


def test_reliability_matches_hand_computed_values() -> None:
    diagram = reliability([0, 1, 1, 1], [0.05, 0.15, 0.95, 1.0], bins=10)
    np.testing.assert_allclose(diagram.confidence, [0.05, 0.15, 0.975])
    np.testing.assert_allclose(diagram.frequency, [0, 1, 1])
    assert diagram.count.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("labels", "prob", "bins", "scheme"),
    [([], [], 5, "width"), ([1], [0.5, 0.5], 5, "width"), ([1], [1.5], 5, "mass"),
     ([1], [0.5], 0, "mass"), ([1], [0.5], 5, "depth")],
)  # fmt: skip
def test_reliability_rejects_invalid_input(
    labels: list[int], prob: list[float], bins: int, scheme: Scheme
) -> None:
    with pytest.raises(DataError):
        reliability(labels, prob, bins, scheme)


def test_temperature_and_bias_are_applied_as_the_card_says() -> None:
    logits = [-3.0, 0.0, 2.0]
    wanted = 1 / (1 + np.exp(-(np.array(logits) / 0.5 + 0.7)))
    np.testing.assert_allclose(probability(logits, 0.5, 0.7), wanted, rtol=1e-12)
    in_float32 = calibrated_logit(np.array(logits, dtype=np.float32), 0.5, 0.7)
    assert in_float32.dtype == np.float32
    np.testing.assert_allclose(sigmoid(in_float32), wanted, rtol=1e-6)


def test_no_other_module_applies_a_temperature() -> None:
    package = Path(tumorlens.__file__).parent
    applied = re.compile(r"/ *(\w+\.)*_?temperature\b|\btemperature\) *\* ")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(applied.search(line) for line in _code_lines(path))
    }
    assert found == {"metrics/calibration.py"}


def _code_lines(path: Path) -> list[str]:
    """Return the lines of a module without its docstrings, strings and comments."""
    source = re.sub(r'"""[\s\S]*?"""', "", path.read_text("utf-8"))
    return [re.sub(r'"[^"]*"', "", line).partition("#")[0] for line in source.splitlines()]
