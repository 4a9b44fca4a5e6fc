"""A run's parts → its guard, and what the card says of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray
from torch import nn

from tumorlens.data.manifest import Record
from tumorlens.evaluation.coverage import share_estimate
from tumorlens.evaluation.metrics import Estimate
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.modelfile import Guard, GuardCheck
from tumorlens.training.guard import Floats, InDomainGuard
from tumorlens.training.guard_fit import (
    MOST_REFUSED,
    PICTURES,
    SCANS,
    Scans,
    fit_guard,
    has_features,
    scores_of,
    statistics_of,
)
from tumorlens.training.guard_inputs import Inputs, draw_negatives
from tumorlens.training.parts import Parts
from tumorlens.training.skull_strip import stripped_inputs

log = structlog.get_logger(__name__)

# Validation scans place the guard, calibration scans measure it.
_PLACED_ON, _MEASURED_ON = "validation", "calibration"
_SMALLEST = 50
_CHECKED_PICTURES = 200
METHOD = (
    "distance of the channels' means and deviations from those of training scans, whitened in "
    "three blocks of stages, and a small classifier of the same against drawn pictures; placed to "
    f"refuse at most {MOST_REFUSED:.1%} of the {_PLACED_ON} scans"
)


def guard_for(
    network: nn.Module, parts: Parts, spec: PreprocessSpec, seed: int
) -> tuple[InDomainGuard, Guard] | None:
    """Fit a guard to a trained network and measure it; about three minutes on one core.

    It learns from the training part and from scans left out because they are no MRI, is placed on
    the validation part and measured on the calibration part, and on drawn pictures of another
    seed. Returns None, and says so in the log, for a network that does not show its features, or
    with fewer than 50 scans in the first two.
    """
    sizes = {name: len(parts.inputs.get(name, ())) for name in ("train", _PLACED_ON)}
    if not has_features(network) or min(sizes.values()) < _SMALLEST:
        log.warning("no in-domain guard: the network shows no features, or too few scans", **sizes)
        return None
    train, held = (_scans(parts, name) for name in ("train", _PLACED_ON))
    guard = fit_guard(network, train, held, spec, seed, parts.not_mri)
    said = Guard(
        method=METHOD,
        n_mri=min(SCANS, sizes["train"]),
        n_pictures=PICTURES + (0 if parts.not_mri is None else len(parts.not_mri)),
        checks=(
            *_on_scans(guard, network, parts),
            *_on_brains(guard, network, parts, spec, seed),
            *_on_pictures(guard, network, spec, seed),
        ),
    )
    log.info("guard fitted", **{check.pictures: check.refused for check in said.checks})
    return guard, said


def _scans(parts: Parts, name: str) -> Scans:
    strata = [f"{record.source} {record.view} {record.label}" for record in parts.records[name]]
    return Scans(parts.inputs[name], strata)


def _on_scans(guard: InDomainGuard, network: nn.Module, parts: Parts) -> list[GuardCheck]:
    records: Sequence[Record] = parts.records.get(_MEASURED_ON, [])
    if not records:
        return []
    refused = scores_of(guard, statistics_of(network, parts.inputs[_MEASURED_ON])) < 0
    groups = _groups(records)
    sources = np.array([record.source for record in records])
    checks = [_check(f"{_MEASURED_ON} scans", True, share_estimate(refused, groups))]
    for source in sorted(set(sources.tolist())):
        rows = sources == source
        found = share_estimate(refused[rows], groups[rows])
        checks.append(_check(f"{_MEASURED_ON} scans of {source}", True, found))
    return checks


def _on_brains(
    guard: InDomainGuard, network: nn.Module, parts: Parts, spec: PreprocessSpec, seed: int
) -> list[GuardCheck]:
    """Measure on calibration scans whose skull was taken off, as research archives publish them."""
    inputs: Inputs = parts.inputs.get(_MEASURED_ON, np.zeros((0, 1, 1, 1), np.float32))
    brains, rows = stripped_inputs(inputs, np.random.default_rng([seed, 5]), spec)
    if not len(brains):
        return []
    refused = scores_of(guard, statistics_of(network, brains)) < 0
    found = share_estimate(refused, _groups(parts.records[_MEASURED_ON])[rows])
    return [_check(f"{_MEASURED_ON} scans, skull stripped", True, found)]


def _groups(records: Sequence[Record]) -> NDArray[np.int64]:
    return np.array([-1 - i if r.group is None else r.group for i, r in enumerate(records)])


def _on_pictures(
    guard: InDomainGuard, network: nn.Module, spec: PreprocessSpec, seed: int
) -> list[GuardCheck]:
    drawn: Inputs = draw_negatives(_CHECKED_PICTURES, [], spec, seed + 1_000_000)
    scores: Floats = scores_of(guard, statistics_of(network, drawn))
    found = share_estimate(scores < 0, np.arange(len(drawn)))
    return [_check("drawn pictures of another seed", False, found)]


def _check(pictures: str, mri: bool, found: Estimate) -> GuardCheck:
    return GuardCheck(
        pictures=pictures, mri=mri, refused=found.value, low=found.low, high=found.high, n=found.n
    )
