"""A network's predictions on every scan it was measured on, as a CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tumorlens.atomic import write_text
from tumorlens.data.manifest import Record
from tumorlens.errors import DataError
from tumorlens.metrics.calibration import probability
from tumorlens.metrics.summary import Predictions
from tumorlens.runs.scores import Calibration, Scores

_COLUMNS = (
    "part", "key", "source", "view", "sequence", "finding", "group", "label", "prob", "threshold",
)  # fmt: skip


def predictions_of(
    scores: Scores, records: Sequence[Record], calibration: Calibration
) -> Predictions:
    """Return calibrated predictions on a part's records, in the order of the scores."""
    return Predictions(
        keys=tuple(record.key for record in records),
        labels=scores.labels,
        prob=probability(scores.logits, calibration.temperature, calibration.bias),
        threshold=np.full(len(records), calibration.threshold.value),
        groups=scores.groups,
        sources=scores.sources,
        views=tuple(record.view for record in records),
        sequences=tuple(record.sequence for record in records),
        findings=tuple(record.shows for record in records),
    )


def write_predictions(parts: Mapping[str, Predictions], path: Path) -> None:
    """Write predictions by part, one per row; what is unknown is an empty cell.

    Raises:
        OutputError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for part, p in parts.items():
        numbers = (p.groups.tolist(), p.labels.tolist(), p.prob.tolist(), p.threshold.tolist())
        known = (p.views, p.sequences, p.findings)
        for key, source, *row in zip(p.keys, p.sources, *known, *numbers, strict=True):
            writer.writerow((part, key, source, *("" if each is None else each for each in row)))
    write_text(path, text.getvalue())


def read_predictions(path: Path) -> dict[str, Predictions]:
    """Read what `write_predictions` wrote, bit for bit the same.

    Raises:
        DataError: The file is missing or not a table of predictions.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        parts: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            parts.setdefault(row["part"], []).append(row)
        return {part: _table(members) for part, members in parts.items()}
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); train the run first"
        ) from error
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: not a table of predictions ({error})") from error


def concatenated(tables: Sequence[Predictions]) -> Predictions:
    """Return several tables as one, in order."""
    return Predictions(
        keys=tuple(key for table in tables for key in table.keys),
        labels=np.concatenate([table.labels for table in tables]),
        prob=np.concatenate([table.prob for table in tables]),
        threshold=np.concatenate([table.threshold for table in tables]),
        groups=np.concatenate([table.groups for table in tables]),
        sources=tuple(source for table in tables for source in table.sources),
        views=tuple(view for table in tables for view in table.views),
        sequences=tuple(each for table in tables for each in table.sequences),
        findings=tuple(each for table in tables for each in table.findings),
    )


def _table(rows: Sequence[Mapping[str, str]]) -> Predictions:
    return Predictions(
        keys=tuple(row["key"] for row in rows),
        labels=np.array([int(row["label"]) for row in rows], dtype=np.int64),
        prob=np.array([float(row["prob"]) for row in rows]),
        threshold=np.array([float(row["threshold"]) for row in rows]),
        groups=np.array([int(row["group"]) for row in rows], dtype=np.int64),
        sources=tuple(row["source"] for row in rows),
        views=tuple(row["view"] or None for row in rows),
        sequences=tuple(row.get("sequence") or None for row in rows),
        findings=tuple(row.get("finding") or None for row in rows),
    )
