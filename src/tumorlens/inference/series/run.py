"""A series from its first slice to its answer, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, cast, get_args

import numpy as np

from tumorlens.errors import ConfigError
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.header import SequenceName
from tumorlens.inference.domain import TOO_LITTLE_BRAIN
from tumorlens.inference.prediction import Decision, Label
from tumorlens.inference.series.answer import Finding, Geometry, SeriesPrediction, SliceAnswer
from tumorlens.inference.series.measures import find_midline, to_findings
from tumorlens.inference.series.regions import chain_regions
from tumorlens.inference.series.rule import Score, Track, run_length, score_series
from tumorlens.inference.series.scan import SliceEvidence, scan_slices
from tumorlens.metrics.calibration import probability, sigmoid
from tumorlens.metrics.decision import decide, prediction_set
from tumorlens.modelfile.series import DEFAULT_SERIES_RULE, SeriesRule
from tumorlens.volumes.slices import cut
from tumorlens.volumes.volume import Volume

if TYPE_CHECKING:
    from tumorlens.inference.predictor import Predictor

# A series is none of a head's MRI when more than this share of what was asked is refused as such.
_FOREIGN_SHARE = 0.5


class SeriesRun:
    """One volume on its way to an answer.

    Iterating runs the network and yields ``(done, of)`` slices after each batch; `answer` is there
    afterwards. What is kept of a slice is its class map; pixels are cut again where needed.
    """

    def __init__(
        self,
        predictor: Predictor,
        volume: Volume,
        plane: Plane | None = None,
        *,
        refusal: str | None = None,
        batch_size: int = 8,
        readers: int = 2,
        started: float | None = None,
    ) -> None:
        """Cut ``volume`` in ``plane``, by default its plane of acquisition.

        Args:
            predictor: the model.
            volume: the scan.
            plane: ``axial``, ``coronal`` or ``sagittal``.
            refusal: what the header says against the series, or None.
            batch_size: slices per forward pass.
            readers: threads that cut and preprocess slices; 0: the caller's.
            started: `time.perf_counter` when reading the file began; None: now.

        Raises:
            ConfigError: another plane, or ``batch_size`` below 1.
        """
        if plane is not None and plane not in get_args(Plane):
            raise ConfigError(f"plane {plane!r}: give axial, coronal or sagittal")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; give 1 or more")
        self.predictor, self.volume, self.plane = predictor, volume, plane or volume.plane
        self.rule: SeriesRule = predictor.card.series or DEFAULT_SERIES_RULE
        self.evidence: list[SliceEvidence] = []
        self._refusal = refusal
        if refusal is None and volume.modality not in (None, "MR"):
            self._refusal = f"the header says {volume.modality}"
        self._batch_size, self._readers = batch_size, readers
        self._start = perf_counter() if started is None else started

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Run the network; yields slices done, and of how many."""
        cuts = list(cut(self.volume, self.plane))
        if self._refusal is not None:
            self.evidence = [SliceEvidence(each, None, self._refusal) for each in cuts]
            return
        for batch in scan_slices(self.predictor, cuts, self._batch_size, self._readers):
            self.evidence += batch
            yield len(self.evidence), len(cuts)

    @property
    def answered(self) -> list[SliceEvidence]:
        """The slices that count."""
        return [each for each in self.evidence if each.answered]

    @cached_property
    def track(self) -> Track:
        """The answered slices as the rule sees them."""
        found = self.answered
        peaks = np.array([each.peak_mm() for each in found], dtype=np.float64).reshape(-1, 2)
        return Track(
            np.array([each.cut.index for each in found], dtype=np.int64),
            np.array([each.logit for each in found], dtype=np.float64),
            peaks,
            self._slice_mm,
        )

    @cached_property
    def answer(self) -> SeriesPrediction:
        """The answer; to be asked for after iterating to the end."""
        rule, card = self.rule, self.predictor.card
        score = score_series(self.track, rule) if len(self.track) else None
        prob = None if score is None else float(probability(score.value, 1 / rule.slope,
                                                            rule.intercept))  # fmt: skip
        threshold = card.threshold.value if rule.threshold is None else rule.threshold
        reason = self._foreign()
        label: Label | None = None
        decision: Decision = "uncertain"
        members: tuple[Label, ...] = ()
        if prob is not None:
            label = "tumor" if prob >= threshold else "healthy"
            conformal = rule.conformal
            members = prediction_set(prob, conformal) if conformal else (label,)
            decision = decide(prob, threshold, conformal) if reason is None else "uncertain"
        return SeriesPrediction(
            label=label,
            prob=prob,
            decision=decision,
            prediction_set=members,
            threshold=threshold,
            threshold_origin=self._origin(),
            in_domain=reason is None,
            in_domain_reason=reason,
            plane=self.plane,
            sequence=self.sequence,
            geometry=self._geometry(),
            slices=tuple(_slice_answer(each, self._level) for each in self.evidence),
            findings=self._findings(score) if label == "tumor" and reason is None else (),
            remarks=self.volume.remarks,
            latency_ms=round((perf_counter() - self._start) * 1000, 3),
            model=self.predictor.ref,
        )

    @property
    def sequence(self) -> SequenceName:
        """The MR sequence by the header, or ``unknown``."""
        return _sequence(self.volume.sequence)

    @property
    def slice_threshold(self) -> float:
        """Probability from which a slice of the series is ``tumor``."""
        return float(sigmoid(self._level))

    @property
    def _level(self) -> float:
        return self.rule.slice_level(self.predictor.card.threshold.value)

    @property
    def _slice_mm(self) -> float:
        return float(self.evidence[0].cut.thickness_mm)

    def _geometry(self) -> Geometry:
        x, y, z = self.volume.data.shape
        return Geometry(
            shape=(x, y, z),
            spacing_mm=self.volume.spacing_mm,
            slice_mm=self._slice_mm,
            oriented=self.volume.oriented,
        )

    def _findings(self, score: Score | None) -> tuple[Finding, ...]:
        if score is None or not self.predictor.card.has_map:
            return ()
        found = self.answered
        masks = ((each.cut.index, each.mask(self.rule.outline_level)) for each in found)
        return to_findings(
            chain_regions(masks, found[0].cut.pixel_mm),
            {each.cut.index: each.cut for each in found},
            {each.cut.index: each.prediction.prob for each in found if each.prediction},
            find_midline(self.volume),
            run=min(run_length(self._slice_mm, self.rule), len(found)),
            threshold=self.slice_threshold,
        )

    def _foreign(self) -> str | None:
        """Return why the series is no usable one of a head's MRI, or None."""
        if self._refusal is not None:
            return self._refusal
        asked = [each for each in self.evidence if each.prediction is not None]
        reasons = Counter(each.set_aside for each in asked if each.set_aside is not None)
        reasons.pop(TOO_LITTLE_BRAIN, None)
        if reasons and reasons.total() > _FOREIGN_SHARE * len(asked):
            return reasons.most_common(1)[0][0]
        if not self.answered:
            return "no slice shows enough brain"
        return None

    def _origin(self) -> str:
        words = self.rule.combination(str(run_length(self._slice_mm, self.rule)))
        origin = self.rule.origin
        if self.rule.threshold is None:
            origin = f"that of single slices ({self.predictor.card.threshold.origin}); {origin}"
        return f"by {words}; threshold: {origin}"


def _slice_answer(each: SliceEvidence, level: float) -> SliceAnswer:
    prediction = each.prediction if each.answered else None
    decision = prediction.decision if prediction else None
    if prediction and each.logit >= level:
        decision = "tumor"
    elif decision == "tumor":
        decision = "uncertain"
    return SliceAnswer(
        index=each.cut.index,
        position_mm=round(each.cut.position_mm, 3),
        prob=prediction.prob if prediction else None,
        decision=decision,
        set_aside=each.set_aside,
    )


def _sequence(name: str) -> SequenceName:
    return cast("SequenceName", name) if name in get_args(SequenceName) else "unknown"
