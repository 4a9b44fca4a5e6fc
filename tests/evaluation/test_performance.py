"""Evaluating a model file: predictions, settings of the card, warnings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.data.drawn_sets import write_manifest
from tests.drawn_data import draw_heads
from tests.models_for_tests import write_tiny_model
from tumorlens.cli.app import run
from tumorlens.data.grouping import group_records
from tumorlens.data.sources import load_source
from tumorlens.data.splits import grouped_split, make_split, write_split
from tumorlens.errors import DataError, DecodeError, SplitError
from tumorlens.evaluation.performance import Evaluation, measure
from tumorlens.evaluation.target import choose_target
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics import binary as metrics
from tumorlens.metrics.calibration import ece
from tumorlens.metrics.decision import Threshold
from tumorlens.modelfile import DataSource

Capture = pytest.CaptureFixture[str]
KINDS = ("not_mri", "visible_lesion", "misplaced_annotation")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_heads(tmp_path_factory.mktemp("data"), each=8)


@pytest.fixture(scope="module")
def heads(root: Path) -> Path:
    return root / "heads"


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def evaluate_model(
    model: Path, data: list[Path], *, n_boot: int = 2000, **chosen: Any
) -> Evaluation:
    return measure(choose_target(model, data, threads=1, **chosen), n_boot=n_boot)


def learned(n: int, source: str = "heads") -> DataSource:
    return DataSource(source=source, n=n, sha256="ab" * 32, licence="CC0-1.0")


def test_metrics_are_those_of_the_predictor_s_predictions(heads: Path, tmp_path: Path) -> None:
    cut = Threshold(value=0.42, target=0.9, origin="sensitivity 0.9", n=50)
    model = write_tiny_model(tmp_path / "m.onnx", threshold=cut, temperature=0.7)
    found = evaluate_model(model, [heads], n_boot=200)
    predictor = Predictor.open(model, threads=1)
    records = load_source(heads)
    served = np.array([predictor.predict(record.path).prob for record in records])
    labels = np.array([record.label for record in records])
    assert np.abs(found.predictions.prob - served).max() < 1e-6
    assert found.predictions.labels.tolist() == labels.tolist()
    assert (found.temperature, found.threshold) == (0.7, 0.42)
    for name, expected in {
        "accuracy": metrics.metric_values(labels, served, 0.42)["accuracy"],
        "sensitivity": metrics.metric_values(labels, served, 0.42)["sensitivity"],
        "roc_auc": metrics.metric_values(labels, served)["roc_auc"],
        "brier": metrics.metric_values(labels, served)["brier"],
        "ece_width": ece(labels, served),
    }.items():
        estimate = found.overall[name]
        assert estimate.value == pytest.approx(expected, abs=1e-6), name
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == 16
    assert set(metrics.evaluate(labels, served, n_boot=2)) < set(found.overall)
    assert found.warnings == ()
    assert found.part is None


def test_each_source_has_its_metrics(heads: Path, tiny_model_path: Path, tmp_path: Path) -> None:
    other = draw_heads(tmp_path, each=2, size=72) / "heads"
    other = other.rename(tmp_path / "other")
    found = evaluate_model(tiny_model_path, [heads, other], n_boot=50)
    assert {name: values["accuracy"].n for name, values in found.by_source.items()} == {
        "heads": 16,
        "other": 4,
    }
    assert found.overall["accuracy"].n == 20


def test_each_known_view_has_its_metrics(tmp_path: Path, capsys: Capture) -> None:
    data = draw_heads(tmp_path, each=4) / "heads"
    records = load_source(data)
    planes = dict(zip([r.key for r in records], ["axial"] * 2 + ["sagittal"] * 5, strict=False))
    stated = [replace(record, view=planes.get(record.key)) for record in records]
    write_manifest(stated, data / "views.csv")
    model = write_tiny_model(tmp_path / "m.onnx")
    found = evaluate_model(model, [data / "views.csv"], n_boot=50)
    assert {view: values["accuracy"].n for view, values in found.by_view.items()} == {
        "axial": 2,
        "sagittal": 5,
    }
    by_hand = found.predictions.take([view == "sagittal" for view in found.predictions.views])
    expected = metrics.metric_values(by_hand.labels, by_hand.prob, found.threshold)["accuracy"]
    assert found.by_view["sagittal"]["accuracy"].value == pytest.approx(expected)
    assert found.to_dict()["by_view"]["axial"]["accuracy"]["n"] == 2
    assert run(["evaluate", str(model), str(data / "views.csv"), "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    title = lines.index("by view, known for 7 of 8 images")
    assert " ".join(lines[title + 1].split()) == "metric axial (n = 2) sagittal (n = 5)"
    assert evaluate_model(model, [data], n_boot=50).by_view == {}


def test_a_part_of_a_split_is_measured(heads: Path, tmp_path: Path) -> None:
    records = group_records(load_source(heads))
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25}
    split = grouped_split(records, fractions=shares, seed=0)
    write_split(split, tmp_path / "split.json")
    model = write_tiny_model(tmp_path / "elsewhere.onnx", data=(learned(len(split.train)),))
    where = tmp_path / "split.json"
    for part, warned in (
        ("test", None),
        ("train", "in the model's training part"),
        ("validation", "choose the epoch"),
    ):
        found = evaluate_model(model, [heads], split=where, part=part, n_boot=50)
        assert set(found.predictions.keys) == set(split.parts()[part])
        assert found.part == part
        assert [warned in warning for warning in found.warnings if warned] == (
            [True] * bool(warned)
        )
        assert len(found.warnings) == bool(warned)
    with pytest.raises(SplitError, match="no part 'dev'"):
        evaluate_model(model, [heads], split=where, part="dev")


def test_a_near_duplicate_of_a_training_image_is_a_warning(heads: Path, tmp_path: Path) -> None:
    data = draw_heads(tmp_path, each=3) / "heads"
    (data / "yes" / "copy.png").write_bytes((data / "yes" / "00.png").read_bytes())
    records = group_records(load_source(data))
    keys = [record.key for record in records]
    copy = next(key for key in keys if key.endswith("copy.png"))
    parts = {"train": [key for key in keys if key != copy], "test": [copy]}
    write_split(make_split("by hand", 0, parts, records), tmp_path / "split.json")
    model = write_tiny_model(tmp_path / "m.onnx", data=(learned(6),))
    found = evaluate_model(model, [data], split=tmp_path / "split.json", part="test", n_boot=10)
    assert found.warnings == (
        "1 of 1 images are near-duplicates of training images or show the same patients: "
        "their metrics are optimistically biased",
    )
    # Without --split the one beside the model is found.
    found = evaluate_model(model, [data], n_boot=10)
    assert found.warnings[0].startswith("6 of 7 images were in the model's training part")
    # A split that is not the model's is not believed, and said to be another.
    other = write_tiny_model(tmp_path / "other.onnx", data=(learned(99),))
    found = evaluate_model(other, [data], n_boot=10)
    assert ["no split says which" in warning for warning in found.warnings] == [True]
    found = evaluate_model(other, [data], split=tmp_path / "split.json", n_boot=10)
    assert "another split" in " ".join(found.warnings)


def test_data_that_differs_from_the_split_s_is_a_warning_or_an_error(
    heads: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    records = group_records(load_source(heads))
    extra = replace(records[0], key="heads:yes/gone.png", group=999)
    parts = {"test": [record.key for record in (*records, extra)]}
    write_split(make_split("more", 0, parts, [*records, extra]), tmp_path / "more.json")
    found = evaluate_model(tiny_model_path, [heads], split=tmp_path / "more.json", n_boot=10)
    assert "only 16 of the 17 records of part 'test' are in the data" in found.warnings
    assert "made for other data" in found.warnings[-1]
    other = draw_heads(tmp_path, each=2) / "heads"
    with pytest.raises(SplitError, match="none of the 17 records"):
        evaluate_model(
            tiny_model_path,
            [other.rename(tmp_path / "other")],
            split=tmp_path / "more.json",
        )


def test_slices_outside_the_split_do_not_count_as_different_data(
    heads: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "scanner"
    folder.mkdir()
    at = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0)
    ball = np.where(at < 18, 50 + at * 8, 0).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(ball, np.eye(4)), folder / "healthy_01_T1.nii.gz")
    slices = list(load_source(folder))
    records = group_records([*load_source(heads), *slices[::9]])
    parts = {"test": [record.key for record in records]}
    write_split(make_split("some slices", 0, parts, records), tmp_path / "split.json")
    found = evaluate_model(
        tiny_model_path, [heads, folder], split=tmp_path / "split.json", n_boot=10
    )
    assert found.predictions.prob.size == len(records)
    left = len(slices) - len(slices[::9])
    assert found.warnings[-1].startswith(f"{left} slices of the volumes are in no part")
    assert "other data" not in " ".join(found.warnings)


def test_data_without_labels_is_rejected(
    heads: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "a.png").write_bytes((heads / "yes" / "00.png").read_bytes())
    with pytest.raises(DataError, match=r"1 of 1 images have no label, first scans:a\.png.*yes/"):
        evaluate_model(tiny_model_path, [folder])


def test_an_unreadable_image_is_an_error(tiny_model_path: Path, tmp_path: Path) -> None:
    data = draw_heads(tmp_path, each=2) / "heads"
    whole = (data / "no" / "01.png").read_bytes()
    (data / "no" / "01.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DecodeError, match=r"01\.png"):
        evaluate_model(tiny_model_path, [data])


def test_one_class_leaves_some_metrics_undefined(heads: Path, tiny_model_path: Path) -> None:
    found = evaluate_model(tiny_model_path, [heads / "yes"], n_boot=10)
    stated = found.to_dict()["overall"]
    assert stated["roc_auc"] == {"value": None, "low": None, "high": None, "n": 8}
    assert stated["sensitivity"]["value"] is not None
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_command(heads: Path, tmp_path: Path, capsys: Capture) -> None:
    model = write_tiny_model(tmp_path / "m.onnx", data=(learned(8),))
    arguments = ["evaluate", str(model), str(heads), "--threads", "1"]
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model: tiny 1.0 (")
    assert lines[2] == "data: all records, 16 images"
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert "was trained on 8 images of heads" in warning
    (accuracy,) = [line for line in lines if line.startswith("accuracy ")]
    found = evaluate_model(model, [heads]).overall["accuracy"]
    assert accuracy.split()[1:] == [
        f"{found.value:.3f}",
        f"[{found.low:.3f},",
        f"{found.high:.3f}]",
    ]
    target = tmp_path / "figures.json"
    assert run([*arguments, "--format", "json", "--output", str(target)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "warning: the model was trained on" in printed.err
    stated = json.loads(target.read_text())
    assert stated["overall"]["accuracy"] == found.to_dict()
    assert stated["images"] == 16


def test_the_command_says_what_is_missing(heads: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["evaluate", str(tmp_path / "no.onnx"), str(heads)]) == 2
    assert "no such model file" in capsys.readouterr().err
    model = write_tiny_model(tmp_path / "m.onnx")
    assert run(["evaluate", str(model), str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_metrics_are_given_with_and_without_scans_with_label_issues(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    model = write_tiny_model(tmp_path / "m.onnx")
    records = sorted(load_source(heads), key=lambda record: record.key)
    issues = {r.key: kind for r, kind in zip(records, KINDS, strict=False)}
    plain = evaluate_model(model, [heads], n_boot=50)
    assert (plain.label_issues, plain.without_label_issues) == ({}, {})
    for room in ("tumorlens.data.label_issues", "tumorlens.evaluation.performance"):
        monkeypatch.setattr(f"{room}.label_issue_of", lambda record: issues.get(record.key))
    found = evaluate_model(model, [heads], n_boot=50)
    assert found.label_issues == dict.fromkeys(KINDS, 1)
    assert found.overall == plain.overall
    assert found.without_label_issues["roc_auc"].n == len(records) - 2
    rows = [key not in list(issues)[:2] for key in found.predictions.keys]
    kept = found.predictions.take(rows)
    assert (
        found.without_label_issues["roc_auc"].value
        == metrics.metric_values(kept.labels, kept.prob)["roc_auc"]
    )
    assert found.refusals["all"].n == len(records) - 1
    assert found.refusals["known to be no MRI"].n == 1
    assert run(["evaluate", str(model), str(heads)]) == 0
    assert "(1 misplaced_annotation, 1 not_mri, 1 visible_lesion)" in capsys.readouterr().out
