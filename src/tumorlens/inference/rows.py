"""Results as JSON objects and as flat rows: the same columns wherever they are written."""

from __future__ import annotations

from typing import Any

from tumorlens.inference.batch import Result
from tumorlens.inference.prediction import Prediction
from tumorlens.inference.series.answer import SeriesPrediction

# A spreadsheet would evaluate a cell that starts with one of these as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def columns(series: bool) -> tuple[str, ...]:
    """Return the names of `to_row`'s values in order; with ``series`` those of a series too."""
    return ("path", *Prediction.columns(), *(SeriesPrediction.columns() if series else ()))


def to_record(result: Result) -> dict[str, Any]:
    """Return the JSON object of one result; the prediction's fields are null after an error."""
    answer = result.series or result.prediction
    fields = answer.to_dict() if answer else dict.fromkeys(Prediction.model_fields)
    error = str(result.error) if result.error else None
    return {"path": result.path, **fields, "error": error}


def to_row(result: Result) -> dict[str, Any]:
    """Return the flat values of one result, its path first; nothing but the path after an error."""
    answer = result.series or result.prediction
    return {"path": result.path, **(answer.to_row() if answer else {})}


def csv_cell(value: Any) -> Any:
    """Return a value as CSV shows it: lists with spaces, no formula, None as an empty cell."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return " ".join(value)
        case str() if value.startswith(_FORMULA_STARTS):
            return f"'{value}"
        case _:
            return value
