"""``tumorlens predict`` as a user meets it: what it prints, where, and how it exits."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from tests.models_for_tests import tiny_onnx
from tumorlens.cli.app import run
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.predictor import Predictor

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _model(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORLENS_MODEL", str(tiny_model_path))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three readable scans, one of them out of domain."""
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(["one.png", "two.jpg"]):
        cv2.imwrite(str(folder / name), draw_phantom(seed, lesion=True).image)
    cv2.imwrite(str(folder / "void.png"), draw_phantom(0, lesion=False).image * 0)
    return folder


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines_equal_the_python_predictions(
    scans: Path, tiny_model_path: Path, capsys: Capture
) -> None:
    assert run(["predict", str(scans), "--format", "jsonl", "--batch-size", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    rows = lines(printed.out)
    assert [Path(str(row["path"])).name for row in rows] == ["one.png", "two.jpg", "void.png"]
    predictor = Predictor.open(tiny_model_path)
    for row in rows:
        wanted = predictor.predict(str(row["path"])).to_dict()
        assert row.pop("prob") == pytest.approx(wanted.pop("prob"), abs=1e-6)
        for volatile in (row, wanted):
            volatile.pop("latency_ms")
        assert row == {"path": row["path"], "error": None} | wanted
    assert list(rows[0])[:3] == ["path", "label", "decision"]


def test_csv_has_the_same_values(scans: Path, capsys: Capture) -> None:
    assert run(["predict", str(scans), "--format", "jsonl"]) == 0
    as_json = lines(capsys.readouterr().out)
    assert run(["predict", str(scans), "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(table[0]) == [
        "path", "label", "prob", "decision", "prediction_set", "threshold", "threshold_origin",
        "in_domain", "in_domain_reason", "sequence", "latency_ms", "model_name", "model_version",
        "model_sha256", "disclaimer", "plane", "n_slices", "n_answered", "n_tumor", "n_findings",
        "first", "last", "area_mm2", "volume_ml", "diameter_mm", "laterality", "error",
    ]  # fmt: skip
    for row, wanted in zip(table, as_json, strict=True):
        assert float(row["prob"]) == wanted["prob"]
        assert row["label"] == wanted["label"]
        assert row["in_domain"] == str(wanted["in_domain"]).lower()
        assert row["prediction_set"].split() == wanted["prediction_set"]
        assert row["model_name"] == "tiny"
        assert row["error"] == ""


def test_the_table_shows_decision_and_note(scans: Path, capsys: Capture) -> None:
    assert run(["predict", str(scans)]) == 0
    printed = capsys.readouterr().out
    head, *rows = [line for line in printed.splitlines() if line.strip()]
    assert head.split() == ["image", "decision", "P(tumour)", "note"]
    assert str(scans / "one.png") in rows[0]
    assert "uncertain" in rows[2]
    assert "not a usable head slice" in rows[2]
    assert "not for clinical use" in rows[-1]
    assert "\x1b" not in printed


def test_square_brackets_in_file_names_are_not_markup(tmp_path: Path, capsys: Capture) -> None:
    cv2.imwrite(str(tmp_path / "[red]x.png"), draw_phantom(1, lesion=True).image)
    assert run(["predict", str(tmp_path)]) == 0
    assert "[red]x.png" in capsys.readouterr().out


def test_unreadable_inputs_are_reported_and_the_rest_processed(
    scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "cut.jpg").write_bytes((scans / "two.jpg").read_bytes()[:800])
    (broken / "empty.png").touch()
    (broken / "text.jpg").write_text("text")
    cv2.imwrite(str(broken / "zlast.png"), draw_phantom(3, lesion=True).image)
    given = [str(broken), str(scans), "no/such.png"]
    assert run(["predict", *given, "--format", "jsonl"]) == 3
    printed = capsys.readouterr()
    rows = lines(printed.out)
    assert [Path(str(row["path"])).name for row in rows] == [
        "cut.jpg",
        "empty.png",
        "text.jpg",
        "zlast.png",
        "one.png",
        "two.jpg",
        "void.png",
        "such.png",
    ]
    failed = [row for row in rows if row["error"]]
    assert [Path(str(row["path"])).name for row in failed] == [
        "cut.jpg",
        "empty.png",
        "text.jpg",
        "such.png",
    ]
    assert {(row["label"], row["prob"], row["decision"], row["model"]) for row in failed} == {
        (None, None, None, None)
    }
    messages = printed.err.splitlines()
    assert len(messages) == 4
    for message, row in zip(messages, failed, strict=True):
        assert message == f"tumorlens: {row['error']}"
        assert str(row["path"]) in message


@pytest.mark.parametrize("form", ["table", "csv"])
def test_every_format_lists_unreadable_inputs(form: str, capsys: Capture) -> None:
    assert run(["predict", "no/such.png", "--format", form]) == 3
    printed = capsys.readouterr()
    assert "no/such.png" in printed.out
    assert "no such file" in printed.err


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@sum", "\tx"])
def test_file_names_are_not_formulas_in_csv(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), draw_phantom(1, lesion=True).image)
    (tmp_path / "x.png").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert run(["predict", "--format", "csv", "--", name]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["path"] == f"'{name}"


def test_an_undecodable_file_name_is_escaped(tmp_path: Path, capsys: Capture) -> None:
    name = os.fsdecode(b"\xff.png")
    cv2.imwrite(str(tmp_path / "x.png"), draw_phantom(1, lesion=True).image)
    (tmp_path / "x.png").rename(tmp_path / name)
    out = tmp_path.parent / "out.jsonl"
    assert run(["predict", str(tmp_path), "--format", "jsonl", "--output", str(out)]) == 0
    assert json.loads(out.read_text())["path"] == str(tmp_path / name)


def test_standard_input_is_read(
    scans: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    data = (scans / "one.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert run(["predict", "-", "--format", "jsonl"]) == 0
    (row,) = lines(capsys.readouterr().out)
    assert row["path"] == "-"
    assert row["label"] in ("tumor", "healthy")


def test_output_goes_to_the_file_and_not_to_stdout(
    scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    assert run(["predict", str(scans), "--format", "csv", "--output", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert len(out.read_text().splitlines()) == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]


def test_an_unwritable_output_is_refused_before_predicting(
    scans: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*args: object) -> None:
        pytest.fail("an image was read")

    monkeypatch.setattr(Predictor, "prepare", no_work)
    for place in (tmp_path / "absent" / "out.csv", tmp_path):
        assert run(["predict", str(scans), "--output", str(place)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"tumorlens: {place}: ")
        assert "Traceback" not in printed.err


def test_a_full_disk_keeps_the_old_file(
    scans: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run(["predict", str(scans), "--format", "csv", "--output", str(out)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]


def test_unusable_models_are_refused_with_the_reason(
    scans: Path, tmp_path: Path, tiny_model_path: Path, capsys: Capture
) -> None:
    data = tiny_model_path.read_bytes()
    models = {
        "absent": (None, "no such model file"),
        "cut": (data[:-1], "damaged or cut off"),
        "flipped": (data[:-10] + b"\0" + data[-9:], "damaged|changed"),
        "foreign": (tiny_onnx(), "without a TumorLens card"),
        "text": (b"hello", "not an ONNX model"),
    }
    for name, (content, reason) in models.items():
        path = tmp_path / f"{name}.onnx"
        if content is not None:
            path.write_bytes(content)
        assert run(["predict", str(scans), "--model", str(path)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"tumorlens: {path}: ")
        assert any(part in printed.err for part in reason.split("|")), printed.err
        assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x.png", "--format", "xml"],
        ["x.png", "--nonsense"],
        ["x.png", "--batch-size", "0"],
        ["x.png", "--threads", "many"],
    ],
)
def test_a_usage_error_exits_with_2(arguments: list[str], capsys: Capture) -> None:
    assert run(["predict", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "predict" in printed.err


def test_a_closed_pipe_is_not_an_error(scans: Path) -> None:
    command = f'"{sys.executable}" -m tumorlens predict "$0" "$0" --format jsonl --batch-size 1'
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}", str(scans)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # 0 when it was done before the reader left
    assert len(lines(done.stdout)) == 1


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_one_image_needs_few_imports(scans: Path, form: str) -> None:
    code = (
        "import sys; from tumorlens.cli.app import run; "
        f"run(['predict', sys.argv[1], '--format', '{form}']); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(scans / "one.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not {"torch", "scipy", "pandas", "matplotlib", "fastapi"} & loaded
    assert not {"pydicom", "nibabel", "rich", "onnx"} & loaded


@pytest.mark.real
def test_every_image_of_the_data_set_gives_one_line(
    data_root: Path, tiny_model_path: Path, capsys: Capture
) -> None:
    folder = data_root / "brain_tumor_dataset"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert run(["predict", str(folder), "--format", "jsonl"]) == 0
    rows = lines(capsys.readouterr().out)
    assert [row["path"] for row in rows] == [str(path) for path in files]
    assert len(rows) == 253
    assert all(row["in_domain"] for row in rows)
    predictor = Predictor.open(tiny_model_path)
    for row in rows[::10]:
        assert predictor.predict(str(row["path"])).prob == pytest.approx(row["prob"], abs=1e-6)
