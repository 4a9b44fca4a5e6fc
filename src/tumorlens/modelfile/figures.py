"""What ``tumorlens evaluate`` found about a model, put onto the card inside its file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tumorlens.errors import DataError
from tumorlens.modelfile.card import Metric, ModelCard
from tumorlens.modelfile.files import read_model, write_model

_OWN_MAP = "class map"
_LISTED = ("pointing", "pointing_15px", "energy_in_box", "iou_at_area")


def add_figures(model: Path, reports: Sequence[Path], output: Path) -> ModelCard:
    """Write a copy of a model file whose card tells what the shortcut tests and the maps gave.

    Figures of the same name and split are replaced, and each finding becomes a limitation. The
    network, its temperature and its threshold stay as they are.

    Args:
        model: The file.
        reports: Written by ``tumorlens evaluate --format json`` with ``--shortcuts`` or
            ``--explain``, for this very file.
        output: Where the copy goes; may be ``model`` itself.

    Raises:
        DataError: A report cannot be read, is of another model, or holds neither.
        ModelFileError: The model cannot be used.
        OutputError: The copy cannot be written.
    """
    whole = read_model(model)
    metrics: dict[tuple[str, str], Metric] = {(m.name, m.split): m for m in whole.card.metrics}
    findings: list[str] = []
    for path in reports:
        report = _read(path, whole.sha256)
        found = [*_shortcuts(report), *_maps(report)]
        if not found:
            raise DataError(f"{path}: holds no figures; evaluate with --shortcuts or --explain")
        metrics |= {(metric.name, metric.split): metric for metric in found}
        findings += report.get("shortcuts", {}).get("findings", [])
    limitations = tuple(dict.fromkeys([*whole.card.limitations, *findings]))
    changes = {"metrics": tuple(metrics.values()), "limitations": limitations}
    card = ModelCard.model_validate(whole.card.model_dump() | changes)
    write_model(whole.onnx_bytes, card, output)
    return card


def _read(path: Path, sha256: str) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        of = report["model"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a report of tumorlens evaluate ({error!r})") from error
    if of != sha256:
        raise DataError(
            f"{path}: is about the model file {of[:16]}, not {sha256[:16]}; evaluate this one"
        )
    return dict(report)


def _shortcuts(report: Mapping[str, Any]) -> Iterator[Metric]:
    results = report.get("shortcuts", {})
    for each in results.get("measurements", []):
        name = f"shortcut: {each['test']}: {each['name']}"
        yield from _metric(name, results["part"], each)


def _maps(report: Mapping[str, Any]) -> Iterator[Metric]:
    maps = report.get("explanations", {})
    for source, values in maps.get("maps", {}).get(_OWN_MAP, {}).items():
        split = maps["part"] if source == "all" else f"{maps['part']}/{source}"
        for name in _LISTED:
            yield from _metric(name, split, values[name])


def _metric(name: str, split: str, e: Mapping[str, Any]) -> Iterator[Metric]:
    numbers = [e["value"], e["low"], e["high"]]
    if all(number is not None and math.isfinite(number) for number in numbers):
        value, low, high = numbers
        yield Metric(name=name, split=split, value=value, low=low, high=high, n=e["n"])
