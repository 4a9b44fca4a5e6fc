"""The benchmark that compares two models' answers, on drawn heads."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from benchmarks.same_answers import main, sampled

from tests.models_for_tests import write_tiny_model
from tumorlens.imaging.phantom import draw_phantom

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in range(6):
        head = draw_phantom(seed, lesion=seed % 2 == 1).image
        cv2.imwrite(str(folder / f"{seed}.png"), head)
    (folder / "note.txt").write_text("not an image")
    return folder


def test_a_record_of_a_model_has_its_answers(
    scans: Path, tiny_model_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    record = tmp_path / "answers.jsonl"
    assert main([str(tiny_model_path), str(record), "--record", str(scans)]) == 0
    lines = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
    assert [Path(line["path"]).name for line in lines] == [
        *(f"{seed}.png" for seed in range(6)),
        "note.txt",
    ]
    assert lines[-1]["error"] is not None
    assert main([str(tiny_model_path), str(record)]) == 0
    out = capsys.readouterr().out
    assert "n 7, answered by one only 0, largest difference of a probability 0; " in out
    assert out.endswith("same answers at a tolerance of 1e-06\n")


def test_another_model_is_told_by_its_answers(
    scans: Path, tiny_model_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    other = write_tiny_model(tmp_path / "other.onnx", temperature=0.6)
    assert main([str(tiny_model_path), str(other), str(scans)]) == 1
    assert "different answers" in capsys.readouterr().out
    assert main([str(tiny_model_path), str(other), "--tolerance", "0.5", str(scans)]) == 0


def test_an_answer_that_is_missing_is_a_difference(
    scans: Path, tiny_model_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    record = tmp_path / "answers.jsonl"
    main([str(tiny_model_path), str(record), "--record", str(scans)])
    record.write_text("\n".join(record.read_text("utf-8").splitlines()[:3]) + "\n", "utf-8")
    assert main([str(tiny_model_path), str(record), str(scans)]) == 1
    assert "n 3, answered by one only 4" in capsys.readouterr().out


def test_a_sample_is_the_same_for_the_same_seed(scans: Path) -> None:
    assert sampled([scans], 3, seed=1) == sampled([scans], 3, seed=1)
    assert len(sampled([scans], 3, seed=1)) == 3
    assert len(sampled([scans], 0, seed=1)) == 7
