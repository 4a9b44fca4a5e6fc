"""A model file measured on labelled scans: the same code path that serves, no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.pixels import read_pixels
from tumorlens.data.sources import load_source
from tumorlens.data.splits import PARTS, Split, data_digest, read_split
from tumorlens.errors import DataError, SplitError
from tumorlens.evaluation.metrics import Estimate
from tumorlens.evaluation.summary import Predictions, summarize, summarize_by
from tumorlens.imaging.image import Image
from tumorlens.inference.predictor import Predictor, find_model
from tumorlens.modelfile import ModelCard


@dataclass(frozen=True)
class Evaluation:
    """What a model file is worth on some scans.

    Attributes:
        model: Name, version and sha256 of the file.
        temperature, threshold, threshold_origin: The card's, which all figures are at.
        part: Part of the split that was measured; None for all of the data.
        overall: Metric → estimate with a 95 % grouped-bootstrap interval and n.
        by_source: The same for each source.
        refused: Scans that the service would call no usable slice of a head; they count.
        answers: One row a scan.
        warnings: What speaks against trusting the figures.
    """

    model: dict[str, str]
    temperature: float
    threshold: float
    threshold_origin: str
    part: str | None
    overall: dict[str, Estimate]
    by_source: dict[str, dict[str, Estimate]]
    refused: int
    answers: Predictions
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single answers, JSON-ready; an undefined figure is None."""
        return {
            "model": self.model,
            "temperature": self.temperature,
            "threshold": self.threshold,
            "threshold_origin": self.threshold_origin,
            "part": self.part,
            "images": len(self.answers),
            "refused": self.refused,
            "warnings": list(self.warnings),
            "overall": _plain(self.overall),
            "by_source": {name: _plain(values) for name, values in self.by_source.items()},
        }


def evaluate_model(
    model: str | Path | None,
    data: Sequence[str | Path],
    *,
    split: str | Path | None = None,
    part: str = "test",
    n_boot: int = 2000,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a model file on labelled data, at its card's temperature and threshold.

    Args:
        model: The file; None takes the default, as `Predictor.open` does.
        data: Folders, manifests or names of sources, as `load_source` takes them.
        split: Measure only the records that this split file holds in ``part``.
        part: ``train``, ``validation``, ``calibration`` or ``test``; without a split all count.
        n_boot, seed: Of the bootstrap, which resamples groups of near-duplicates and patients.
        threads: Threads of the network.
        progress: Called with scans done and scans in all.

    Raises:
        ModelFileError: The model cannot be used.
        DataError: The data, or the split, cannot be used, or a record has no label.
        InputError: A file cannot be decoded; none is passed over in silence.
    """
    predictor = Predictor.open(model, threads=threads)
    loaded = group_records([record for each in data for record in load_source(each)])
    given = None if split is None else read_split(split)
    chosen = loaded if given is None else _part_of(given, part, loaded)
    _check_labelled(chosen)
    warnings = _doubts(predictor.card, chosen, loaded, given, part)
    if given is None and (beside := _split_beside(model, predictor.card)) is not None:
        warnings = _overlap(beside, chosen, loaded)
    answers, refused = _answer(predictor, chosen, progress)
    card = predictor.card

    def summary(rows: Predictions) -> dict[str, Estimate]:
        return summarize(rows, n_boot=n_boot, seed=seed)

    return Evaluation(
        {"name": card.name, "version": card.version, "sha256": predictor.sha256},
        card.temperature,
        card.threshold.value,
        card.threshold.origin,
        None if given is None else part,
        summary(answers),
        summarize_by(answers, answers.sources, summary),
        refused,
        answers,
        tuple(warnings),
    )


def _part_of(split: Split, part: str, loaded: Sequence[Record]) -> list[Record]:
    if part not in PARTS:
        raise SplitError(f"no part {part!r} in a split; the parts are {', '.join(PARTS)}")
    keys = set(split.parts()[part])
    chosen = [record for record in loaded if record.key in keys]
    if not chosen:
        raise SplitError(
            f"none of the {len(keys)} records of part '{part}' of split '{split.name}' are in the "
            "data given; name the sources the split was made for, as it was made"
        )
    return chosen


def _check_labelled(records: Sequence[Record]) -> None:
    unlabelled = [record.key for record in records if record.label is None]
    if unlabelled:
        raise DataError(
            f"{len(unlabelled)} of {len(records)} images have no label, first {unlabelled[0]}; "
            "put them into folders such as yes/ and no/, or fill the column label of a manifest"
        )


def _answer(
    predictor: Predictor, records: Sequence[Record], progress: Callable[[int, int], None] | None
) -> tuple[Predictions, int]:
    def images() -> Iterable[Image]:
        for record in records:
            yield Image(read_pixels(record), "array", record.path.name)

    prob, refused = [], 0
    for done, prediction in enumerate(predictor.predict_many(images()), start=1):
        prob.append(prediction.prob)
        refused += not prediction.in_domain
        if progress is not None:
            progress(done, len(records))
    answers = Predictions(
        keys=tuple(record.key for record in records),
        labels=np.array([record.label for record in records], dtype=np.int64),
        prob=np.array(prob, dtype=np.float64),
        threshold=np.full(len(records), predictor.card.threshold.value),
        groups=np.array([record.group for record in records], dtype=np.int64),
        sources=tuple(record.source for record in records),
        views=tuple(record.view for record in records),
    )
    return answers, refused


def _doubts(
    card: ModelCard,
    chosen: Sequence[Record],
    loaded: Sequence[Record],
    split: Split | None,
    part: str,
) -> list[str]:
    """Return what speaks against the figures, as far as card and split tell."""
    learned = {source.source: source.n for source in card.data}
    if split is None:
        return [
            f"the model learned from {learned[source]} images of {source}, and no split says "
            f"which: the figures on its {n} images may be flattered; give the run's --split"
            for source, n in sorted(Counter(record.source for record in chosen).items())
            if source in learned
        ]
    doubts = _overlap(split, chosen, loaded)
    if sum(learned.values()) != len(split.train):
        doubts.append(
            f"the split has {len(split.train)} training images and the model's card "
            f"{sum(learned.values())}: perhaps the model was trained by another split"
        )
    held = len(split.parts()[part])
    if len(chosen) < held:
        doubts.append(f"only {len(chosen)} of the {held} records of part '{part}' are in the data")
    if data_digest(loaded) != split.data_sha256:
        doubts.append("the split was made for other data: files, labels or groups differ")
    return doubts


def _split_beside(model: str | Path | None, card: ModelCard) -> Split | None:
    """Return the split of the run folder that the model lies in, when it is the model's."""
    path = find_model(model).parent / "split.json"
    if not path.is_file():
        return None
    split = read_split(path)
    return split if sum(source.n for source in card.data) == len(split.train) else None


def _overlap(split: Split, chosen: Sequence[Record], loaded: Sequence[Record]) -> list[str]:
    """Tell how many records the training has seen: themselves, or a copy or the same patient."""
    train, total = set(split.train), len(chosen)
    groups = {record.group for record in loaded if record.key in train}
    seen = sum(record.key in train for record in chosen)
    akin = sum(record.key not in train and record.group in groups for record in chosen)
    tuned = {*split.validation, *split.calibration}
    used = sum(record.key in tuned for record in chosen)
    counts = (
        (seen, "were in the model's training part: their figures are flattered"),
        (akin, "are copies or patients of training images: their figures are flattered"),
        (used, "were used to choose the epoch or the threshold: their figures are optimistic"),
    )
    return [f"{count} of {total} images {what}" for count, what in counts if count]


def _plain(values: dict[str, Estimate]) -> dict[str, dict[str, float | int | None]]:
    return {
        name: {
            key: value if math.isfinite(value) else None
            for key, value in estimate.to_dict().items()
        }
        for name, estimate in values.items()
    }
