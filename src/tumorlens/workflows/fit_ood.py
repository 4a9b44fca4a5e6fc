"""Fit the OOD detector of a run, measure it on other scans, and describe it for the card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import ArrayLike, NDArray
from torch import nn

from tumorlens.data.manifest import Record, group_numbers
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.imaging.skull_strip import stripped_inputs
from tumorlens.metrics.shares import share_estimate
from tumorlens.modelfile import OodCheck, OodDetector
from tumorlens.ood.detector import OodHead
from tumorlens.ood.fit import (
    MAX_POSITIVES,
    MAX_REFUSED_SHARE,
    MIN_SCANS,
    N_SYNTHETIC_NEGATIVES,
    Scans,
    fit_ood_head,
    has_features,
    scores_of,
    statistics_of,
)
from tumorlens.ood.sampling import Inputs, synthetic_negatives
from tumorlens.training.decoding import Parts

log = structlog.get_logger(__name__)

_N_TEST_NEGATIVES = 200
_METHOD = (
    "distance of the channels' means and deviations from those of training scans, whitened by "
    "blocks of stages, and a small classifier of the same against synthetic images, the mean "
    f"over the members; the threshold refuses at most {MAX_REFUSED_SHARE:.2%} of training scans "
    "and the "
)


@dataclass(frozen=True)
class _HeldOut:
    """Scans outside the training part, under a name; inputs ``[N, C, S, S]``."""

    name: str
    records: Sequence[Record]
    inputs: Inputs


def fit_ood_detector(
    network: nn.Module, parts: Parts, spec: PreprocessSpec, seed: int
) -> tuple[OodHead, OodDetector] | None:
    """Fit an OOD head to a trained network and measure it; takes minutes per member on one core.

    It is fitted to the training part and to real images excluded because they are not MRI. The
    threshold is chosen on training and validation scans. Calibration scans and synthetic images of
    another seed measure it. If the training used the validation part, or there is none, one half
    of the calibration groups chooses the threshold and the other half measures.

    Returns:
        The head and its description for the card. None, with a warning, for a network without
        feature outputs, or with fewer than 50 scans to fit or to choose the threshold.
    """
    for_threshold, test = (_with_brain(each) for each in _held_out(parts))
    sizes = {"train": len(parts.inputs["train"]), for_threshold.name: len(for_threshold.inputs)}
    if not has_features(network) or min(sizes.values()) < MIN_SCANS:
        log.warning("no OOD detector: the network has no features, or too few scans", **sizes)
        return None
    brains = _with_brain(_part(parts, "train"))
    train = Scans(brains.inputs, _strata(brains.records))
    held_out = Scans(for_threshold.inputs, _strata(for_threshold.records))
    head = fit_ood_head(network, train, held_out, spec, seed, parts.not_mri)
    detector = OodDetector(
        method=f"{_METHOD}{for_threshold.name}",
        n_mri=min(MAX_POSITIVES, sizes["train"]),
        n_negatives=N_SYNTHETIC_NEGATIVES + (0 if parts.not_mri is None else len(parts.not_mri)),
        checks=_checks(head, network, test, spec, seed),
    )
    log.info("OOD detector fitted", **{check.images: check.refused for check in detector.checks})
    return head, detector


def _held_out(parts: Parts) -> tuple[_HeldOut, _HeldOut]:
    """Return the scans that set the threshold, and those that measure the detector."""
    if "validation" in parts.records:
        return _part(parts, "validation"), _part(parts, "calibration")
    whole = _part(parts, "calibration")
    rows = _first_half(whole.records)
    halves = [
        _HeldOut(
            f"{whole.name} of {which} of the groups",
            [record for record, own in zip(whole.records, chosen, strict=True) if own],
            whole.inputs[chosen],
        )
        for which, chosen in (("one half", rows), ("the other half", ~rows))
    ]
    return halves[0], halves[1]


def _part(parts: Parts, name: str) -> _HeldOut:
    inputs: Inputs = parts.inputs.get(name, np.zeros((0, 1, 1, 1), np.float32))
    return _HeldOut(f"{name} scans", parts.records.get(name, []), inputs)


def _with_brain(part: _HeldOut) -> _HeldOut:
    """Return the scans without slices that may show too little brain.

    The brain detector sets those aside, and nearly empty slices would make the OOD detector accept
    anything.
    """
    rows = [
        row
        for row, record in enumerate(part.records)
        if record.enough_brain or (record.enough_brain is None and not record.is_slice)
    ]
    return _HeldOut(part.name, [part.records[row] for row in rows], part.inputs[rows])


def _first_half(records: Sequence[Record]) -> NDArray[np.bool_]:
    """Return which scans are in the first of two similar halves, bool ``[N]``; groups stay whole.

    Each source's groups, the largest first, go to the half that has fewer of its scans.
    """
    first = np.zeros(len(records), dtype=bool)
    groups, sources = group_numbers(records), np.array([record.source for record in records])
    for source in sorted(set(sources.tolist())):
        scans = [0, 0]
        members, sizes = np.unique(groups[sources == source], return_counts=True)
        for at in np.lexsort((members, -sizes)):
            half = int(scans[0] > scans[1])
            scans[half] += int(sizes[at])
            if half == 0:
                first |= groups == members[at]
    return first


def _strata(records: Sequence[Record]) -> list[str]:
    return [f"{record.source} {record.view} {record.label}" for record in records]


def _checks(
    head: OodHead, network: nn.Module, test: _HeldOut, spec: PreprocessSpec, seed: int
) -> tuple[OodCheck, ...]:
    """Measure on test scans (all, by source, skull-stripped) and on synthetic images."""

    def refused(inputs: Inputs) -> NDArray[np.bool_]:
        return scores_of(head, statistics_of(network, inputs)) < 0

    checks = []
    groups = group_numbers(test.records)
    if test.records:
        found = refused(test.inputs)
        sources = np.array([record.source for record in test.records])
        checks.append(_check(test.name, found, groups))
        for source in sorted(set(sources.tolist())):
            rows = sources == source
            checks.append(_check(f"{test.name}, of {source}", found[rows], groups[rows]))
    brains, kept = stripped_inputs(test.inputs, np.random.default_rng([seed, 5]), spec)
    if len(brains):
        checks.append(_check(f"{test.name}, skull stripped", refused(brains), groups[kept]))
    negatives = synthetic_negatives(_N_TEST_NEGATIVES, [], spec, seed + 1_000_000)
    own = np.arange(len(negatives))
    checks.append(_check("synthetic images of another seed", refused(negatives), own, mri=False))
    return tuple(checks)


def _check(
    images: str, refused: NDArray[np.bool_], groups: ArrayLike, *, mri: bool = True
) -> OodCheck:
    found = share_estimate(refused, groups)
    return OodCheck(
        images=images, mri=mri, refused=found.value, low=found.low, high=found.high, n=found.n
    )
