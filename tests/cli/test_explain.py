"""``tumorlens explain``: the pictures, the JSON beside them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.models_for_tests import write_tiny_model
from tumorlens.cli.app import run
from tumorlens.imaging.decode import decode
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.overlay import render_overlay
from tumorlens.inference.predictor import Predictor

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _model(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORLENS_MODEL", str(tiny_model_path))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for seed, name in enumerate(["a/scan.png", "b/scan.png", "b/.Scan.png", "b/od d=.png"]):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), draw_phantom(seed, lesion=True).image)
    return tmp_path / "in"


def test_each_image_gets_an_overlay_and_a_prediction(
    scans: Path, tmp_path: Path, tiny_model_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "new" / "out"
    arguments = ["explain", str(scans), "--output", str(out), "--opacity", "0.8"]
    assert run([*arguments, "--format", "jsonl"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = ["scan.png", "od_d_.png", "scan.png-2"]
    assert sorted(entry.name for entry in out.iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("png", "json")
    )
    predictor = Predictor.open(tiny_model_path)
    for name, row in zip(names, listed, strict=True):
        wanted = predictor.explain(row["path"])
        overlay = decode(out / f"{name}.png").pixels
        np.testing.assert_array_equal(overlay, render_overlay(wanted.scan, wanted.heatmap, 0.8))
        facts = json.loads((out / f"{name}.json").read_text())
        assert facts.pop("overlay") == f"{name}.png"
        assert facts.pop("opacity") == 0.8
        assert facts.pop("heat_peak") == float(wanted.heatmap.max())
        assert facts == row


def test_unreadable_inputs_are_reported_and_the_rest_processed(
    scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    (scans / "a" / "cut.png").write_bytes((scans / "a" / "scan.png").read_bytes()[:500])
    out = tmp_path / "out"
    assert run(["explain", str(scans), "--output", str(out)]) == 3
    printed = capsys.readouterr()
    assert "cut.png" in printed.err
    assert "scan.png" in printed.out
    assert len(list(out.glob("*.png"))) == 3


def test_a_folder_that_cannot_be_created_is_refused(
    scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").touch()
    assert run(["explain", str(scans), "--output", str(tmp_path / "file" / "out")]) == 2
    assert "cannot be created" in capsys.readouterr().err


def test_a_model_without_a_class_map_is_refused(
    scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    model = write_tiny_model(tmp_path / "flat.onnx", has_map=False)
    out = tmp_path / "out"
    assert run(["explain", str(scans), "--model", str(model), "--output", str(out)]) == 2
    assert "has no class map" in capsys.readouterr().err
    assert not list(out.glob("*"))
