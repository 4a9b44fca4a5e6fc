"""A model file with another card: the graph stays as it is."""

from __future__ import annotations

from pathlib import Path

from tumorlens.modelfile.card import ModelCard
from tumorlens.modelfile.files import read_model, write_model
from tumorlens.modelfile.series import SeriesRule


def write_series_rule(model: str | Path, rule: SeriesRule, output: str | Path) -> None:
    """Write a copy of a model file whose card has this series rule.

    ``output`` may be ``model``: it is replaced atomically. Raises as `read_model` and
    `write_model`.
    """
    file = read_model(model)
    card = ModelCard.model_validate(file.card.model_dump() | {"series": rule})
    write_model(file.onnx_bytes, card, output)
