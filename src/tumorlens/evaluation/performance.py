"""Performance of a model file on labelled scans, with the code that serves and without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.label_issues import count_label_issues, disputes_label, label_issue_of
from tumorlens.data.manifest import Record
from tumorlens.data.pixels import read_pixels
from tumorlens.evaluation.target import EvaluationTarget
from tumorlens.imaging.image import Image
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.coverage import conformal_coverage
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.metrics.shares import share_estimate
from tumorlens.metrics.summary import Predictions, summarize, summarize_by


@dataclass(frozen=True)
class Evaluation:
    """Performance of a model file on a set of scans.

    Attributes:
        model: Name, version and sha256 of the file.
        temperature, bias, threshold, threshold_origin: From the card; all metrics use them.
        part: The measured part of the split; None without a split.
        overall: Metric → estimate with a 95 % grouped-bootstrap interval and n.
        by_source: Source → metric → estimate.
        by_view: View → metric → estimate, over the scans whose view is known.
        refused: Number of scans that the service would refuse as not being a brain MRI; the
            metrics include them.
        refusals: Share of refused scans over all (``all``), by source, and by source and view.
            Scans known not to be MRI are excluded there and listed as ``known to be no MRI``.
        conformal: The result of `conformal_coverage`; empty without conformal quantiles.
        predictions: One row a scan.
        warnings: Reasons to doubt the metrics.
        label_issues: Number of scans with a known label issue, by kind. All other metrics include
            them with their published labels.
        without_label_issues: Metric → estimate over the other scans; empty if there is no issue.
    """

    model: dict[str, str]
    temperature: float
    bias: float
    threshold: float
    threshold_origin: str
    part: str | None
    overall: dict[str, Estimate]
    by_source: dict[str, dict[str, Estimate]]
    by_view: dict[str, dict[str, Estimate]]
    refused: int
    predictions: Predictions
    warnings: tuple[str, ...]
    refusals: dict[str, Estimate] = field(default_factory=dict)
    conformal: list[dict[str, Any]] = field(default_factory=list)
    label_issues: dict[str, int] = field(default_factory=dict)
    without_label_issues: dict[str, Estimate] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictions, JSON-ready; an undefined value is None."""
        return {
            "model": self.model,
            "temperature": self.temperature,
            "bias": self.bias,
            "threshold": self.threshold,
            "threshold_origin": self.threshold_origin,
            "part": self.part,
            "images": len(self.predictions),
            "refused": self.refused,
            "refusals": to_dicts(self.refusals),
            "conformal": self.conformal,
            "warnings": list(self.warnings),
            "overall": to_dicts(self.overall),
            "label_issues": self.label_issues,
            "without_label_issues": to_dicts(self.without_label_issues),
            "by_source": {name: to_dicts(values) for name, values in self.by_source.items()},
            "by_view": {name: to_dicts(values) for name, values in self.by_view.items()},
        }


def measure(
    target: EvaluationTarget,
    *,
    n_boot: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a model on its scans, at the calibration and threshold of its card.

    Args:
        target: Model and scans from `choose_target`.
        n_boot, seed: Resamples and seed of the grouped bootstrap.
        progress: Called with the number of scans done and in total.

    Raises:
        InputError: A file cannot be decoded; none is skipped.
    """
    predictor = target.predictor
    predictions, refused = _predict(predictor, target.records, progress)
    card = predictor.card

    def summary(rows: Predictions) -> dict[str, Estimate]:
        return summarize(rows, n_boot=n_boot, seed=seed)

    is_refused = np.array(refused, dtype=bool)
    issues = [label_issue_of(record) for record in target.records]
    undisputed = ~np.array([disputes_label(issue) for issue in issues], dtype=bool)
    not_mri = np.array([issue == "not_mri" for issue in issues], dtype=bool)
    return Evaluation(
        {"name": card.name, "version": card.version, "sha256": predictor.sha256},
        card.temperature,
        card.bias,
        card.threshold.value,
        card.threshold.origin,
        target.part,
        summary(predictions),
        summarize_by(predictions, predictions.sources, summary),
        summarize_by(predictions, predictions.views, summary),
        int(is_refused.sum()),
        predictions,
        target.warnings,
        _refusals(is_refused, predictions, not_mri),
        conformal_coverage(predictions, card.conformal),
        dict(count_label_issues(target.records)),
        {} if undisputed.all() or not undisputed.any() else summary(predictions.take(undisputed)),
    )


def _predict(
    predictor: Predictor, records: Sequence[Record], progress: Callable[[int, int], None] | None
) -> tuple[Predictions, list[bool]]:
    def images() -> Iterable[Image]:
        for record in records:
            yield Image(read_pixels(record), "array", record.path.name)

    prob, refused = [], []
    for done, prediction in enumerate(predictor.predict_many(images()), start=1):
        prob.append(prediction.prob)
        refused.append(not prediction.in_domain)
        if progress is not None:
            progress(done, len(records))
    predictions = Predictions(
        keys=tuple(record.key for record in records),
        labels=np.array([record.label for record in records], dtype=np.int64),
        prob=np.array(prob, dtype=np.float64),
        threshold=np.full(len(records), predictor.card.threshold.value),
        groups=np.array([record.group for record in records], dtype=np.int64),
        sources=tuple(record.source for record in records),
        views=tuple(record.view for record in records),
        sequences=tuple(record.sequence for record in records),
        findings=tuple(record.shows for record in records),
    )
    return predictions, refused


def _refusals(
    refused: NDArray[np.bool_], predictions: Predictions, not_mri: NDArray[np.bool_]
) -> dict[str, Estimate]:
    """Return the share of refused scans by kind, see `Evaluation.refusals`."""
    sources = np.array(predictions.sources)
    views = np.array([view or "view not known" for view in predictions.views])
    kinds = {"all": ~not_mri}
    for source in sorted(set(predictions.sources)):
        kinds[source] = (sources == source) & ~not_mri
        for view in sorted(set(views[sources == source].tolist())):
            kinds[f"{source}, {view}"] = kinds[source] & (views == view)
    kinds["known to be no MRI"] = not_mri
    return {
        name: share_estimate(refused[rows], predictions.groups[rows])
        for name, rows in kinds.items()
        if rows.any()
    }
