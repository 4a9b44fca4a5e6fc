"""``tumorlens evaluate --explain``: scores, gallery of hits and misses, table."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import pytest
from rich.console import Console

from tests.data.drawn_sets import write_manifest
from tumorlens.cli.app import run
from tumorlens.cli.tables import show_explanations
from tumorlens.data.manifest import Record
from tumorlens.evaluation.localization.sanity import Parity
from tumorlens.evaluation.localization.scores import MEASURES, ExplanationScores
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.metrics.intervals import Estimate

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    records = []
    for seed, lesion in enumerate([True, True, False, False]):
        drawn = draw_phantom(seed, lesion=lesion, size=128)
        path = tmp_path / "data" / f"{seed}.png"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), drawn.image)
        boxes = None if drawn.box is None else (drawn.box,)
        records.append(Record(f"drawn:{seed}", path, "drawn", int(lesion), boxes=boxes))
    write_manifest(records, tmp_path / "data" / "manifest.csv")
    return tmp_path / "data"


def test_explanations_are_written_as_json_and_gallery(
    manifest: Path, tiny_model_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    page = tmp_path / "page.html"
    arguments = ["evaluate", str(tiny_model_path), str(manifest), "--threads", "1"]
    options = ["--explain", "--gallery", str(page), "--format", "json"]
    assert run([*arguments, *options]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    scores = document["explanations"]["maps"]["class map"]["drawn"]
    assert set(scores) == set(MEASURES)
    assert {figure["n"] for figure in scores.values()} == {2}
    assert "random weights" in document["explanations"]["skipped"][0]
    assert document["images"] == 4
    assert page.read_text().count("<figure>") == 2
    assert f"hits and misses: {page}" in printed.err


@pytest.mark.parametrize("options", [["--gallery", "x.html"], ["--weights", "run"]])
def test_options_of_explain_alone_are_refused(
    options: list[str], manifest: Path, tiny_model_path: Path, capsys: Capture
) -> None:
    assert run(["evaluate", str(tiny_model_path), str(manifest), *options]) == 2
    assert "--explain" in capsys.readouterr().err


def test_the_table_has_a_row_for_each_map_and_source() -> None:
    low, high = Estimate(0.25, 0.1, 0.5, 8), Estimate(0.75, 0.5, 0.9, 40)
    found = ExplanationScores(
        "test",
        {
            "class map": {"all": dict.fromkeys(MEASURES, high)},
            "occlusion": {"all": dict.fromkeys(MEASURES, low)},
        },
        {},
        {"head": Estimate(0.125, 0.0, 0.2, 7)},
        Parity(3e-6, 4e-6, 40),
        ("nothing",),
    )
    out = io.StringIO()
    show_explanations(found, Console(file=out, width=400))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert f"map source n {' '.join(MEASURES)}" in lines
    assert "class map all 40" + len(MEASURES) * " 0.750 [0.500, 0.900]" in lines
    assert "occlusion all 8" + len(MEASURES) * " 0.250 [0.100, 0.500]" in lines
    assert "head 7 0.125 [0.000, 0.200]" in lines
    assert any("3e-06 in the logit and 4e-06 in the map (n = 40)" in line for line in lines)
    assert "skipped: nothing" in lines
