"""What the report says in words and numbers; nothing in it names a file or a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tumorlens.inference.series.answer import Finding, SeriesPrediction
from tumorlens.inference.series.run import SeriesRun
from tumorlens.metrics.names import metric_name
from tumorlens.modelfile.card import Metric, ModelCard

_HEADLINE = ("roc_auc", "sensitivity", "specificity")
_DECISIONS = {
    "tumor": "Tumour suspected",
    "healthy": "No tumour found",
    "uncertain": "Uncertain",
}
Row = tuple[str, str]


def verdict(answer: SeriesPrediction) -> str:
    """Return the decision in words."""
    return _DECISIONS[answer.decision] if answer.in_domain else "Not answered"


def reason(answer: SeriesPrediction) -> str:
    """Return why there is no clear decision, or "" where there is one."""
    if not answer.in_domain:
        return f"This is no usable series of a head's MRI: {answer.in_domain_reason}."
    if answer.decision == "uncertain":
        left = " nor ".join("tumour" if each == "tumor" else each for each in answer.prediction_set)
        return f"The model can rule out neither {left}." if len(answer.prediction_set) > 1 else (
            "The series is unlike those that the model was calibrated on.")  # fmt: skip
    return ""


def finding_row(number: int, finding: Finding) -> tuple[str, ...]:
    """Return the cells of the table of findings."""
    return (
        str(number),
        f"{finding.first} to {finding.last}",
        str(finding.peak),
        finding.laterality,
        f"{finding.diameter_mm:.1f} mm",
        f"{finding.area_mm2:.0f} mm²",
        f"{finding.volume_ml:.2f} ml",
        f"{finding.prob:.3f}",
    )


def scan_rows(run: SeriesRun) -> list[Row]:
    """Return sequence and geometry."""
    answer, geometry = run.answer, run.answer.geometry
    return [
        ("Sequence", answer.sequence),
        ("Plane of the slices", answer.plane),
        ("Plane of acquisition", run.volume.plane),
        ("Voxels, left to right, back to front, up", " × ".join(map(str, geometry.shape))),
        ("Size of a voxel", " × ".join(f"{each:.4g}" for each in geometry.spacing_mm) + " mm"),
        ("Distance of slices", f"{geometry.slice_mm:.4g} mm"),
        ("Orientation", "known" if geometry.oriented else "not in the file: sides are unknown"),
    ]


def set_aside_rows(answer: SeriesPrediction) -> list[tuple[str, str, str]]:
    """Return each reason for which slices were set aside, their number, and which they are."""
    by_reason: dict[str, list[int]] = {}
    for each in answer.slices:
        if each.set_aside is not None:
            by_reason.setdefault(each.set_aside, []).append(each.index)
    return [
        (reason, str(len(indices)), ", ".join(_ranges(indices)))
        for reason, indices in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]


def remarks(run: SeriesRun) -> list[str]:
    """Return what was unusual about the files, without their names."""
    set_aside = run.volume.set_aside
    named = {f"{name}: {why}" for name, why in set_aside}
    counted: dict[str, int] = {}
    for _, why in set_aside:
        # Copies are told by the name of the other file.
        anonymous = "the same image as another" if why.startswith("the same image as ") else why
        counted[anonymous] = counted.get(anonymous, 0) + 1
    found = [each for each in run.answer.remarks if each not in named]
    return found + [f"{count} images left out: {why}" for why, count in counted.items()]


def model_rows(run: SeriesRun) -> list[Row]:
    """Return a digest of the model's card."""
    card, answer = run.predictor.card, run.answer
    rows = [
        ("Model", f"{card.name} {card.version}, made {card.created}"),
        ("SHA-256 of its file", answer.model.sha256),
        ("Threshold of the series", f"{answer.threshold:.3f}, {answer.threshold_origin}"),
        ("Intended use", card.intended_use),
    ]
    rows += [
        (f"{metric_name(each.name)} on single slices, {each.split}",
         f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f}), n = {each.n}")
        for each in _headline(card)
    ]  # fmt: skip
    return rows


def _headline(card: ModelCard) -> Iterator[Metric]:
    splits = [each.split for each in card.metrics if "/" not in each.split]
    chosen = "test" if "test" in splits else next(iter(splits), "")
    for name in _HEADLINE:
        yield from (each for each in card.metrics if (each.name, each.split) == (name, chosen))


def _ranges(indices: Iterable[int]) -> Iterator[str]:
    first = last = None
    for index in sorted(indices):
        if last is not None and index == last + 1:
            last = index
            continue
        if first is not None:
            yield str(first) if first == last else f"{first} to {last}"
        first = last = index
    if first is not None:
        yield str(first) if first == last else f"{first} to {last}"
