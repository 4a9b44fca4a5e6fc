"""Tests that put something in: a lesion, healthy tissue, other surroundings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tumorlens.evaluation.sampling import Mask, ModelInput, ModelOutputs, prepare_image
from tumorlens.evaluation.shortcuts.interventions import (
    insert_patch,
    shifted,
    swap_background,
)
from tumorlens.evaluation.shortcuts.measurement import Measurement
from tumorlens.evaluation.shortcuts.scans import ScanSet
from tumorlens.metrics.localization import pointing_hit


def inserted(data: ScanSet) -> list[Measurement]:
    """Insert a lesion into heads predicted healthy: prediction and map must follow.

    The control inserts healthy tissue of another scan, of the same shape at the same place.
    """
    hosts = np.flatnonzero((data.labels == 0) & ~data.positive)
    rows, lesions, tissues, places = _with_patches(data, hosts)
    lesion, tissue = data.infer(lesions), data.infer(tissues)
    before = data.outputs.prob[rows]
    found = [
        Measurement("inserted lesion", "predicted positive",
                    data.mean(data.is_positive(lesion), rows), 0.8, None,
                    "Only {} of lesions inserted into healthy scans are predicted positive"),
        Measurement("inserted lesion", "probability rises", data.mean(lesion.prob > before, rows)),
        Measurement("inserted healthy tissue", "predicted positive",
                    data.mean(data.is_positive(tissue), rows), None, 0.1,
                    "Healthy tissue inserted into healthy scans is predicted positive in {}"),
        Measurement("inserted healthy tissue", "mean rise", data.mean(tissue.prob - before, rows),
                    percent=False),
    ]  # fmt: skip
    if lesion.maps is not None:
        hits = [_points_at(heat, place) for heat, place in zip(lesion.maps, places, strict=True)]
        meaning = "The map's peak lies in the inserted lesion in only {}"
        inside = data.mean(hits, rows)
        found.insert(2, Measurement("inserted lesion", "peak inside", inside, 0.8, None, meaning))
    return found


def swapped(data: ScanSet) -> list[Measurement]:
    """Exchange a head's surroundings for another scan's: the prediction must stay.

    The control takes the surroundings of a scan of the same class: what flips then, the cutting
    itself has flipped.
    """
    labels, everyone = data.labels, range(len(data.scans))
    other = _backgrounds(data, [_partner(data, row, 1 - labels[row]) for row in everyone])
    same = _backgrounds(data, [_partner(data, row, labels[row]) for row in everyone])
    meaning = "{} of predictions flip when the background is that of a scan of the other class"
    found = [_flips(data, other, "of the other class: predictions flip", 0.05, meaning)]
    for label, name in ((0, "healthy flips to tumour"), (1, "tumour flips to healthy")):
        rows = [row for row in other[0] if labels[row] == label]
        found.append(_flips(data, other, f"of the other class: {name}", keep=rows))
    return [*found, _flips(data, same, "of the same class: predictions flip")]


def _with_patches(
    data: ScanSet, hosts: NDArray[np.int64]
) -> tuple[list[int], list[ModelInput], list[ModelInput], list[Mask]]:
    """Return the hosts that had room, with lesion, with tissue, and where the patch lies."""
    annotated = [row for row, scan in enumerate(data.scans) if scan.tumour.any()]
    rows, lesions, tissues, places = [], [], [], []
    for row in hosts.tolist() if annotated else []:
        rng = data.generator(row)
        donor = annotated[rng.integers(len(annotated))]
        patch = data.scans[donor].tumour
        shift = data.random_shift(patch, row)
        other = _partner(data, row, 0)
        back = None if other is None else data.random_shift(patch, other)
        if shift is None or other is None or back is None:
            continue
        host = data.scans[row].tensor
        nothing = np.zeros_like(patch)
        with_lesion, place = insert_patch(host, nothing, data.scans[donor].tensor, shift, patch)
        to_host = (shift[0] - back[0], shift[1] - back[1])
        with_tissue, _ = insert_patch(
            host, nothing, data.scans[other].tensor, to_host, shifted(patch, back)
        )
        rows.append(row)
        lesions.append(with_lesion)
        tissues.append(with_tissue)
        places.append(place)
    return rows, lesions, tissues, places


def _points_at(heat: NDArray[np.float32], place: Mask) -> bool:
    ys, xs = np.flatnonzero(place.any(axis=1)), np.flatnonzero(place.any(axis=0))
    box = np.array([[xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]]) / len(place)
    return pointing_hit(heat, box)


def _partner(data: ScanSet, row: int, label: int) -> int | None:
    """Draw a scan of a class that is of another group, from another source if there is one."""
    scans, mine = data.scans, data.scans[row].record
    others = [
        other
        for other, scan in enumerate(scans)
        if scan.record.label == label and scan.record.group != mine.group
    ]
    foreign = [other for other in others if scans[other].record.source != mine.source]
    pool = foreign or others
    return int(data.generator(row).choice(pool)) if pool else None


def _backgrounds(data: ScanSet, partners: Sequence[int | None]) -> tuple[list[int], ModelOutputs]:
    rows = [row for row, partner in enumerate(partners) if partner is not None]
    inputs = []
    for row in rows:
        other = data.scans[partners[row] or 0]
        image = swap_background(data.scans[row].image, other.image)
        inputs.append(prepare_image(data.predictor, image).tensor)
    return rows, data.infer(inputs)


def _flips(
    data: ScanSet,
    modified: tuple[list[int], ModelOutputs],
    name: str,
    at_most: float | None = None,
    meaning: str = "",
    keep: Sequence[int] | None = None,
) -> Measurement:
    rows, outputs = modified
    flipped = data.is_positive(outputs) != data.positive[rows]
    kept = [i for i, row in enumerate(rows) if keep is None or row in set(keep)]
    estimate = data.mean(flipped[kept], np.array(rows, dtype=np.int64)[kept])
    return Measurement("swapped background", name, estimate, None, at_most, meaning)
