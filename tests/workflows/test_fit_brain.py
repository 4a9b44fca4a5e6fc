"""Which slices fit a run's brain detector, which choose its threshold, and which measure it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.drawn_data import drawn_records
from tumorlens.data.manifest import Record
from tumorlens.data.splits import Split
from tumorlens.models.registry import build
from tumorlens.ood.brain import BrainHead
from tumorlens.training.decoding import Parts
from tumorlens.workflows import fit_brain
from tumorlens.workflows.fit_brain import fit_brain_detector, has_enough_brain

ENOUGH, LITTLE, UNKNOWN, TUMOUR = 1.0, 2.0, 3.0, 4.0
_KNOWN = {ENOUGH: True, LITTLE: False, UNKNOWN: None, TUMOUR: None}


def records(first: int, *kinds: tuple[float, int]) -> list[Record]:
    made = drawn_records([int(kind == TUMOUR) for kind, count in kinds for _ in range(count)])
    levels = [kind for kind, count in kinds for _ in range(count)]
    return [
        replace(each, enough_brain=_KNOWN[kind], view="axial", group=first + at,
                patient=str(kind))
        for at, (each, kind) in enumerate(zip(made, levels, strict=True))
    ]  # fmt: skip


def parts_of(**members: list[Record]) -> Parts:
    """Parts whose inputs are all of their record's kind."""
    inputs = {
        name: np.stack([np.full((1, 16, 16), float(each.patient or 0), np.float32) for each in own])
        for name, own in members.items()
    }
    return Parts(Split("grouped", 0, (), (), (), (), ""), dict(members), inputs, {})


class Fits:
    """Stands in for the fit: keeps what it gets, and sets aside whatever is LITTLE or TUMOUR."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[Any] = []
        monkeypatch.setattr(fit_brain, "fit_brain_head", self.fit)
        monkeypatch.setattr(fit_brain, "statistics_of", lambda _, inputs: inputs[:, 0, 0, :1])
        monkeypatch.setattr(fit_brain, "brain_scores", self.scores)

    def fit(self, *given: Any) -> BrainHead:
        self.given = list(given)
        return BrainHead(1)

    def scores(self, _: object, statistics: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.where(np.isin(statistics[:, 0], [LITTLE, TUMOUR]), -1.0, 1.0)


def test_what_is_known_fits_it_and_the_test_measures_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Fits(monkeypatch)
    kinds = ((ENOUGH, 25), (LITTLE, 22), (UNKNOWN, 7), (TUMOUR, 5))
    parts = parts_of(
        train=records(0, *kinds),
        validation=records(1000, (ENOUGH, 21), (LITTLE, 3), (UNKNOWN, 2)),
        calibration=records(2000, (ENOUGH, 40)),
        test=records(3000, (ENOUGH, 9), (LITTLE, 4), (UNKNOWN, 6), (TUMOUR, 8)),
    )
    found = fit_brain_detector(build("evidence", width=8), parts, 5)
    assert found is not None
    statistics, enough, weights, placing, seed = fits.given
    # Tumours count as enough brain; what is not known fits nothing.
    assert statistics[:, 0].tolist() == [ENOUGH] * 25 + [LITTLE] * 22 + [TUMOUR] * 5
    assert enough.tolist() == [True] * 25 + [False] * 22 + [True] * 5
    # One source and view: thirty slices with enough brain, twenty-two without.
    assert weights.tolist() == pytest.approx([30**-0.5] * 25 + [22**-0.5] * 22 + [30**-0.5] * 5)
    assert placing[:, 0].tolist() == [ENOUGH] * 21
    assert seed == 5
    detector = found[1]
    assert (detector.n_enough, detector.n_too_little) == (30, 22)
    told = [(check.images, check.mri, check.refused, check.n) for check in detector.checks]
    assert told == [
        ("test slices with a tumour", True, 1.0, 8),
        ("other test slices with enough brain", True, 0.0, 9),
        ("test slices with too little brain", False, 1.0, 4),
    ]


def test_without_a_test_the_calibration_part_measures_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Fits(monkeypatch)
    kinds = ((ENOUGH, 20), (LITTLE, 20))
    parts = parts_of(train=records(0, *kinds), validation=records(1000, *kinds),
                     calibration=records(2000, (LITTLE, 4)))  # fmt: skip
    found = fit_brain_detector(build("evidence", width=8), parts, 0)
    assert found is not None
    assert [check.images for check in found[1].checks] == [
        "calibration slices with too little brain"
    ]


@pytest.mark.parametrize(
    ("architecture", "train", "held_out"),
    [
        ("evidence", ((ENOUGH, 19), (LITTLE, 30)), ((ENOUGH, 30),)),
        ("evidence", ((ENOUGH, 30), (LITTLE, 19)), ((ENOUGH, 30),)),
        ("evidence", ((ENOUGH, 30), (LITTLE, 30)), ((ENOUGH, 19), (UNKNOWN, 9))),
        ("cnn", ((ENOUGH, 30), (LITTLE, 30)), ((ENOUGH, 30),)),
    ],
)
def test_too_few_slices_or_no_features_give_none(
    architecture: str, train: Any, held_out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = Fits(monkeypatch)
    parts = parts_of(train=records(0, *train), validation=records(1000, *held_out))
    arguments = {"width": 8} if architecture == "evidence" else {"widths": [4]}
    assert fit_brain_detector(build(architecture, **arguments), parts, 0) is None
    assert fits.given == []


def test_data_without_whole_heads_give_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Fits(monkeypatch)
    parts = parts_of(train=records(0, (UNKNOWN, 30)), calibration=records(1000, (UNKNOWN, 30)))
    assert fit_brain_detector(build("evidence", width=8), parts, 0) is None
    assert fits.given == []


def test_a_tumour_is_enough_brain_whatever_is_stated() -> None:
    tumour, healthy = drawn_records([1, 0])
    assert has_enough_brain(tumour) is True
    assert has_enough_brain(healthy) is None
    assert has_enough_brain(replace(healthy, enough_brain=False)) is False
