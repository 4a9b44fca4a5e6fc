"""The shortcut battery: does a model answer by the tumour, or by what happens to come with it?

Each test changes a scan so that it is known what must happen to the answer; `docs/evaluation.md`
says what every figure means. The model file is asked through `Predictor`, without torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorlens.data.manifest import Record
from tumorlens.errors import DataError
from tumorlens.evaluation.sampling import ask, draw_by_group
from tumorlens.evaluation.shortcuts.exchange import pasted, swapped
from tumorlens.evaluation.shortcuts.probes import (
    associations,
    check_installed,
    left_out,
    map_features,
    probes,
)
from tumorlens.evaluation.shortcuts.removal import (
    untouched,
    without_centre,
    without_detail,
    without_head,
    without_skull,
    without_tumour,
    without_tumour_half,
)
from tumorlens.evaluation.shortcuts.samples import read_scan
from tumorlens.evaluation.shortcuts.trial import Figure, Trial
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import Metric

Progress = Callable[[int, int], None]
_TESTS: tuple[Callable[[Trial], list[Figure]], ...] = (
    *(untouched, without_head, without_centre, without_tumour, without_tumour_half),
    *(pasted, without_detail, without_skull, swapped, associations),
)


@dataclass(frozen=True)
class Battery:
    """What the shortcut battery found.

    Attributes:
        part: Part of the split that was measured, or ``all records``.
        images: Scans the tests were done on.
        of: Scans they were drawn from; the same number when all were taken.
        seed: Of the draw, the places, the partners and the intervals.
        figures: Every figure, with its limit where one is stated.
        left_out: What could not be tried on these scans, and why.
    """

    part: str
    images: int
    of: int
    seed: int
    figures: tuple[Figure, ...]
    left_out: tuple[str, ...] = ()

    def to_metrics(self) -> tuple[Metric, ...]:
        """Return every defined figure as a model card states it, named ``shortcut: TEST: NAME``."""
        return tuple(
            Metric(
                name=f"shortcut: {figure.test}: {figure.name}",
                split=self.part,
                value=e.value,
                low=e.low,
                high=e.high,
                n=e.n,
            )
            for figure in self.figures
            if all(map(math.isfinite, ((e := figure.estimate).value, e.low, e.high)))
        )

    def findings(self) -> tuple[str, ...]:
        """Return a sentence for every figure that misses its limit, for a card's limitations."""
        return tuple(figure.finding() for figure in self.figures if figure.fails)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready; an undefined figure is None."""
        return {
            "part": self.part,
            "images": self.images,
            "of": self.of,
            "seed": self.seed,
            "figures": [figure.to_dict() for figure in self.figures],
            "left_out": list(self.left_out),
            "findings": list(self.findings()),
        }


def shortcut_battery(
    predictor: Predictor,
    records: Sequence[Record],
    *,
    part: str = "all records",
    limit: int | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    weights: str | Path | None = None,
    progress: Progress | None = None,
) -> Battery:
    """Do every test of the battery on a model and labelled, grouped scans.

    Args:
        predictor: The opened model.
        records: As `choose_subject` gives them.
        part: Name of the part of a split that they are, for the card.
        limit: Take about so many, see `draw_by_group`; None takes all.
        seed: Of the draw, the places, the partners and the bootstrap.
        n_boot: Resamples of the grouped bootstrap.
        weights: Run folder the model came from: the classifiers are tried on features of its last
            decoder stage as well (needs torch).
        progress: Called with steps done and steps in all.

    Raises:
        DataError: A record has no label or no group.
        InputError: A file cannot be decoded.
        MissingExtraError: scikit-learn is not installed.
        ExportError: ``weights`` holds no weights of this model.
    """
    check_installed()
    if any(record.label is None or record.group is None for record in records):
        raise DataError("the battery needs records with a label and a group; use choose_subject")
    chosen = draw_by_group(records, limit, seed)
    steps = _Steps(len(chosen) + len(_TESTS) + 2, progress)
    scans = []
    for record in chosen:
        scans.append(read_scan(predictor, record))
        steps.done()
    base = ask(predictor, [scan.picture for scan in scans])
    trial = Trial(predictor, tuple(scans), base, seed, n_boot)
    steps.done()
    features = map_features(trial)
    if weights is not None:
        from tumorlens.evaluation.shortcuts.features import decoder_features

        pictures = [scan.picture for scan in scans]
        features["decoder"] = decoder_features(weights, predictor.card, pictures)
    figures: list[Figure] = []
    for test in _TESTS:
        figures += test(trial)
        steps.done()
    figures += probes(trial, features)
    steps.done()
    return Battery(part, len(chosen), len(records), seed, tuple(figures), left_out(trial))


class _Steps:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._at = total, progress, 0

    def done(self) -> None:
        self._at += 1
        if self._progress is not None:
            self._progress(self._at, self._total)
