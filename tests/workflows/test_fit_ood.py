"""Which scans choose the threshold of a run's OOD detector, and which measure it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.drawn_data import drawn_records
from tumorlens.data.manifest import Record
from tumorlens.data.splits import Split
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.models.registry import build
from tumorlens.ood.detector import OodHead
from tumorlens.ood.fit import Scans
from tumorlens.training.decoding import Parts
from tumorlens.workflows import fit_ood
from tumorlens.workflows.fit_ood import fit_ood_detector

SPEC = PreprocessSpec(size=16)


def scans(name: str, sizes: Sequence[int], source: str = "s") -> list[Record]:
    """Records of groups of these sizes, named and grouped by ``name``."""
    first = 1000 * (1 + ord(name[0]))
    groups = [first + at for at, size in enumerate(sizes) for _ in range(size)]
    records = drawn_records([at % 2 for at in range(len(groups))], source=f"{source}-{name}")
    return [
        replace(record, group=group, source=source)
        for record, group in zip(records, groups, strict=True)
    ]


def parts_of(records: dict[str, list[Record]]) -> Parts:
    """Parts whose inputs are all of their record's group number."""
    inputs = {
        name: np.stack([np.full((1, 16, 16), own.group, np.float32) for own in members])
        for name, members in records.items()
    }
    split = Split("grouped", 0, (), (), (), (), "")
    return Parts(split, records, inputs, {})


class Fits:
    """Stands in for the fit: keeps what chooses the threshold, then what is measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: Scans | None = None
        self.measured: list[NDArray[np.float32]] = []
        monkeypatch.setattr(fit_ood, "fit_ood_head", self.fit)
        monkeypatch.setattr(fit_ood, "statistics_of", self.statistics)
        monkeypatch.setattr(fit_ood, "scores_of", lambda _, found: np.ones(len(found)))

    def fit(self, network: object, train: Scans, held: Scans, *_: object) -> OodHead:
        self.held = held
        return torch.nn.Identity()  # type: ignore[return-value]

    def statistics(self, network: object, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        self.measured.append(inputs)
        return inputs[:, 0, 0, :1]


def groups_of(inputs: NDArray[np.float32]) -> list[int]:
    return [int(value) for value in inputs[:, 0, 0, 0]]


def test_validation_chooses_the_threshold_and_calibration_measures_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits = Fits(monkeypatch)
    records = {name: scans(name, [30, 30]) for name in ("train", "validation", "calibration")}
    found = fit_ood_detector(build("evidence", width=8), parts_of(records), SPEC, 0)
    assert found is not None
    assert fits.held is not None
    assert groups_of(fits.held.inputs) == [own.group for own in records["validation"]]
    assert groups_of(fits.measured[0]) == [own.group for own in records["calibration"]]
    assert found[1].method.endswith("of training scans and the validation scans")
    assert found[1].checks[0].images == "calibration scans"


def test_without_validation_halves_of_calibration_do_both(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Fits(monkeypatch)
    held_out = [
        *scans("calibration", [40, 20, 20, 20, 6, 4]),
        *scans("zebra", [30, 30], source="other"),
    ]
    records = {"train": scans("train", [60]), "calibration": held_out}
    found = fit_ood_detector(build("evidence", width=8), parts_of(records), SPEC, 0)
    assert found is not None
    assert fits.held is not None
    for_threshold, measuring = groups_of(fits.held.inputs), groups_of(fits.measured[0])
    assert not set(for_threshold) & set(measuring)
    assert sorted(for_threshold + measuring) == sorted(int(own.group or 0) for own in held_out)
    # Alike in size, source by source.
    for source, whole in (("s", 110), ("other", 60)):
        own = {record.group for record in held_out if record.source == source}
        assert sum(group in own for group in for_threshold) == pytest.approx(whole / 2, abs=10)
    assert found[1].method.endswith(
        "of training scans and the calibration scans of one half of the groups"
    )
    assert [check.images for check in found[1].checks[:3]] == [
        "calibration scans of the other half of the groups",
        "calibration scans of the other half of the groups, of other",
        "calibration scans of the other half of the groups, of s",
    ]
    assert found[1].checks[0].n == len(measuring)


def test_too_few_scans_for_a_threshold_give_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Fits(monkeypatch)
    records = {"train": scans("train", [60]), "calibration": scans("calibration", [40, 40])}
    assert fit_ood_detector(build("evidence", width=8), parts_of(records), SPEC, 0) is None
    assert fits.held is None
