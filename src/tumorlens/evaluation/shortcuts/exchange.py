"""Tests that put something in: a lesion, healthy tissue, other surroundings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tumorlens.evaluation.sampling import Answers, prepare
from tumorlens.evaluation.shortcuts.interventions import (
    Mask,
    Picture,
    graft,
    moved,
    swap_background,
)
from tumorlens.evaluation.shortcuts.trial import Figure, Trial
from tumorlens.metrics.localization import pointing_hit


def pasted(trial: Trial) -> list[Figure]:
    """Paste a lesion into heads called healthy: answer and map must follow; tissue must not.

    The control pastes healthy tissue of another scan, of the same shape at the same place.
    """
    hosts = np.flatnonzero((trial.labels == 0) & ~trial.called)
    rows, lesions, tissues, places = _grafts(trial, hosts)
    ill, well = trial.ask(lesions), trial.ask(tissues)
    risen = "Only {} of lesions pasted into healthy scans are predicted positive"
    alarm = "Healthy tissue pasted into healthy scans is predicted positive in {}"
    figures = [
        Figure("pasted lesion", "predicted positive", trial.share(trial.calls(ill), rows),
               0.8, None, risen),
        Figure("pasted lesion", "probability rises",
               trial.share(ill.prob > trial.base.prob[rows], rows)),
        Figure("pasted tissue", "predicted positive", trial.share(trial.calls(well), rows),
               None, 0.1, alarm),
        Figure("pasted tissue", "mean rise", trial.share(well.prob - trial.base.prob[rows], rows),
               share=False),
    ]  # fmt: skip
    if ill.maps is not None:
        hits = [_points_at(heat, place) for heat, place in zip(ill.maps, places, strict=True)]
        says = "The map's peak lies in the pasted lesion in only {}"
        figures.insert(
            2, Figure("pasted lesion", "peak inside", trial.share(hits, rows), 0.8, None, says)
        )
    return figures


def swapped(trial: Trial) -> list[Figure]:
    """Exchange a head's surroundings for another scan's: the answer must stay.

    The control takes the surroundings of a scan of the same class: what changes then, the cutting
    itself has changed.
    """
    labels = trial.labels
    across = _backgrounds(trial, [_partner(trial, row, 1 - labels[row]) for row in _all(trial)])
    within = _backgrounds(trial, [_partner(trial, row, labels[row]) for row in _all(trial)])
    says = "{} of answers change when the background is that of a scan of the other class"
    figures = [_changes(trial, across, "of the other class: answers change", 0.05, says)]
    for label, name in ((0, "healthy flips to tumour"), (1, "tumour flips to healthy")):
        rows = [row for row in across[0] if labels[row] == label]
        figures.append(_changes(trial, across, f"of the other class: {name}", keep=rows))
    figures.append(_changes(trial, within, "of the same class: answers change"))
    return figures


def _grafts(
    trial: Trial, hosts: NDArray[np.int64]
) -> tuple[list[int], list[Picture], list[Picture], list[Mask]]:
    """Return the hosts that had room, with lesion, with tissue, and where the patch lies."""
    annotated = [row for row, scan in enumerate(trial.scans) if scan.tumour.any()]
    rows, lesions, tissues, places = [], [], [], []
    for row in hosts.tolist() if annotated else []:
        rng = trial.generator(row)
        donor = annotated[rng.integers(len(annotated))]
        patch = trial.scans[donor].tumour
        shift = trial.place(patch, row)
        other = _partner(trial, row, 0)
        back = None if other is None else trial.place(patch, other)
        if shift is None or other is None or back is None:
            continue
        host = trial.scans[row].picture
        nothing = np.zeros_like(patch)
        ill, place = graft(host, nothing, trial.scans[donor].picture, shift, patch)
        to_host = (shift[0] - back[0], shift[1] - back[1])
        well, _ = graft(host, nothing, trial.scans[other].picture, to_host, moved(patch, back))
        rows.append(row)
        lesions.append(ill)
        tissues.append(well)
        places.append(place)
    return rows, lesions, tissues, places


def _points_at(heat: NDArray[np.float32], place: Mask) -> bool:
    ys, xs = np.flatnonzero(place.any(axis=1)), np.flatnonzero(place.any(axis=0))
    box = np.array([[xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]]) / len(place)
    return pointing_hit(heat, box)


def _all(trial: Trial) -> range:
    return range(len(trial.scans))


def _partner(trial: Trial, row: int, label: int) -> int | None:
    """Draw a scan of a class that is of another group, from another source if there is one."""
    scans, mine = trial.scans, trial.scans[row].record
    others = [
        other
        for other, scan in enumerate(scans)
        if scan.record.label == label and scan.record.group != mine.group
    ]
    foreign = [other for other in others if scans[other].record.source != mine.source]
    pool = foreign or others
    return int(trial.generator(row).choice(pool)) if pool else None


def _backgrounds(trial: Trial, partners: Sequence[int | None]) -> tuple[list[int], Answers]:
    rows = [row for row, partner in enumerate(partners) if partner is not None]
    pictures = []
    for row in rows:
        other = trial.scans[partners[row] or 0]
        swapped_picture = swap_background(trial.scans[row].shown, other.shown)
        pictures.append(prepare(trial.predictor, swapped_picture).tensor)
    return rows, trial.ask(pictures)


def _changes(
    trial: Trial,
    asked: tuple[list[int], Answers],
    name: str,
    at_most: float | None = None,
    says: str = "",
    keep: Sequence[int] | None = None,
) -> Figure:
    rows, answers = asked
    changed = trial.calls(answers) != trial.called[rows]
    kept = [i for i, row in enumerate(rows) if keep is None or row in set(keep)]
    estimate = trial.share(changed[kept], np.array(rows, dtype=np.int64)[kept])
    return Figure("swapped background", name, estimate, None, at_most, says)
