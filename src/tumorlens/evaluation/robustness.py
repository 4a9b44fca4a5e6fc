"""Robustness of a model file: metrics at five levels of ten image corruptions."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import read_pixels
from tumorlens.evaluation.corruptions import CORRUPTIONS, MIDDLE, Corruption
from tumorlens.evaluation.sampling import draw_by_group, infer_all, prepare_image, working_copy
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.binary import evaluate
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.plots.levels import LevelCurve, levels_plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TARGET = 0.95
"""ROC-AUC that a model should reach at the middle level of every corruption."""
METRICS = ("roc_auc", "sensitivity", "specificity")
Progress = Callable[[int, int], None]
_BATCH = 32


@dataclass(frozen=True)
class Robustness:
    """The result of `robustness_curves`.

    Attributes:
        part: The measured part of the split, or ``all records``.
        images: Number of scans measured.
        drawn_from: Number of scans they were sampled from.
        seed: Seed of the sampling, the corruptions and the intervals.
        threshold: The card's threshold, used for sensitivity and specificity.
        clean: Metric → estimate without corruption.
        curves: One for each corruption.
    """

    part: str
    images: int
    drawn_from: int
    seed: int
    threshold: float
    clean: dict[str, Estimate]
    curves: tuple[LevelCurve, ...]

    def plot(self) -> Figure:
        """Draw the curves; raises `MissingExtraError` without matplotlib and seaborn."""
        return levels_plot(self.curves, self.clean, target=TARGET, middle=MIDDLE)

    def findings(self) -> tuple[str, ...]:
        """Return a sentence for every middle level below the target, for a card's limitations."""
        return tuple(
            f"With {curve.name} of {curve.strengths[MIDDLE - 1]:g} ({curve.unit}) the ROC-AUC "
            f"falls to {e.value:.2f} (95 % interval {e.low:.2f} to {e.high:.2f}, n = {e.n})."
            for curve in self.curves
            if (e := curve.at(MIDDLE)["roc_auc"]).value < TARGET
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready; an undefined value is None."""
        return {
            "part": self.part,
            "images": self.images,
            "drawn_from": self.drawn_from,
            "seed": self.seed,
            "threshold": self.threshold,
            "target": TARGET,
            "clean": to_dicts(self.clean),
            "curves": [curve.to_dict() for curve in self.curves],
            "findings": list(self.findings()),
        }


def robustness_curves(
    predictor: Predictor,
    records: Sequence[Record],
    *,
    part: str = "all records",
    limit: int | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    progress: Progress | None = None,
) -> Robustness:
    """Corrupt whole images before preprocessing, and evaluate at the card's threshold.

    Args:
        predictor: The opened model.
        records: Labelled and grouped, as in `EvaluationTarget`.
        part: Name of the part of a split they belong to.
        limit: Sample about this many, see `draw_by_group`; None takes all.
        seed: Seed of the sampling, the corruptions and the bootstrap.
        n_boot: Number of resamples of the grouped bootstrap.
        corruptions: Corruptions to apply.
        progress: Called with the number of passes over the scans done and in total.

    Raises:
        InputError: A file cannot be decoded.
    """
    chosen = draw_by_group(records, limit, seed)
    images = [working_copy(read_pixels(record)) for record in chosen]
    labels = np.array([record.label for record in chosen], dtype=np.int64)
    groups = np.array([record.group for record in chosen], dtype=np.int64)
    threshold = predictor.card.threshold.value
    total = 1 + sum(len(corruption.strengths) for corruption in corruptions)
    passes = 0

    def measure(
        corrupt: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]],
    ) -> dict[str, Estimate]:
        nonlocal passes
        prob = _probabilities(predictor, images, corrupt)
        every = evaluate(labels, prob, groups=groups, threshold=threshold, n_boot=n_boot, seed=seed)
        passes += 1
        if progress is not None:
            progress(passes, total)
        return {name: every[name] for name in METRICS}

    clean = measure(lambda image, row: image)
    curves = []
    for kind in corruptions:
        levels = [
            measure(lambda image, row, kind=kind, strength=strength: kind.apply(  # type: ignore[misc]
                image, strength, _generator(seed, chosen[row], kind)))
            for strength in kind.strengths
        ]  # fmt: skip
        curves.append(LevelCurve(kind.name, kind.unit, kind.strengths, tuple(levels)))
    return Robustness(part, len(chosen), len(records), seed, threshold, clean, tuple(curves))


def _probabilities(
    predictor: Predictor,
    images: Sequence[NDArray[np.uint8]],
    corrupt: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]],
) -> NDArray[np.float64]:
    prob = []
    for start in range(0, len(images), _BATCH):
        rows = range(start, min(start + _BATCH, len(images)))
        inputs = [prepare_image(predictor, corrupt(images[row], row)).tensor for row in rows]
        prob.append(infer_all(predictor, inputs).prob)
    return np.concatenate(prob)


def _generator(seed: int, record: Record, kind: Corruption) -> np.random.Generator:
    """Return a generator that is the same at all levels, so that they differ in strength alone."""
    return np.random.default_rng([seed, zlib.crc32(f"{kind.name} {record.key}".encode())])
