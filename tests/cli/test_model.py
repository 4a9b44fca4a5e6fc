"""``tumorlens model``: the card, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models_for_tests import write_tiny_model
from tumorlens.cli.app import run
from tumorlens.modelfile import DataSource, Metric, read_model

Capture = pytest.CaptureFixture[str]


def test_json_output_is_the_card(tiny_model_path: Path, capsys: Capture) -> None:
    assert run(["model", str(tiny_model_path), "--json"]) == 0
    card = read_model(tiny_model_path).card
    assert json.loads(capsys.readouterr().out) == card.model_dump(mode="json")


def test_the_card_is_shown_with_its_metrics(tmp_path: Path, capsys: Capture) -> None:
    metric = Metric(name="roc_auc", split="test", value=0.91234, low=0.87, high=0.95, n=321)
    source = DataSource(source="cheng2017", n=3064, sha256="ab" * 32, licence="CC BY 4.0")
    path = write_tiny_model(
        tmp_path / "m.onnx", metrics=(metric,), data=(source,), limitations=("knows [bold] only",)
    )
    assert run(["model", str(path)]) == 0
    rows = {
        line.split("  ")[0]: " ".join(line.split("  ")[1:]).split()
        for line in capsys.readouterr().out.splitlines()
    }
    assert rows["model"] == ["tiny", "1.0,", "2026-11-23"]
    assert rows["file"] == [str(path), "(verified:", "hash", "and", "self-test)"]
    assert rows["sha256"] == [read_model(path).sha256]
    assert rows["limitations"] == ["·", "knows", "[bold]", "only"]
    assert rows["roc_auc"] == ["test", "0.912", "0.870", "to", "0.950", "321"]
    assert rows["cheng2017"] == ["3064", "CC", "BY", "4.0", "abababababababab"]


def test_the_card_is_written_as_markdown(tiny_model_path: Path, capsys: Capture) -> None:
    assert run(["model", str(tiny_model_path), "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# Model card: tiny 1.0\n\n## Model details\n")
    assert "knows brightness only" in printed


def test_a_damaged_file_is_refused(tiny_model_path: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_model_path.read_bytes()[:-1])
    assert run(["model", str(path)]) == 2
    assert "damaged or cut off" in capsys.readouterr().err
