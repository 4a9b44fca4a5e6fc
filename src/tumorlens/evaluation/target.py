"""The evaluation target: a model file, labelled scans, and reasons to distrust the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.sources import load_source
from tumorlens.data.splits import PARTS, Split, data_digest, grouping_note, read_split
from tumorlens.errors import DataError, SplitError
from tumorlens.inference.predictor import Predictor, find_model
from tumorlens.modelfile import ModelCard


@dataclass(frozen=True)
class EvaluationTarget:
    """A model and the scans it is measured on.

    Attributes:
        predictor: The opened model file.
        records: Labelled and grouped.
        part: Part of the split that they are; None for all of the data.
        warnings: Reasons to distrust results on these scans, such as an overlap with training.
    """

    predictor: Predictor
    records: tuple[Record, ...]
    part: str | None
    warnings: tuple[str, ...]


def choose_target(
    model: str | Path | None,
    data: Sequence[str | Path],
    *,
    split: str | Path | None = None,
    part: str = "test",
    threads: int | None = None,
) -> EvaluationTarget:
    """Open a model file and choose the scans to measure it on.

    Args:
        model: The file; None takes the default, as `Predictor.open` does.
        data: Folders, manifests or names of sources, as `load_source` takes them.
        split: Only the records that this split file holds in ``part``.
        part: ``train``, ``validation``, ``calibration`` or ``test``; without a split all count.
        threads: Threads of the network.

    Raises:
        ModelFileError: The model cannot be used.
        DataError: The data, or the split, cannot be used, or a record has no label.
    """
    predictor = Predictor.open(model, threads=threads)
    loaded = group_records([record for each in data for record in load_source(each)])
    given = None if split is None else read_split(split)
    chosen = loaded if given is None else _part_of(given, part, loaded)
    _check_labelled(chosen)
    warnings = _warnings(predictor.card, chosen, loaded, given, part)
    if given is None and (beside := _split_beside(model, predictor.card)) is not None:
        warnings = _overlap(beside, chosen, loaded)
    return EvaluationTarget(
        predictor, tuple(chosen), None if given is None else part, tuple(warnings)
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


def _warnings(
    card: ModelCard,
    chosen: Sequence[Record],
    loaded: Sequence[Record],
    split: Split | None,
    part: str,
) -> list[str]:
    """Return the reasons to distrust results that card and split tell of."""
    learned = {source.source: source.n for source in card.data}
    if split is None:
        return [
            f"the model learned from {learned[source]} images of {source}, and no split says "
            f"which: the metrics on its {n} images may be optimistically biased; give the run's "
            "--split"
            for source, n in sorted(Counter(record.source for record in chosen).items())
            if source in learned
        ]
    warnings = _overlap(split, chosen, loaded)
    if sum(learned.values()) != len(split.train):
        warnings.append(
            f"the split has {len(split.train)} training images and the model's card "
            f"{sum(learned.values())}: perhaps the model was trained by another split"
        )
    held = len(split.parts()[part])
    if len(chosen) < held:
        warnings.append(
            f"only {len(chosen)} of the {held} records of part '{part}' are in the data"
        )
    if note := grouping_note(split):
        warnings.append(note)
    elif data_digest(loaded) != split.data_sha256:
        warnings.append(_difference(loaded, split))
    return warnings


def _difference(loaded: Sequence[Record], split: Split) -> str:
    """Say that a split was made for other data, or that this cannot be told.

    A run takes some slices of each volume, a folder of volumes gives all of them.
    """
    known = {key for keys in split.parts().values() for key in keys}
    spare = sum(record.is_slice and record.key not in known for record in loaded)
    if not spare:
        return "the split was made for other data: files, labels or groups differ"
    return (
        f"{spare} slices of the volumes are in no part of the split, and were not measured; with "
        "them it cannot be told whether files, labels or groups have changed since it was made"
    )


def _split_beside(model: str | Path | None, card: ModelCard) -> Split | None:
    """Return the split of the run folder that the model lies in, when it is the model's."""
    path = find_model(model).parent / "split.json"
    if not path.is_file():
        return None
    split = read_split(path)
    return split if sum(source.n for source in card.data) == len(split.train) else None


def _overlap(split: Split, chosen: Sequence[Record], loaded: Sequence[Record]) -> list[str]:
    """Tell how many records training has seen: themselves, near-duplicates, the same patient."""
    train, total = set(split.train), len(chosen)
    groups = {record.group for record in loaded if record.key in train}
    seen = sum(record.key in train for record in chosen)
    akin = sum(record.key not in train and record.group in groups for record in chosen)
    tuned = {*split.validation, *split.calibration}
    used = sum(record.key in tuned for record in chosen)
    counts = (
        (seen, "were in the model's training part"),
        (akin, "are near-duplicates or patients of training images"),
        (used, "were used to choose the epoch or the threshold"),
    )
    return [
        f"{count} of {total} images {what}: their metrics are optimistically biased"
        for count, what in counts
        if count
    ]
