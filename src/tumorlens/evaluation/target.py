"""The evaluation target: a model file, labelled scans, and warnings about data leakage."""

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
from tumorlens.inference.default_model import find_model
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import ModelCard


@dataclass(frozen=True)
class EvaluationTarget:
    """A model and the scans it is measured on.

    Attributes:
        predictor: The opened model file.
        records: Labelled and grouped.
        part: The part of the split they belong to; None without a split.
        warnings: Reasons to doubt results on these scans, such as an overlap with training data.
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
    """Open a model file and select the scans to evaluate it on.

    Args:
        model: The file; None takes the default as in `Predictor.open`.
        data: Folders, manifests or names of sources, as `load_source` takes them.
        split: A split file; only the records in its ``part`` are used. None uses all records.
        part: ``train``, ``validation``, ``calibration`` or ``test``.
        threads: Number of inference threads.

    Raises:
        ModelFileError: The model cannot be used.
        DataError: The data, or the split, cannot be used, or a record has no label.
    """
    predictor = Predictor.open(model, threads=threads)
    loaded = group_records([record for each in data for record in load_source(each)])
    if split is None:
        _check_labelled(loaded)
        run_split = _split_of_run(model, predictor.card)
        warnings = (
            _source_warnings(predictor.card, loaded)
            if run_split is None
            else _overlap_warnings(run_split, loaded, loaded)
        )
        return EvaluationTarget(predictor, tuple(loaded), None, tuple(warnings))
    given = read_split(split)
    chosen = _part_of(given, part, loaded)
    _check_labelled(chosen)
    warnings = _split_warnings(predictor.card, chosen, loaded, given, part)
    return EvaluationTarget(predictor, tuple(chosen), part, tuple(warnings))


def _part_of(split: Split, part: str, loaded: Sequence[Record]) -> list[Record]:
    if part not in PARTS:
        raise SplitError(f"no part {part!r} in a split; the parts are {', '.join(PARTS)}")
    keys = set(split.parts()[part])
    chosen = [record for record in loaded if record.key in keys]
    if not chosen:
        raise SplitError(
            f"none of the {len(keys)} records of part '{part}' of split '{split.name}' are in the "
            "data given; give the same sources that the split was made from"
        )
    return chosen


def _check_labelled(records: Sequence[Record]) -> None:
    unlabelled = [record.key for record in records if record.label is None]
    if unlabelled:
        raise DataError(
            f"{len(unlabelled)} of {len(records)} images have no label, first {unlabelled[0]}; "
            "put them into folders such as yes/ and no/, or fill the column label of a manifest"
        )


def _source_warnings(card: ModelCard, chosen: Sequence[Record]) -> list[str]:
    """Return a warning for each source the model was trained on, for want of a split."""
    trained = {source.source: source.n for source in card.data}
    return [
        f"the model was trained on {trained[source]} images of {source}, and no split says which: "
        f"the metrics on its {n} images may be optimistically biased; give the run's --split"
        for source, n in sorted(Counter(record.source for record in chosen).items())
        if source in trained
    ]


def _split_warnings(
    card: ModelCard,
    chosen: Sequence[Record],
    loaded: Sequence[Record],
    split: Split,
    part: str,
) -> list[str]:
    """Return the warnings about a part of a split, from the split and the model's card."""
    warnings = _overlap_warnings(split, chosen, loaded)
    trained = sum(source.n for source in card.data)
    if trained != len(split.train):
        warnings.append(
            f"the split has {len(split.train)} training images and the model's card "
            f"{trained}: perhaps the model was trained with another split"
        )
    size = len(split.parts()[part])
    if len(chosen) < size:
        warnings.append(
            f"only {len(chosen)} of the {size} records of part '{part}' are in the data"
        )
    if note := grouping_note(split):
        warnings.append(note)
    elif data_digest(loaded) != split.data_sha256:
        warnings.append(_describe_difference(loaded, split))
    return warnings


def _describe_difference(loaded: Sequence[Record], split: Split) -> str:
    """Return a warning that the data differ from the split's, or that this cannot be checked.

    A training run uses some slices of each volume; a folder of volumes yields all of them.
    """
    split_keys = {key for keys in split.parts().values() for key in keys}
    unlisted = sum(record.is_slice and record.key not in split_keys for record in loaded)
    if not unlisted:
        return "the split was made for other data: files, labels or groups differ"
    return (
        f"{unlisted} slices of the volumes are in no part of the split and were not measured; "
        "because of them, changes of files, labels or groups since then cannot be detected"
    )


def _split_of_run(model: str | Path | None, card: ModelCard) -> Split | None:
    """Return the split of the run folder that holds the model, if the model was trained with it."""
    path = find_model(model).parent / "split.json"
    if not path.is_file():
        return None
    split = read_split(path)
    return split if sum(source.n for source in card.data) == len(split.train) else None


def _overlap_warnings(
    split: Split, chosen: Sequence[Record], loaded: Sequence[Record]
) -> list[str]:
    """Return warnings about records that training used, or near-duplicates or patients of them."""
    train, total = set(split.train), len(chosen)
    train_groups = {record.group for record in loaded if record.key in train}
    trained = sum(record.key in train for record in chosen)
    related = sum(record.key not in train and record.group in train_groups for record in chosen)
    tuning = {*split.validation, *split.calibration}
    tuned = sum(record.key in tuning for record in chosen)
    counts = (
        (trained, "were in the model's training part"),
        (related, "are near-duplicates of training images or show the same patients"),
        (tuned, "were used to choose the epoch or the threshold"),
    )
    return [
        f"{count} of {total} images {reason}: their metrics are optimistically biased"
        for count, reason in counts
        if count
    ]
