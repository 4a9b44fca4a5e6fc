"""The shortcut tests: does a model use the tumour, or features correlated with it?

Each test modifies scans in a way whose effect on the prediction of a good model is known;
`docs/evaluation.md` explains every measurement. The model file runs in `Predictor`, without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tumorlens.data.manifest import Record
from tumorlens.errors import DataError
from tumorlens.evaluation.sampling import draw_by_group, infer_all
from tumorlens.evaluation.shortcuts.insertion import inserted, swapped
from tumorlens.evaluation.shortcuts.measurement import Measurement
from tumorlens.evaluation.shortcuts.probes import (
    associations,
    check_installed,
    map_features,
    probes,
    skipped,
)
from tumorlens.evaluation.shortcuts.removal import (
    unmodified,
    without_centre,
    without_detail,
    without_head,
    without_skull,
    without_tumour,
    without_tumour_half,
)
from tumorlens.evaluation.shortcuts.scans import ScanSet, read_scan
from tumorlens.inference.predictor import Predictor

Progress = Callable[[int, int], None]
_TESTS: tuple[Callable[[ScanSet], list[Measurement]], ...] = (
    *(unmodified, without_head, without_centre, without_tumour, without_tumour_half),
    *(inserted, without_detail, without_skull, swapped, associations),
)


@dataclass(frozen=True)
class ShortcutResults:
    """The results of the shortcut tests.

    Attributes:
        part: The measured part of the split, or ``all records``.
        images: Number of scans tested.
        drawn_from: Number of scans they were sampled from.
        seed: Seed of the sampling, the random positions, the partner scans and the intervals.
        measurements: All measurements.
        skipped: Reasons why something could not be tested on these scans.
    """

    part: str
    images: int
    drawn_from: int
    seed: int
    measurements: tuple[Measurement, ...]
    skipped: tuple[str, ...] = ()

    def findings(self) -> tuple[str, ...]:
        """Return a sentence for every missed limit, for a card's limitations."""
        return tuple(each.finding() for each in self.measurements if each.fails)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready; an undefined value is None."""
        return {
            "part": self.part,
            "images": self.images,
            "drawn_from": self.drawn_from,
            "seed": self.seed,
            "measurements": [each.to_dict() for each in self.measurements],
            "skipped": list(self.skipped),
            "findings": list(self.findings()),
        }


def run_shortcut_tests(
    predictor: Predictor,
    records: Sequence[Record],
    *,
    part: str = "all records",
    limit: int | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    weights: str | Path | None = None,
    progress: Progress | None = None,
) -> ShortcutResults:
    """Run every shortcut test on a model and labelled, grouped scans.

    Args:
        predictor: The opened model.
        records: Labelled and grouped, as in `EvaluationTarget`.
        part: Name of the part of a split they belong to, for the card.
        limit: Sample about this many, see `draw_by_group`; None takes all.
        seed: Seed of the sampling, the random positions, the partner scans and the bootstrap.
        n_boot: Number of resamples of the grouped bootstrap.
        weights: Run folder the model was exported from; the probes then also use the features of
            its last decoder stage (needs torch).
        progress: Called with the number of steps done and in total.

    Raises:
        DataError: A record has no label or no group.
        InputError: A file cannot be decoded.
        MissingExtraError: scikit-learn is not installed.
        ExportError: ``weights`` holds no weights of this model.
    """
    check_installed()
    if any(record.label is None or record.group is None for record in records):
        raise DataError(
            "the shortcut tests need records with a label and a group; use choose_target"
        )
    chosen = draw_by_group(records, limit, seed)
    steps = count(1)

    def step_done() -> None:
        if progress is not None:
            progress(next(steps), len(chosen) + len(_TESTS) + 2)

    scans = []
    for record in chosen:
        scans.append(read_scan(predictor, record))
        step_done()
    inputs = [scan.tensor for scan in scans]
    data = ScanSet(predictor, tuple(scans), infer_all(predictor, inputs), seed, n_boot)
    step_done()
    features = map_features(data)
    if weights is not None:
        from tumorlens.evaluation.shortcuts.features import decoder_features

        features["decoder"] = decoder_features(weights, predictor.card, inputs)
    found: list[Measurement] = []
    for test in _TESTS:
        found += test(data)
        step_done()
    found += probes(data, features)
    step_done()
    return ShortcutResults(part, len(chosen), len(records), seed, tuple(found), skipped(data))
