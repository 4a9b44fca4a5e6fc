"""The record of the series rule on a card."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from tumorlens.metrics.decision import Conformal
from tumorlens.modelfile.site import CardRecord

RuleName = Literal["maximum", "top_mean", "run_mean", "run_minimum", "agreeing_run"]
_Positive = Annotated[float, Field(gt=0)]


class SeriesRule(CardRecord):
    """How the slices of a series are combined into its probability.

    The slices' calibrated logits give a score by ``name`` (see `inference.series.rule`), and
    ``prob = sigmoid(slope * score + intercept)``.

    Attributes:
        name: ``maximum``, ``top_mean``, ``run_mean``, ``run_minimum`` or ``agreeing_run``.
        span_mm: Millimetres that a run of neighbouring slices covers.
        thick_mm: From this distance of slices on, one slice is a run.
        top_k: Slices of ``top_mean``.
        distance_mm: Of ``agreeing_run``: how far the maps' peaks of neighbours may lie apart.
        slope, intercept: The series calibration; 1 and 0 mean not calibrated.
        threshold: The series is ``tumor`` from this probability on; None takes the slices'.
        origin: How the threshold was chosen, and on which series.
        conformal: Quantiles of the series' prediction set, or None.
        outline_level: Calibrated logit of the class map from which a pixel belongs to a finding.
        n: Number of series it was chosen on, of ``persons`` persons.
    """

    name: RuleName = "agreeing_run"
    span_mm: _Positive = 6.0
    thick_mm: _Positive = 5.0
    top_k: Annotated[int, Field(ge=1)] = 3
    distance_mm: _Positive = 15.0
    slope: _Positive = 1.0
    intercept: float = 0.0
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    origin: str = "not calibrated for series"
    conformal: Conformal | None = None
    outline_level: float = 0.0
    n: Annotated[int, Field(ge=0)] = 0
    persons: Annotated[int, Field(ge=0)] = 0

    def slice_level(self, slice_threshold: float) -> float:
        """Return the score from which a series is ``tumor``: a calibrated logit, as of slices.

        ``slice_threshold`` is the card's, 0..1, for a rule without one of its own.
        """
        threshold = slice_threshold if self.threshold is None else self.threshold
        bounded = min(max(threshold, 1e-9), 1 - 1e-9)
        return (math.log(bounded / (1 - bounded)) - self.intercept) / self.slope

    def combination(self, run: str) -> str:
        """Return in words how slices are combined; ``run`` says how many slices a run has."""
        return {
            "maximum": "the most suspicious slice",
            "top_mean": f"the mean of the {self.top_k} most suspicious slices",
            "run_mean": f"the mean of the most suspicious run of {run} neighbouring slices",
            "run_minimum": f"the most suspicious run of {run} neighbouring slices, by its least "
            "slice",
            "agreeing_run": f"the mean of the most suspicious run of {run} neighbouring slices "
            "whose evidence is in one place",
        }[self.name]

    def describe(self) -> str:
        """Return the rule, its calibration and threshold as sentences, for cards."""
        threshold = "that of slices" if self.threshold is None else f"{self.threshold:.4g}"
        return (
            f"A series is answered by {self.combination(f'{self.span_mm:g} mm of')}: "
            f"P = sigmoid({self.slope:.4g} · score + {self.intercept:.4g}), threshold {threshold} "
            f"({self.origin}). Where slices are {self.thick_mm:g} mm apart or more, one slice is a "
            f"run. Findings are outlined where the class map's calibrated logit reaches "
            f"{self.outline_level:g}."
        )


DEFAULT_SERIES_RULE = SeriesRule()
"""The rule for cards without one: it is not calibrated, and answers say so."""
