"""Figures of an evaluation on the card: added, replaced, and only for the file they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.models_for_tests import tiny_onnx, write_tiny_model
from tumorlens.cli.app import run
from tumorlens.errors import DataError
from tumorlens.modelfile import Metric, read_model
from tumorlens.modelfile.figures import add_figures

FIGURE = {"test": "blur", "name": "ROC-AUC", "value": 0.6, "low": 0.5, "high": 0.7, "n": 40}
UNDEFINED = FIGURE | {"name": "drop", "value": None, "low": None, "high": None}
MEASURES = {
    name: {"value": 0.8, "low": 0.7, "high": 0.9, "n": 12}
    for name in ("pointing", "pointing_15px", "energy_in_box", "iou_at_area", "box_iou")
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    known = Metric(name="pointing", split="test/a", value=0.1, low=0.0, high=0.2, n=3)
    return write_tiny_model(tmp_path / "m.onnx", metrics=(known,))


def report(model: Path, name: str, **content: Any) -> Path:
    path = model.with_name(name)
    of = {"model": {"sha256": read_model(model).sha256}}
    path.write_text(json.dumps(of | content), encoding="utf-8")
    return path


def test_metrics_and_findings_are_added_to_the_card(model: Path) -> None:
    shortcuts = {"part": "test", "measurements": [FIGURE, UNDEFINED], "findings": ["leans on blur"]}
    maps = {"part": "test", "maps": {"class map": {"all": MEASURES, "a": MEASURES}, "other": {}}}
    reports = [
        report(model, "s.json", shortcuts=shortcuts),
        report(model, "e.json", explanations=maps),
    ]
    before = read_model(model)
    copy = model.with_name("copy.onnx")
    arguments = [part for each in reports for part in ("--figures", str(each))]
    assert run(["model", str(model), *arguments, "--output", str(copy)]) == 0
    after = read_model(copy)
    graphs = [onnx.load_from_string(each.onnx_bytes).graph for each in (before, after)]
    assert graphs[0] == graphs[1] == onnx.load_from_string(tiny_onnx()).graph
    assert after.card.limitations == (*before.card.limitations, "leans on blur")
    listed = {(m.name, m.split): m.value for m in after.card.metrics}
    assert listed["shortcut: blur: ROC-AUC", "test"] == 0.6
    assert listed["pointing", "test/a"] == 0.8
    assert len(listed) == 1 + 2 * 4
    changed = {"metrics", "limitations"}
    assert after.card.model_dump(exclude=changed) == before.card.model_dump(exclude=changed)


def test_other_reports_are_refused(model: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "other.onnx", name="other")
    cases = {
        "is about the model": report(other, "o.json", shortcuts={}),
        "no such results": report(model, "n.json"),
        "not a report": tmp_path / "missing.json",
    }
    for told, path in cases.items():
        with pytest.raises(DataError, match=told):
            add_figures(model, [path], tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_figures_without_output_are_refused(model: Path) -> None:
    assert run(["model", str(model), "--figures", "x.json"]) == 2
