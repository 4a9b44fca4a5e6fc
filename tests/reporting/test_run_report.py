"""A run's report: its figures are the run's, its scans are shown while the data is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.drawn_data import draw_heads, tiny_config
from tumorlens.cli.app import run
from tumorlens.errors import ConfigError, DataError, ModelNotFoundError
from tumorlens.reporting.run_report import report_run
from tumorlens.workflows.train import RunResult, train

pytest.importorskip("seaborn")
pytest.importorskip("onnxscript")

CARDS = {"MODEL_CARD.md", "DATA_CARD.md", "CLAIM.md", "metadata.json"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    root = draw_heads(tmp_path_factory.mktemp("data"), each=14)
    folder = tmp_path_factory.mktemp("run")
    return train(tiny_config(root, folder, "score_test=true", "trainer.max_epochs=1"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plots out where a test is about the words."""
    for name in ("prediction_plots", "curve_plot", "scan_plots"):
        monkeypatch.setattr(f"tumorlens.reporting.run_report.{name}", lambda *arguments: [])


def test_the_report_states_the_run_s_figures_and_shows_its_scans(
    trained: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(trained.run_dir), "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["part"] == "test"
    for name, estimate in trained.metrics["test"].items():
        assert report["metrics"][name] == estimate.to_dict()
    assert list(report["sources"]) == ["heads"]
    assert list(report["parts"]) == ["train", "validation", "test"]
    assert [plot["title"] for plot in report["plots"]] == [
        *("Confusion matrix", "ROC curve", "Precision–recall curve", "Reliability"),
        *("Scores by class", "Learning curves", "A random sample", "Class maps"),
        "Feature maps",
    ]
    assert report["notes"] == []
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<img ") == 9
    assert str(trained.run_dir.parent) not in page
    assert {path.name for path in trained.run_dir.iterdir()} >= CARDS
    assert {path.name for path in tmp_path.iterdir()} >= CARDS


@pytest.mark.usefixtures("undrawn")
def test_without_the_kept_answers_the_model_is_asked_again(
    trained: RunResult, tmp_path: Path
) -> None:
    again = tmp_path / "run"
    shutil.copytree(trained.run_dir, again)
    (again / "predictions.csv").unlink()
    report_run(again, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    for name, estimate in trained.metrics["test"].items():
        finite = estimate.to_dict()["value"]
        assert report["metrics"][name]["value"] == pytest.approx(finite, abs=1e-4)
        assert report["metrics"][name]["n"] == estimate.n


@pytest.mark.usefixtures("undrawn")
def test_without_the_data_the_scans_are_left_out_and_the_report_says_so(
    trained: RunResult, tmp_path: Path
) -> None:
    moved = tmp_path / "run"
    shutil.copytree(trained.run_dir, moved)
    config = (moved / "config.yaml").read_text()
    root = next(line for line in config.splitlines() if line.startswith("  root: "))
    (moved / "config.yaml").write_text(config.replace(root, "  root: /nowhere"))
    report_run(moved)
    report = json.loads((moved / "report.json").read_text("utf-8"))
    assert report["notes"] == ["Scans are not shown: the run's data was not available."]


@pytest.mark.usefixtures("undrawn")
def test_near_duplicates_across_the_split_are_counted_in_a_note(
    trained: RunResult, tmp_path: Path
) -> None:
    leaky = tmp_path / "run"
    shutil.copytree(trained.run_dir, leaky)
    rows = (leaky / "predictions.csv").read_text().splitlines()
    column = rows[0].split(",").index("group")
    train_group = next(row for row in rows if row.startswith("train,")).split(",")[column]
    at = next(i for i, row in enumerate(rows) if row.startswith("test,"))
    cells = rows[at].split(",")
    rows[at] = ",".join([*cells[:column], train_group, *cells[column + 1 :]])
    (leaky / "predictions.csv").write_text("\n".join(rows) + "\n")
    report_run(leaky, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert len(report["notes"]) == 1
    assert report["notes"][0].startswith("1 of ")
    assert report["notes"][0].endswith("are optimistically biased.")


def test_a_folder_that_is_no_run_is_refused(trained: RunResult, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        report_run(tmp_path)
    shutil.copy(trained.run_dir / "config.yaml", tmp_path)
    with pytest.raises(ModelNotFoundError):
        report_run(tmp_path)
    shutil.copy(trained.model, tmp_path / "model.onnx")
    with pytest.raises(DataError):
        report_run(tmp_path)
