"""Shortcut tests that remove the head, its centre, the tumour, the skull, or fine detail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tumorlens.evaluation.sampling import Mask, ModelInput, ModelOutputs
from tumorlens.evaluation.shortcuts.interventions import (
    blurred,
    centre_disc,
    fill_grey,
    fill_inpainted,
    fill_shuffled,
    fill_tissue,
    remove_head,
    shifted,
    thumbnail,
)
from tumorlens.evaluation.shortcuts.measurement import Measurement
from tumorlens.evaluation.shortcuts.mirror import (
    SYMMETRIC_VIEWS,
    find_axis,
    lesion_free_side,
    mirror_half,
)
from tumorlens.evaluation.shortcuts.scans import Scan, ScanSet
from tumorlens.imaging.preprocess import preprocess
from tumorlens.imaging.skull_strip import keeps_lesion, strip_skull
from tumorlens.metrics.intervals import Estimate

CENTRE_RADIUS = 0.6
"""Relative to half the head's longer side: covers most of the brain but not skull and scalp."""
THUMBNAIL_SIDE = 16
BLUR_SHARE = 0.05
"""Standard deviation of the blur, relative to the side of the network's input."""

_COVERED = 0.9  # share of the tumour that must lie in the disc for it to count as removed
Fill = Callable[[ModelInput, Mask, Mask], ModelInput]


def unmodified(data: ScanSet) -> list[Measurement]:
    """ROC-AUC on the unmodified scans, for reference."""
    return [Measurement("unmodified", "ROC-AUC", data.auc(data.outputs), percent=False)]


def without_head(data: ScanSet) -> list[Measurement]:
    """Remove the head: border and background alone should give a ROC-AUC of 0.5."""
    outputs = data.infer([remove_head(scan.tensor, scan.head) for scan in data.scans])
    meaning = "Border and background alone, with the head taken out, give a ROC-AUC of {}"
    positive = data.mean(data.is_positive(outputs), np.arange(len(data.scans)))
    return [
        Measurement("border only", "ROC-AUC", data.auc(outputs), None, 0.6, meaning, percent=False),
        Measurement("border only", "predicted positive", positive),
    ]


def without_detail(data: ScanSet) -> list[Measurement]:
    """Thumbnails and blurred scans, which show only shape, view and large tumours."""
    changes: dict[str, Callable[[ModelInput], ModelInput]] = {
        f"thumbnail {THUMBNAIL_SIDE} × {THUMBNAIL_SIDE}": partial(thumbnail, side=THUMBNAIL_SIDE),
        f"blur of {100 * BLUR_SHARE:.0f} %": partial(blurred, share=BLUR_SHARE),
    }
    found = []
    for name, change in changes.items():
        auc = data.auc(data.infer([change(scan.tensor) for scan in data.scans]))
        meaning = f"With detail gone ({name}) the ROC-AUC is still {{}}"
        found.append(Measurement(name, "ROC-AUC", auc, None, 0.85, meaning, percent=False))
    return found


def without_centre(data: ScanSet) -> list[Measurement]:
    """Remove the centre of the head: tumours that lay there should become negative.

    The disc is filled with pixels drawn from its healthy part, since a grey disc looks like a mass.
    Healthy scans that flip to tumour show how much the filling itself does.
    """
    discs = [centre_disc(scan.head, CENTRE_RADIUS) for scan in data.scans]
    outputs = data.infer(
        [
            fill_shuffled(scan.tensor, disc, disc & ~scan.tumour, data.generator(row))
            for row, (scan, disc) in enumerate(zip(data.scans, discs, strict=True))
        ]
    )
    now, before = data.is_positive(outputs), data.positive
    covered = np.array([_covered(s, d) for s, d in zip(data.scans, discs, strict=True)])
    lost = np.flatnonzero(covered & before & (data.labels == 1))
    healthy = np.flatnonzero((data.labels == 0) & ~before)
    return [
        Measurement("masked centre", "still predicted positive", data.mean(now[lost], lost),
                    None, 0.15, "With the middle of the head made noise, and the tumour with it, "
                    "{} are still predicted positive"),
        Measurement("masked centre", "healthy flips to tumour", data.mean(now[healthy], healthy)),
        Measurement("masked centre", "ROC-AUC", data.auc(outputs), percent=False),
    ]  # fmt: skip


def without_tumour(data: ScanSet) -> list[Measurement]:
    """Fill the annotated tumour and, as a control, a region of the same shape elsewhere."""
    rows = [row for row, scan in enumerate(data.scans) if scan.tumour.any()]
    shifts = {}
    for row in rows:
        tumour = data.scans[row].tumour
        if (shift := data.random_shift(tumour, row, tumour)) is not None:
            shifts[row] = shift
    shifted_rows = list(shifts)
    fills: dict[str, Fill] = {"inpainted": fill_inpainted, "grey": fill_grey}
    found = []
    for name, fill in fills.items():
        scans = [data.scans[row] for row in rows]
        found += _masked(data, rows, [fill(s.tensor, s.tumour, s.head) for s in scans], name)
        elsewhere = [
            fill(scan.tensor, shifted(scan.tumour, shift), scan.head)
            for scan, shift in ((data.scans[row], shift) for row, shift in shifts.items())
        ]
        found += _masked_elsewhere(data, shifted_rows, elsewhere, name)
    tissue = [
        fill_tissue(data.scans[row].tensor, data.scans[row].tumour, shift)
        for row, shift in shifts.items()
    ]
    return found + _masked(data, shifted_rows, tissue, "own tissue")


def without_tumour_half(data: ScanSet) -> list[Measurement]:
    """Replace the half with the tumour by the mirror image of the other (axial and coronal views).

    The result is a tumour-free head of the same scanner and sequence; if it is still predicted
    positive, the model uses contrast medium, source or scanner. Healthy heads are mirrored as a
    control. Tumours across the midline, or of unknown position, are left out.
    """
    rows, inputs = [], []
    for row, scan in enumerate(data.scans):
        tumour = bool(scan.record.label)
        if scan.record.view not in SYMMETRIC_VIEWS or tumour != scan.tumour.any():
            continue
        axis = find_axis(scan.tensor)
        kept = lesion_free_side(scan.tumour, axis) if tumour else 1
        if axis.found and kept:
            rows.append(row)
            inputs.append(mirror_half(scan.tensor, axis, kept))
    still, flipped = data.flips(data.infer(inputs), rows)
    return [
        Measurement("mirrored half", "tumour half replaced: still predicted positive",
                    still, None, 0.15, "With the half that holds the tumour made the other's "
                    "mirror image, {} are still predicted positive"),
        Measurement("mirrored half", "healthy flips to tumour", flipped, None, 0.1,
                    "Made of one half and its mirror image, {} of the healthy scans are "
                    "predicted positive"),
    ]  # fmt: skip


def without_skull(data: ScanSet) -> list[Measurement]:
    """Strip the skull, as in research archives: the prediction should not change.

    Scans in which no brain is found, or whose known tumour would be removed, are left out.
    """
    spec = data.predictor.card.preprocess
    rows, inputs = [], []
    for row, scan in enumerate(data.scans):
        stripped = strip_skull(scan.tensor[0], data.generator(row))
        if stripped is not None and keeps_lesion(scan.tumour, stripped[1]):
            rows.append(row)
            inputs.append(preprocess(stripped[0], spec))
    still, flipped = data.flips(data.infer(inputs), rows)
    return [
        Measurement("skull stripped", "still predicted positive", still, 0.85, None,
                    "Without the skull, only {} of the tumours found before are found"),
        Measurement("skull stripped", "healthy flips to tumour", flipped, None, 0.1,
                    "Without the skull, {} of the healthy scans are predicted positive"),
    ]  # fmt: skip


def _masked(
    data: ScanSet, rows: list[int], inputs: list[ModelInput], fill: str
) -> list[Measurement]:
    outputs = data.infer(inputs)
    before = data.outputs.prob[rows]
    meaning = f"Masking the tumour ({fill}) lowers the probability in only {{}} of tumour images"
    drops = data.mean(outputs.prob < before, rows)
    return [
        Measurement("masked tumour", f"{fill}: probability drops", drops, 0.9, None, meaning),
        Measurement("masked tumour", f"{fill}: mean drop", data.mean(before - outputs.prob, rows),
                    percent=False),
        Measurement("masked tumour", f"{fill}: flips to healthy",
                    _flips_to_healthy(data, outputs, rows)),
    ]  # fmt: skip


def _masked_elsewhere(
    data: ScanSet, rows: list[int], inputs: list[ModelInput], fill: str
) -> list[Measurement]:
    outputs = data.infer(inputs)
    meaning = f"Masking as much of the head beside the tumour ({fill}) flips {{}} to healthy"
    drop = data.mean(data.outputs.prob[rows] - outputs.prob, rows)
    return [
        Measurement("masked elsewhere", f"{fill}: mean drop", drop, percent=False),
        Measurement("masked elsewhere", f"{fill}: flips to healthy",
                    _flips_to_healthy(data, outputs, rows), None, 0.1, meaning),
    ]  # fmt: skip


def _flips_to_healthy(data: ScanSet, outputs: ModelOutputs, rows: list[int]) -> Estimate:
    index = np.array(rows, dtype=np.int64)
    before = data.positive[index]
    return data.mean(~data.is_positive(outputs)[before], index[before])


def _covered(scan: Scan, disc: Mask) -> bool:
    tumour = scan.tumour
    return bool(tumour.any() and (tumour & disc).sum() >= _COVERED * tumour.sum())
