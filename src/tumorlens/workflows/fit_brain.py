"""Fit the brain detector of a run, measure it on other slices, and describe it for the card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray
from torch import nn

from tumorlens.data.manifest import Record, group_numbers
from tumorlens.metrics.shares import share_estimate
from tumorlens.modelfile import BrainDetector, OodCheck
from tumorlens.ood.brain import MAX_SET_ASIDE, MIN_SLICES, BrainHead, brain_scores, fit_brain_head
from tumorlens.ood.fit import has_features, statistics_of
from tumorlens.training.decoding import Parts

log = structlog.get_logger(__name__)

_METHOD = (
    "a small classifier of the channels' means and deviations, fitted to slices of whole heads "
    "from the neck to the vertex whose extent of the brain is known, and to tumours; at most "
    f"{MAX_SET_ASIDE:.1%} of the validation slices with enough brain are set aside"
)


def fit_brain_detector(
    network: nn.Module, parts: Parts, seed: int
) -> tuple[BrainHead, BrainDetector] | None:
    """Fit a brain head to a trained network and measure it; takes a minute on one core.

    Returns:
        The head and its description for the card. None, with a warning, for a network without
        feature outputs, or with fewer than 20 slices of a kind to fit or to choose the threshold.
    """
    train = _known(parts, "train")
    held_out = _known(parts, "validation" if "validation" in parts.records else "calibration")
    enough, other = train[1], held_out[1]
    counts = (int(enough.sum()), int((~enough).sum()), int(other.sum()))
    if not has_features(network) or min(counts) < MIN_SLICES:
        log.warning("no brain detector: the network has no features, or too few slices", n=counts)
        return None
    head = fit_brain_head(
        statistics_of(network, parts.inputs["train"][train[0]]),
        enough,
        _weights(parts.records["train"], train[0], enough),
        statistics_of(network, held_out[2][other]),
        seed,
    )
    detector = BrainDetector(
        method=_METHOD,
        n_enough=counts[0],
        n_too_little=counts[1],
        checks=_checks(head, network, parts),
    )
    log.info("brain detector fitted", **{check.images: check.refused for check in detector.checks})
    return head, detector


def has_enough_brain(record: Record) -> bool | None:
    """Tell whether a record shows enough brain: as stated, and wherever it shows a tumour."""
    return True if record.shows == "tumor" else record.enough_brain


def _known(
    parts: Parts, name: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float32]]:
    """Return a part's rows for which it is known, whether they show enough, and their inputs."""
    known = [
        (at, has_enough_brain(record)) for at, record in enumerate(parts.records.get(name, []))
    ]
    rows = np.array([at for at, enough in known if enough is not None], dtype=np.int64)
    enough = np.array([enough for _, enough in known if enough is not None], dtype=bool)
    inputs = parts.inputs[name][rows] if len(rows) else np.zeros((0, 1, 1, 1), np.float32)
    return rows, enough, inputs


def _weights(
    records: Sequence[Record], rows: NDArray[np.int64], enough: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return weights ``[N]``: sources and views by the root of their size, within each kind."""
    cells = [
        (records[row].source, records[row].view, bool(own))
        for row, own in zip(rows, enough, strict=True)
    ]
    sizes = Counter(cells)
    return np.array([sizes[cell] ** -0.5 for cell in cells])


def _checks(head: BrainHead, network: nn.Module, parts: Parts) -> tuple[OodCheck, ...]:
    """Measure on the parts that neither fitted the head nor chose its threshold."""
    part = "test" if "test" in parts.records else "calibration"
    rows, enough, inputs = _known(parts, part)
    if not len(rows):
        return ()
    aside = brain_scores(head, statistics_of(network, inputs)) < 0
    groups = group_numbers([parts.records[part][row] for row in rows])
    tumours = np.array([parts.records[part][row].shows == "tumor" for row in rows], dtype=bool)
    checks = []
    for name, chosen, mri in (
        (f"{part} slices with a tumour", tumours, True),
        (f"other {part} slices with enough brain", enough & ~tumours, True),
        (f"{part} slices with too little brain", ~enough, False),
    ):
        if chosen.any():
            found = share_estimate(aside[chosen], groups[chosen])
            checks.append(
                OodCheck(
                    images=name, mri=mri, refused=found.value, low=found.low, high=found.high,
                    n=found.n,
                )
            )  # fmt: skip
    return tuple(checks)
