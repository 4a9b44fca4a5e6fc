"""``tumorlens predict`` and ``explain`` on volumes: one answer a series, and what is beside it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.inference.series.drawn import head, save, write_bright_model
from tests.models_for_tests import write_tiny_model
from tumorlens.cli.app import run
from tumorlens.imaging.decode import decode
from tumorlens.inference.predictor import Predictor

Capture = pytest.CaptureFixture[str]
TUMOUR = ((30.0, 10.0, 16.0), 25.0)
SMALL = ((64, 72, 20), (3.0, 3.0, 8.0))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tumour, a healthy head, a damaged volume and a picture."""
    import cv2

    from tumorlens.imaging.phantom import draw_phantom

    folder = tmp_path_factory.mktemp("study")
    save(folder / "a.nii.gz", head(TUMOUR, shape=SMALL[0], spacing=SMALL[1]))
    save(folder / "b.nii.gz", head(shape=SMALL[0], spacing=SMALL[1]))
    (folder / "c.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:3000])
    cv2.imwrite(str(folder / "d.png"), draw_phantom(1, lesion=False).image)
    return folder


@pytest.fixture(autouse=True)
def model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    monkeypatch.setenv("TUMORLENS_MODEL", str(path))
    return path


def test_a_folder_gives_a_line_a_series_and_a_line_a_picture(
    study: Path, model: Path, capsys: Capture
) -> None:
    assert run(["predict", str(study), "--format", "jsonl"]) == 3
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.png"]
    assert [row["label"] for row in rows[:3]] == ["tumor", "healthy", None]
    assert printed.err.startswith("tumorlens: ")
    assert "c.nii.gz" in printed.err
    wanted = Predictor.open(model).predict_series(study / "a.nii.gz").to_dict()
    for volatile in (rows[0], wanted):
        volatile.pop("latency_ms")
    assert rows[0] == {"path": str(study / "a.nii.gz"), "error": None} | wanted
    assert "slices" not in rows[3]


def test_csv_and_table_name_the_largest_finding(study: Path, capsys: Capture) -> None:
    assert run(["predict", str(study / "a.nii.gz"), str(study / "d.png"), "--format", "csv"]) == 0
    series, picture = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (series["laterality"], series["plane"], series["n_slices"]) == ("right", "axial", "20")
    assert float(series["volume_ml"]) > 10
    assert int(series["first"]) < int(series["last"])
    assert (picture["plane"], picture["n_slices"], picture["error"]) == ("", "", "")
    assert run(["predict", str(study / "a.nii.gz")]) == 0
    printed = capsys.readouterr().out
    assert "axial, " in printed
    assert f"finding in {series['first']} to {series['last']}, right" in printed


def test_slices_and_planes(study: Path, capsys: Capture) -> None:
    volume = str(study / "a.nii.gz")
    assert run(["predict", volume, "--slices", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) > 10
    assert rows[0]["path"].startswith(f"{volume}#axial:")
    assert "n_slices" not in rows[0]
    assert run(["predict", volume, "--plane", "all", "--format", "jsonl"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["path"] for each in answers] == [
        f"{volume}#{plane}" for plane in ("axial", "coronal", "sagittal")
    ]
    assert run(["predict", volume, "--plane", "sagittal", "--slices", "--format", "jsonl"]) == 0
    assert f"{volume}#sagittal:" in capsys.readouterr().out
    assert run(["predict", volume, "--plane", "oblique"]) == 2


def test_explain_writes_montage_curve_and_map(study: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert run(["explain", str(study), "--output", str(out), "--format", "jsonl"]) == 3
    capsys.readouterr()
    series = [f"{name}.nii.gz{kind}" for name in "ab"
              for kind in (".png", ".curve.png", ".map.nii.gz", ".json")]  # fmt: skip
    assert sorted(each.name for each in out.iterdir()) == sorted(
        [*series, "d.png.png", "d.png.json"]
    )
    record = json.loads((out / "a.nii.gz.json").read_text())
    assert record["montage"] == "a.nii.gz.png"
    assert record["findings"][0]["laterality"] == "right"
    scan = nibabel.load(study / "a.nii.gz")
    evidence = nibabel.load(out / "a.nii.gz.map.nii.gz")
    assert evidence.shape == scan.shape
    np.testing.assert_allclose(evidence.affine, scan.affine)
    values = np.asarray(evidence.dataobj)
    assert (values.dtype, values.min()) == (np.uint8, 0)
    # The evidence lies on the bright ball and nowhere else.
    strong = np.argwhere(values > 80)
    assert np.all(np.asarray(scan.dataobj)[tuple(strong.T)] >= 90)
    centre = (strong.mean(axis=0) + 0.5 - np.array(SMALL[0]) / 2) * SMALL[1]
    np.testing.assert_allclose(centre, TUMOUR[0], atol=8)
    healthy = np.asarray(nibabel.load(out / "b.nii.gz.map.nii.gz").dataobj)
    assert healthy.max() < 50


def test_the_pictures_show_what_they_say(study: Path, tmp_path: Path, capsys: Capture) -> None:
    for volume in ("a.nii.gz", "b.nii.gz"):
        assert run(["explain", str(study / volume), "--output", str(tmp_path)]) == 0
    capsys.readouterr()
    montage, plain = (decode(tmp_path / f"{name}.nii.gz.png").pixels for name in "ab")
    assert montage.shape[1] == 4 * 256
    outline = np.array((0, 230, 230))
    drawn = [int((np.abs(each.astype(int) - outline).max(axis=2) < 40).sum())
             for each in (montage, plain)]  # fmt: skip
    assert drawn[0] > 100
    assert drawn[1] == 0
    curve, flat = (decode(tmp_path / f"{name}.nii.gz.curve.png").pixels for name in "ab")
    band = np.array((253, 231, 207))
    assert (curve == band).all(axis=2).sum() > 1000  # the finding's slices
    assert not (flat == band).all(axis=2).any()


def test_a_model_without_a_map_is_refused(study: Path, tmp_path: Path, capsys: Capture) -> None:
    model = write_tiny_model(tmp_path / "flat.onnx", has_map=False)
    out = tmp_path / "out"
    arguments = ["explain", str(study / "a.nii.gz"), "--model", str(model), "--output", str(out)]
    assert run(arguments) == 2
    assert "has no class map" in capsys.readouterr().err
    assert not out.exists()
