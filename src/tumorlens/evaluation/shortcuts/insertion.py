"""Shortcut tests that insert a lesion, healthy tissue, or another scan's background."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
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
    """Insert a lesion into healthy scans: they should become positive, with the peak in the lesion.

    The control inserts another scan's healthy tissue of the same shape at the same position.
    """
    hosts = np.flatnonzero((data.labels == 0) & ~data.positive)
    rows, lesion_inputs, tissue_inputs, positions = _with_patches(data, hosts)
    lesion, tissue = data.infer(lesion_inputs), data.infer(tissue_inputs)
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
        hits = [_points_at(*pair) for pair in zip(lesion.maps, positions, strict=True)]
        meaning = "The map's peak lies in the inserted lesion in only {}"
        inside = data.mean(hits, rows)
        found.insert(2, Measurement("inserted lesion", "peak inside", inside, 0.8, None, meaning))
    return found


def swapped(data: ScanSet) -> list[Measurement]:
    """Replace the background by that of another scan: the prediction should not change.

    The control uses the background of a scan of the same class; flips there are caused by the
    cutting itself.
    """
    labels, rows = data.labels, range(len(data.scans))
    other = _backgrounds(data, [_partner(data, row, 1 - labels[row]) for row in rows])
    same = _backgrounds(data, [_partner(data, row, labels[row]) for row in rows])
    meaning = "{} of predictions flip when the background is that of a scan of the other class"
    found = [_flips(data, other, "of the other class: predictions flip", 0.05, meaning)]
    for label, name in ((0, "healthy flips to tumour"), (1, "tumour flips to healthy")):
        found.append(_flips(data, other, f"of the other class: {name}", label=label))
    return [*found, _flips(data, same, "of the same class: predictions flip")]


def _with_patches(
    data: ScanSet, hosts: NDArray[np.int64]
) -> tuple[list[int], list[ModelInput], list[ModelInput], list[Mask]]:
    """Return hosts with room for a patch: rows, inputs with lesion and with tissue, positions."""
    annotated = [row for row, scan in enumerate(data.scans) if scan.tumour.any()]
    rows, lesions, tissues, positions = [], [], [], []
    for row in hosts.tolist() if annotated else []:
        rng = data.generator(row)
        donor = annotated[rng.integers(len(annotated))]
        patch = data.scans[donor].tumour
        shift = data.random_shift(patch, row)
        other = _partner(data, row, 0)
        tissue_shift = None if other is None else data.random_shift(patch, other)
        if shift is None or other is None or tissue_shift is None:
            continue
        host = data.scans[row].tensor
        empty = np.zeros_like(patch)
        with_lesion, position = insert_patch(host, empty, data.scans[donor].tensor, shift, patch)
        to_host = (shift[0] - tissue_shift[0], shift[1] - tissue_shift[1])
        with_tissue, _ = insert_patch(
            host, empty, data.scans[other].tensor, to_host, shifted(patch, tissue_shift)
        )
        rows.append(row)
        lesions.append(with_lesion)
        tissues.append(with_tissue)
        positions.append(position)
    return rows, lesions, tissues, positions


def _points_at(heat: NDArray[np.float32], mask: Mask) -> bool:
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return pointing_hit(heat, np.array([[x, y, x + w, y + h]]) / len(mask))


def _partner(data: ScanSet, row: int, label: int) -> int | None:
    """Draw a scan of a class and of another group, from another source if there is one."""
    scans, own = data.scans, data.scans[row].record
    others = [
        other
        for other, scan in enumerate(scans)
        if scan.record.label == label and scan.record.group != own.group
    ]
    other_sources = [other for other in others if scans[other].record.source != own.source]
    pool = other_sources or others
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
    label: int | None = None,
) -> Measurement:
    index, outputs = np.array(modified[0], dtype=np.int64), modified[1]
    flipped = data.is_positive(outputs) != data.positive[index]
    selected = np.full(index.size, True) if label is None else data.labels[index] == label
    estimate = data.mean(flipped[selected], index[selected])
    return Measurement("swapped background", name, estimate, None, at_most, meaning)
