"""Tests that take something away: the head, the middle, the tumour, the detail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tumorlens.evaluation.shortcuts.interventions import (
    Mask,
    Picture,
    blurred,
    border_only,
    centre_disc,
    fill_grey,
    fill_inpainted,
    fill_shuffled,
    fill_tissue,
    moved,
    thumbnail,
)
from tumorlens.evaluation.shortcuts.mirror import (
    SYMMETRIC_VIEWS,
    clear_side,
    find_axis,
    mirror_half,
)
from tumorlens.evaluation.shortcuts.samples import Scan
from tumorlens.evaluation.shortcuts.trial import Figure, Trial
from tumorlens.imaging.preprocess import preprocess
from tumorlens.imaging.skull_strip import keeps_lesion, strip_skull

CENTRE_RADIUS = 0.6
"""Of half the head's longer side: the disc covers most of the brain and leaves skull and scalp."""
THUMBNAIL_SIDE = 16
BLUR_SHARE = 0.05
"""Standard deviation of the strong blur, of the side of the network's input."""

_COVERED = 0.9  # of the tumour must lie in the disc for the picture to count as without it
Fill = Callable[[Picture, Mask, Mask], Picture]


def untouched(trial: Trial) -> list[Figure]:
    """What the model reaches on these scans as they are, to compare the rest with."""
    return [Figure("untouched", "ROC-AUC", trial.auc(trial.base), share=False)]


def without_head(trial: Trial) -> list[Figure]:
    """Only border and background are left: nobody can tell a tumour, so ROC-AUC should be 0.5."""
    answers = trial.ask([border_only(scan.picture, scan.head) for scan in trial.scans])
    says = "Border and background alone, with the head taken out, give a ROC-AUC of {}"
    called = trial.share(trial.calls(answers), np.arange(len(trial.scans)))
    return [
        Figure("border only", "ROC-AUC", trial.auc(answers), None, 0.6, says, share=False),
        Figure("border only", "predicted positive", called),
    ]


def without_detail(trial: Trial) -> list[Figure]:
    """Thumbnails and blurred pictures: what is left shows shape, view and large tumours only."""
    changes: dict[str, Callable[[Picture], Picture]] = {
        f"thumbnail {THUMBNAIL_SIDE} × {THUMBNAIL_SIDE}": partial(thumbnail, side=THUMBNAIL_SIDE),
        f"blur of {BLUR_SHARE:.0%}".replace("%", " %"): partial(blurred, share=BLUR_SHARE),
    }
    figures = []
    for name, change in changes.items():
        answers = trial.ask([change(scan.picture) for scan in trial.scans])
        says = f"With detail gone ({name}) the ROC-AUC is still {{}}"
        auc = trial.auc(answers)
        figures.append(Figure(name, "ROC-AUC", auc, None, 0.85, says, share=False))
    return figures


def without_centre(trial: Trial) -> list[Figure]:
    """Take the middle of the head out: a tumour that lay there must not be answered any more.

    The disc is filled with pixels drawn from its healthy part; a grey disc would itself be taken
    for a mass. Healthy scans that turn into tumours tell how far the filling still is.
    """
    discs = [centre_disc(scan.head, CENTRE_RADIUS) for scan in trial.scans]
    answers = trial.ask(
        [
            fill_shuffled(scan.picture, disc, disc & ~scan.tumour, trial.generator(row))
            for row, (scan, disc) in enumerate(zip(trial.scans, discs, strict=True))
        ]
    )
    calls, called = trial.calls(answers), trial.called
    covered = np.array([_covered(s, d) for s, d in zip(trial.scans, discs, strict=True)])
    lost = np.flatnonzero(covered & called & (trial.labels == 1))
    healthy = np.flatnonzero((trial.labels == 0) & ~called)
    says = (
        "With the middle of the head made noise, and the tumour with it, {} are still predicted "
        "positive"
    )
    still = trial.share(calls[lost], lost)
    return [
        Figure("masked centre", "still predicted positive", still, None, 0.15, says),
        Figure("masked centre", "healthy flips to tumour", trial.share(calls[healthy], healthy)),
        Figure("masked centre", "ROC-AUC", trial.auc(answers), share=False),
    ]


def without_tumour(trial: Trial) -> list[Figure]:
    """Fill the annotated tumour, and as a control as much of the same head elsewhere."""
    rows = [row for row, scan in enumerate(trial.scans) if scan.tumour.any()]
    shifts = {
        row: trial.place(trial.scans[row].tumour, row, trial.scans[row].tumour) for row in rows
    }
    free = [row for row in rows if shifts[row] is not None]
    fills: dict[str, Fill] = {"inpainted": fill_inpainted, "grey": fill_grey}
    figures = []
    for name, fill in fills.items():
        filled = [fill(s.picture, s.tumour, s.head) for s in (trial.scans[row] for row in rows)]
        figures += _drop(trial, rows, filled, name)
        elsewhere = []
        for row in free:
            scan, shift = trial.scans[row], shifts[row]
            assert shift is not None
            elsewhere.append(fill(scan.picture, moved(scan.tumour, shift), scan.head))
        figures += _control(trial, free, elsewhere, name)
    tissue = []
    for row in free:
        scan, shift = trial.scans[row], shifts[row]
        assert shift is not None
        tissue.append(fill_tissue(scan.picture, scan.tumour, shift))
    return figures + _drop(trial, free, tissue, "own tissue")


def without_tumour_half(trial: Trial) -> list[Figure]:
    """Make axial and coronal heads of the half without a tumour and its mirror image.

    What is left is a head of the same scanner and sequence without a tumour; where that is still
    predicted positive, contrast medium, source or scanner is what is read. Healthy heads are
    mirrored as a control. A tumour across the middle, and one of unknown place, are left out.
    """
    rows, pictures = [], []
    for row, scan in enumerate(trial.scans):
        tumour = bool(scan.record.label)
        if scan.record.view not in SYMMETRIC_VIEWS or tumour != scan.tumour.any():
            continue
        axis = find_axis(scan.picture)
        kept = clear_side(scan.tumour, axis) if tumour else 1
        if axis.found and kept:
            rows.append(row)
            pictures.append(mirror_half(scan.picture, axis, kept))
    index = np.array(rows, dtype=np.int64)
    calls, was = trial.calls(trial.ask(pictures)), trial.called[index]
    gone, healthy = (was & (trial.labels[index] == 1), ~was & (trial.labels[index] == 0))
    return [
        Figure("mirrored half", "tumour's half gone: still predicted positive",
               trial.share(calls[gone], index[gone]), None, 0.15,
               "With the half that holds the tumour made the other's mirror image, {} are still "
               "predicted positive"),
        Figure("mirrored half", "healthy flips to tumour",
               trial.share(calls[healthy], index[healthy]), None, 0.1,
               "Made of one half and its mirror image, {} of the healthy scans are predicted "
               "positive"),
    ]  # fmt: skip


def without_skull(trial: Trial) -> list[Figure]:
    """Strip the skull, as research archives do: the brain alone must be answered as before.

    Scans whose known tumour would be cut away, or in which no brain is found, are left out.
    """
    spec = trial.predictor.card.preprocess
    rows, pictures = [], []
    for row, scan in enumerate(trial.scans):
        found = strip_skull(scan.picture[0], trial.generator(row))
        if found is not None and keeps_lesion(scan.tumour, found[1]):
            rows.append(row)
            pictures.append(preprocess(found[0], spec))
    answers, index = trial.ask(pictures), np.array(rows, dtype=np.int64)
    calls, was = trial.calls(answers), trial.called[index]
    tumour, healthy = (was & (trial.labels[index] == 1), ~was & (trial.labels[index] == 0))
    says = "Without the skull, only {} of the tumours found before are found"
    return [
        Figure("skull stripped", "still predicted positive",
               trial.share(calls[tumour], index[tumour]), 0.85, None, says),
        Figure("skull stripped", "healthy flips to tumour",
               trial.share(calls[healthy], index[healthy]), None, 0.1,
               "Without the skull, {} of the healthy scans are predicted positive"),
    ]  # fmt: skip


def _drop(trial: Trial, rows: list[int], pictures: list[Picture], fill: str) -> list[Figure]:
    answers = trial.ask(pictures)
    before, calls = trial.base.prob[rows], trial.calls(answers)
    was = trial.called[rows]
    turned = trial.share(~calls[was], np.array(rows, dtype=np.int64)[was])
    says = f"Masking the tumour ({fill}) lowers the probability in only {{}} of tumour images"
    drops = trial.share(answers.prob < before, rows)
    return [
        Figure("masked tumour", f"{fill}: probability drops", drops, 0.9, None, says),
        Figure("masked tumour", f"{fill}: mean drop", trial.share(before - answers.prob, rows),
               share=False),
        Figure("masked tumour", f"{fill}: flips to healthy", turned),
    ]  # fmt: skip


def _control(trial: Trial, rows: list[int], pictures: list[Picture], fill: str) -> list[Figure]:
    answers = trial.ask(pictures)
    before, was = trial.base.prob[rows], trial.called[rows]
    lost = trial.share(~trial.calls(answers)[was], np.array(rows, dtype=np.int64)[was])
    says = f"Masking as much of the head beside the tumour ({fill}) turns {{}} to healthy"
    drop = trial.share(before - answers.prob, rows)
    return [
        Figure("masked elsewhere", f"{fill}: mean drop", drop, share=False),
        Figure("masked elsewhere", f"{fill}: flips to healthy", lost, None, 0.1, says),
    ]


def _covered(scan: Scan, disc: Mask) -> bool:
    tumour = scan.tumour
    return bool(tumour.any() and (tumour & disc).sum() >= _COVERED * tumour.sum())
