"""Add results of ``tumorlens evaluate`` to the card of a model file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tumorlens.errors import DataError
from tumorlens.modelfile.card import Metric, ModelCard
from tumorlens.modelfile.files import read_model, write_model

_CLASS_MAP = "class map"
_LOCALISATION_METRICS = ("pointing", "pointing_15px", "energy_in_box", "iou_at_area")


def add_figures(model: Path, reports: Sequence[Path], output: Path) -> ModelCard:
    """Write a copy of a model file with the results of shortcut tests and explanations on its card.

    Metrics of the same name and split are replaced, and findings are added to the limitations.
    Network, calibration and threshold are unchanged.

    Args:
        model: The model file.
        reports: From ``tumorlens evaluate --format json`` with ``--shortcuts`` or ``--explain``
            for the same model file.
        output: The file to write; may be ``model`` itself.

    Raises:
        DataError: A report cannot be read, is of another model, or has no such results.
        ModelFileError: The model cannot be used.
        OutputError: The copy cannot be written.
    """
    model_file = read_model(model)
    metrics: dict[tuple[str, str], Metric] = {(m.name, m.split): m for m in model_file.card.metrics}
    findings: list[str] = []
    for path in reports:
        report = _read(path, model_file.sha256)
        new = [*_shortcuts(report), *_maps(report)]
        if not new:
            raise DataError(f"{path}: no such results; evaluate with --shortcuts or --explain")
        metrics |= {(metric.name, metric.split): metric for metric in new}
        findings += report.get("shortcuts", {}).get("findings", [])
    limitations = tuple(dict.fromkeys([*model_file.card.limitations, *findings]))
    changes = {"metrics": tuple(metrics.values()), "limitations": limitations}
    card = ModelCard.model_validate(model_file.card.model_dump() | changes)
    write_model(model_file.onnx_bytes, card, output)
    return card


def _read(path: Path, sha256: str) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        evaluated = report["model"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a report of tumorlens evaluate ({error!r})") from error
    if evaluated != sha256:
        raise DataError(
            f"{path}: is about the model {evaluated[:16]}, not {sha256[:16]}; evaluate this one"
        )
    return dict(report)


def _shortcuts(report: Mapping[str, Any]) -> Iterator[Metric]:
    results = report.get("shortcuts", {})
    for each in results.get("measurements", []):
        name = f"shortcut: {each['test']}: {each['name']}"
        yield from _metric(name, results["part"], each)


def _maps(report: Mapping[str, Any]) -> Iterator[Metric]:
    maps = report.get("explanations", {})
    for source, values in maps.get("maps", {}).get(_CLASS_MAP, {}).items():
        split = maps["part"] if source == "all" else f"{maps['part']}/{source}"
        for name in _LOCALISATION_METRICS:
            yield from _metric(name, split, values[name])


def _metric(name: str, split: str, e: Mapping[str, Any]) -> Iterator[Metric]:
    numbers = [e["value"], e["low"], e["high"]]
    if all(number is not None and math.isfinite(number) for number in numbers):
        value, low, high = numbers
        yield Metric(name=name, split=split, value=value, low=low, high=high, n=e["n"])
