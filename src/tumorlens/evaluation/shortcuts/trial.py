"""What every test of the battery gets, and the figures it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.evaluation.sampling import Answers, ask
from tumorlens.evaluation.shortcuts.interventions import Mask, Picture, Shift, free_place
from tumorlens.evaluation.shortcuts.samples import Scan
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.shares import auc_estimate, mean_estimate


@dataclass(frozen=True)
class Figure:
    """One measured figure of the battery.

    Attributes:
        test: Which test, such as ``masked tumour``.
        name: What was measured, such as ``probability drops, inpainted``.
        estimate: With its 95 % interval and n.
        at_least, at_most: What a good model reaches; None where no limit is stated.
        says: What it means when a limit is missed, with ``{}`` for the figure.
        share: Whether it is a share (shown in %).
    """

    test: str
    name: str
    estimate: Estimate
    at_least: float | None = None
    at_most: float | None = None
    says: str = ""
    share: bool = True

    @property
    def fails(self) -> bool:
        """Whether the figure itself misses a stated limit; False when it is not defined."""
        value = self.estimate.value
        if not math.isfinite(value):
            return False
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return not low <= value <= high

    def finding(self) -> str:
        """Return what a missed limit means, as a sentence with the figure, its interval and n."""
        e = self.estimate
        if self.share:
            shown = f"{e.value:.0%}".replace("%", " %")
            between = f"{100 * e.low:.0f} to {100 * e.high:.0f} %"
        else:
            shown, between = f"{e.value:.2f}", f"{e.low:.2f} to {e.high:.2f}"
        return f"{self.says.format(shown)} (95 % interval {between}, n = {e.n})."

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready; an undefined figure is None."""
        limits = {"at_least": self.at_least, "at_most": self.at_most}
        return {
            "test": self.test,
            "name": self.name,
            **self.estimate.to_dict(),
            **limits,
            "fails": self.fails,
        }


@dataclass(frozen=True, eq=False)
class Trial:
    """A model, scans, and what the model says to them untouched.

    Attributes:
        predictor: The opened model.
        scans: Labelled and grouped; N of them.
        base: The answers to ``scans``.
        seed: Of places, partners and the bootstrap.
        n_boot: Resamples.
    """

    predictor: Predictor
    scans: tuple[Scan, ...]
    base: Answers
    seed: int
    n_boot: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 healthy or 1 tumour ``[N]``."""
        return np.array([scan.record.label for scan in self.scans], dtype=np.int64)

    @property
    def groups(self) -> NDArray[np.int64]:
        """Group ids ``[N]``."""
        return np.array([scan.record.group for scan in self.scans], dtype=np.int64)

    @property
    def called(self) -> NDArray[np.bool_]:
        """Which scans the model calls a tumour ``[N]``."""
        return self.calls(self.base)

    def calls(self, answers: Answers) -> NDArray[np.bool_]:
        """Return which answers are ``tumor`` at the card's threshold."""
        return np.asarray(answers.prob >= self.predictor.card.threshold.value)

    def share(self, values: ArrayLike, rows: ArrayLike) -> Estimate:
        """Return the mean of ``values`` ``[K]`` that belong to the scans ``rows`` ``[K]``."""
        index = np.asarray(rows, dtype=np.int64)
        return mean_estimate(values, self.groups[index], n_boot=self.n_boot, seed=self.seed)

    def auc(self, answers: Answers) -> Estimate:
        """Return the ROC-AUC of answers to all scans, in their order."""
        options = {"n_boot": self.n_boot, "seed": self.seed}
        return auc_estimate(self.labels, answers.logits, self.groups, **options)

    def generator(self, row: int) -> np.random.Generator:
        """Return the scan's own generator, so that a draw does not depend on the other scans."""
        key = self.scans[row].record.key.encode()
        return np.random.default_rng([self.seed, *key])

    def ask(self, pictures: Sequence[Picture]) -> Answers:
        """Ask the model about changed pictures."""
        return ask(self.predictor, pictures)

    def place(self, patch: Mask, row: int, gone: Mask | None = None) -> Shift | None:
        """Draw a place for a patch in the head of a scan, in the brain if it fits there."""
        rng = self.generator(row)
        for allowed in self.scans[row].inside(gone):
            shift = free_place(patch, allowed, rng)
            if shift is not None:
                return shift
        return None
