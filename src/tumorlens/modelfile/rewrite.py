"""A model file with another card: the graph stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tumorlens.modelfile.card import ModelCard
from tumorlens.modelfile.drift import DriftReference
from tumorlens.modelfile.files import read_model, write_model
from tumorlens.modelfile.series import SeriesRule


def write_series_rule(model: str | Path, rule: SeriesRule, output: str | Path) -> None:
    """Write a copy of a model file whose card has this series rule.

    ``output`` may be ``model``: it is replaced atomically. Raises as `read_model` and
    `write_model`.
    """
    _write_with(model, {"series": rule}, output)


def write_drift_reference(
    model: str | Path, reference: DriftReference, output: str | Path
) -> ModelCard:
    """Write a copy of a model file whose card has these histograms; return the card.

    ``output`` and errors as for `write_series_rule`.
    """
    return _write_with(model, {"drift": reference}, output)


def _write_with(model: str | Path, changes: dict[str, Any], output: str | Path) -> ModelCard:
    file = read_model(model)
    card = ModelCard.model_validate(file.card.model_dump() | changes)
    write_model(file.onnx_bytes, card, output)
    return card
