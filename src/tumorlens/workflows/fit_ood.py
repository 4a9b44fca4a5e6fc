"""A run's parts → its guard, and what the card says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray
from torch import nn

from tumorlens.data.manifest import Record
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.imaging.skull_strip import stripped_inputs
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.shares import share_estimate
from tumorlens.modelfile import OodCheck, OodDetector
from tumorlens.ood.detector import Floats, InDomainGuard
from tumorlens.ood.fit import (
    MOST_REFUSED,
    PICTURES,
    SCANS,
    Scans,
    fit_guard,
    has_features,
    scores_of,
    statistics_of,
)
from tumorlens.ood.sampling import Inputs, draw_negatives
from tumorlens.training.decoding import Parts

log = structlog.get_logger(__name__)

_VALIDATION, _CALIBRATION = "validation", "calibration"
_SMALLEST = 50
_CHECKED_PICTURES = 200
_METHOD = (
    "distance of the channels' means and deviations from those of training scans, whitened in "
    "three blocks of stages, and a small classifier of the same against drawn images, the mean "
    f"over the members; placed to refuse at most {MOST_REFUSED:.2%} of training scans and "
)


@dataclass(frozen=True)
class _Held:
    """Scans no weights were fitted to, and what they are called: inputs ``[N, C, S, S]``."""

    name: str
    records: Sequence[Record]
    inputs: Inputs


def guard_for(
    network: nn.Module, parts: Parts, spec: PreprocessSpec, seed: int
) -> tuple[InDomainGuard, OodDetector] | None:
    """Fit a guard to a trained network and measure it: some minutes a member, on one core.

    It learns from the training part and from scans left out because they are no MRI, is placed on
    the training and validation parts together, and measured on the calibration part, and on drawn
    pictures of another seed. Where the run has learnt from validation, or has none, one half of
    calibration's groups takes validation's place and the other measures it. Returns None, and says
    so in the log, for a network that does not show its features, or with fewer than 50 scans to
    learn from or to be placed on.
    """
    placing, measuring = _held(parts)
    sizes = {"train": len(parts.inputs["train"]), placing.name: len(placing.inputs)}
    if not has_features(network) or min(sizes.values()) < _SMALLEST:
        log.warning("no in-domain guard: the network shows no features, or too few scans", **sizes)
        return None
    train = Scans(parts.inputs["train"], _strata(parts.records["train"]))
    held = Scans(placing.inputs, _strata(placing.records))
    guard = fit_guard(network, train, held, spec, seed, parts.not_mri)
    said = OodDetector(
        method=f"{_METHOD}the {placing.name}",
        n_mri=min(SCANS, sizes["train"]),
        n_negatives=PICTURES + (0 if parts.not_mri is None else len(parts.not_mri)),
        checks=(
            *_on_scans(guard, network, measuring),
            *_on_brains(guard, network, measuring, spec, seed),
            *_on_pictures(guard, network, spec, seed),
        ),
    )
    log.info("guard fitted", **{check.images: check.refused for check in said.checks})
    return guard, said


def _held(parts: Parts) -> tuple[_Held, _Held]:
    """Return the scans that place a guard, and those that measure it."""
    if _VALIDATION in parts.records:
        return _part(parts, _VALIDATION), _part(parts, _CALIBRATION)
    whole = _part(parts, _CALIBRATION)
    rows = _first_half(whole.records)
    halves = [
        _Held(f"{_CALIBRATION} scans of {which} of the groups",
              [record for record, own in zip(whole.records, mine, strict=True) if own],
              whole.inputs[mine])
        for which, mine in (("one half", rows), ("the other half", ~rows))
    ]  # fmt: skip
    return halves[0], halves[1]


def _part(parts: Parts, name: str) -> _Held:
    inputs: Inputs = parts.inputs.get(name, np.zeros((0, 1, 1, 1), np.float32))
    return _Held(f"{name} scans", parts.records.get(name, []), inputs)


def _first_half(records: Sequence[Record]) -> NDArray[np.bool_]:
    """Return which scans are in the first of two halves of alike make-up; groups stay whole.

    Each source's groups, the largest first, are dealt to the half that has fewer of its scans.
    """
    first = np.zeros(len(records), dtype=bool)
    groups, sources = _groups(records), np.array([record.source for record in records])
    for source in sorted(set(sources.tolist())):
        dealt = [0, 0]
        kinds, sizes = np.unique(groups[sources == source], return_counts=True)
        for at in np.lexsort((kinds, -sizes)):
            half = int(dealt[0] > dealt[1])
            dealt[half] += int(sizes[at])
            if half == 0:
                first |= groups == kinds[at]
    return first


def _strata(records: Sequence[Record]) -> list[str]:
    return [f"{record.source} {record.view} {record.label}" for record in records]


def _on_scans(guard: InDomainGuard, network: nn.Module, held: _Held) -> list[OodCheck]:
    if not held.records:
        return []
    refused = scores_of(guard, statistics_of(network, held.inputs)) < 0
    groups = _groups(held.records)
    sources = np.array([record.source for record in held.records])
    checks = [_check(held.name, True, share_estimate(refused, groups))]
    for source in sorted(set(sources.tolist())):
        rows = sources == source
        found = share_estimate(refused[rows], groups[rows])
        checks.append(_check(f"{held.name}, of {source}", True, found))
    return checks


def _on_brains(
    guard: InDomainGuard, network: nn.Module, held: _Held, spec: PreprocessSpec, seed: int
) -> list[OodCheck]:
    """Measure on scans whose skull was taken off, as research archives publish them."""
    brains, rows = stripped_inputs(held.inputs, np.random.default_rng([seed, 5]), spec)
    if not len(brains):
        return []
    refused = scores_of(guard, statistics_of(network, brains)) < 0
    found = share_estimate(refused, _groups(held.records)[rows])
    return [_check(f"{held.name}, skull stripped", True, found)]


def _groups(records: Sequence[Record]) -> NDArray[np.int64]:
    return np.array([-1 - i if r.group is None else r.group for i, r in enumerate(records)])


def _on_pictures(
    guard: InDomainGuard, network: nn.Module, spec: PreprocessSpec, seed: int
) -> list[OodCheck]:
    drawn: Inputs = draw_negatives(_CHECKED_PICTURES, [], spec, seed + 1_000_000)
    scores: Floats = scores_of(guard, statistics_of(network, drawn))
    found = share_estimate(scores < 0, np.arange(len(drawn)))
    return [_check("drawn images of another seed", False, found)]


def _check(images: str, mri: bool, found: Estimate) -> OodCheck:
    return OodCheck(
        images=images, mri=mri, refused=found.value, low=found.low, high=found.high, n=found.n
    )
