"""Cross-validation on drawn heads: each scan tested once a repeat, gone on with, reported."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.drawn_data import draw_heads, evidence_settings, tiny_config
from tumorlens.data.splits import read_split
from tumorlens.errors import ConfigError, DataError, SplitError
from tumorlens.metrics import binary as metrics
from tumorlens.models.weights import read_weights
from tumorlens.reporting.run_report import report_run
from tumorlens.runs.compose import compose_config
from tumorlens.runs.config import RunConfig
from tumorlens.runs.predictions import concatenated, read_predictions
from tumorlens.training.decoding import Parts
from tumorlens.workflows import crossval
from tumorlens.workflows.crossval import CrossvalResult, crossvalidate
from tumorlens.workflows.execution import Trained
from tumorlens.workflows.stages import Stage

# Lightning deprecates a call of its own; how many workers load is our choice.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*litlogger.*"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_heads(tmp_path_factory.mktemp("data"), each=12)


def settings(root: Path, run_dir: Path, *overrides: str) -> RunConfig:
    return tiny_config(root, run_dir, "trainer.max_epochs=1", "trainer.limit_train_batches=1",
                       *overrides)  # fmt: skip


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossvalResult:
    return crossvalidate(settings(root, tmp_path_factory.mktemp("cv")), n_folds=2, repeats=2)


def test_each_scan_is_tested_once_in_every_repeat(done: CrossvalResult) -> None:
    assert list(done.folds) == ["r0/f0", "r0/f1", "r1/f0", "r1/f1"]
    tested = [
        Counter(key for name, fold in done.folds.items() if name.startswith(repeat)
                for key in fold.keys)
        for repeat in ("r0", "r1")
    ]  # fmt: skip
    assert len(tested[0]) == 24
    assert tested[0] == tested[1]
    assert set(tested[0].values()) == {1}
    assert set(done.folds["r0/f0"].keys) != set(done.folds["r1/f0"].keys)


def test_no_group_is_on_both_sides_of_a_fold(done: CrossvalResult) -> None:
    for name in done.folds:
        folder = done.run_dir / name.replace("/", "-")
        split, answers = (
            read_split(folder / "split.json"),
            read_predictions(folder / "predictions.csv"),
        )
        assert set(answers["test"].keys) == set(split.test)
        assert split.validation
        assert not set(answers["test"].groups) & set(answers["train"].groups)


def test_the_figures_are_those_of_the_pooled_answers(done: CrossvalResult) -> None:
    table = read_predictions(done.run_dir / "out_of_fold.csv")
    pooled = concatenated(list(table.values()))
    assert done.overall["roc_auc"].value == pytest.approx(
        metrics.metric_values(pooled.labels, pooled.prob)["roc_auc"], abs=1e-12
    )
    assert done.overall["roc_auc"].n == 24
    first = concatenated([table["r0/f0"], table["r0/f1"]])
    assert done.repeats[0]["brier"].value == pytest.approx(
        metrics.metric_values(first.labels, first.prob)["brier"], abs=1e-12
    )


def test_a_fold_keeps_its_weights_and_neither_checkpoints_nor_a_model(done: CrossvalResult) -> None:
    for name in done.folds:
        kept = {path.name for path in (done.run_dir / name.replace("/", "-")).iterdir()}
        assert {"weights.pt", "predictions.csv", "split.json", "metrics.json"} <= kept
        assert not {"checkpoints", "model.onnx"} & kept


def test_finished_folds_are_read_and_a_cut_off_one_is_trained_anew(
    done: CrossvalResult, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = done.run_dir / "r1-f0"
    (cut / "weights.pt").unlink()  # the last file written
    trained: list[Path] = []
    execute = crossval.execute

    def counted(stage: Stage, parts: Parts | None = None) -> Trained:
        trained.append(stage.folder.path)
        return execute(stage, parts)

    monkeypatch.setattr(crossval, "execute", counted)
    again = crossvalidate(settings(root, done.run_dir), n_folds=2, repeats=2)
    assert trained == [cut]
    # The same seed gives the same network; as text, since nan is not equal to itself.
    assert str(again.overall) == str(done.overall)


def test_another_cross_validation_in_the_same_folder_is_refused(
    done: CrossvalResult, root: Path
) -> None:
    before = (done.run_dir / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"another cross-validation \(other config, folds\)"):
        crossvalidate(settings(root, done.run_dir, "seed=5"), n_folds=3, repeats=2)
    assert (done.run_dir / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.split.path=split.json", "makes its own folds"),
        ("data.split.held_out=[heads]", "makes its own folds"),
        ("resume=last.ckpt", "resumes by itself"),
        ("+finetune.seed=1", "no fine-tuning stage"),
    ],
)
def test_settings_that_make_no_sense_here_are_refused(
    override: str, message: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        crossvalidate(settings(root, tmp_path / "run", override))
    assert not (tmp_path / "run").exists()


def test_more_folds_than_groups_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="groups"):
        crossvalidate(settings(root, tmp_path / "run"), n_folds=1000)


def test_the_report_holds_every_fold_and_repeat(done: CrossvalResult, tmp_path: Path) -> None:
    pytest.importorskip("seaborn")
    page = report_run(done.run_dir, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["metrics"]["roc_auc"]["value"] == done.overall["roc_auc"].value
    assert list(content["parts"])[:3] == ["repeat 0", "repeat 1", "fold r0/f0"]
    assert content["data"] == [
        {"source": "heads", "n": 24, "licence": "unknown", "citation": "unknown"}
    ]
    assert str(done.run_dir) not in page.read_text()


def test_the_temperature_of_the_other_folds_is_fitted_on_raw_logits(done: CrossvalResult) -> None:
    written = json.loads((done.run_dir / "out_of_fold.json").read_text())
    assert written["temperature"] == done.out_of_fold.temperature
    assert list(written["by_fold"]) == list(done.folds)
    assert written["metrics"]["roc_auc"]["n"] == done.calibrated["roc_auc"].n == 24
    kept = json.loads((done.run_dir / "r0-f0" / "metrics.json").read_text())["temperature"]
    raw = logit(done.folds["r0/f0"].prob) * kept
    warmed = done.out_of_fold.predictions["r0/f0"]
    assert warmed.prob == pytest.approx(
        1 / (1 + np.exp(-raw / written["by_fold"]["r0/f0"])), abs=1e-9
    )
    assert set(warmed.threshold) == {0.5}


def test_a_fold_without_its_temperature_is_named(root: Path, tmp_path: Path) -> None:
    result = crossvalidate(settings(root, tmp_path / "cv"), n_folds=2)
    (result.run_dir / "r0-f1" / "metrics.json").write_text("{}")
    with pytest.raises(DataError, match=r"r0-f1.metrics\.json.*run it again"):
        crossvalidate(settings(root, tmp_path / "cv"), n_folds=2)


@pytest.fixture(scope="module")
def pairs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossvalResult:
    return crossvalidate(with_members(root, tmp_path_factory.mktemp("pairs")), n_folds=2)


def with_members(root: Path, run_dir: Path, *overrides: str) -> RunConfig:
    pair = "members=[{},{model:{arguments:{instance_norm:true}}}]"
    once = "trainer.limit_train_batches=1"
    return compose_config(evidence_settings(root, run_dir, once, pair, *overrides))


def test_each_fold_of_members_is_answered_by_their_ensemble(pairs: CrossvalResult) -> None:
    for name in pairs.folds:
        folder = pairs.run_dir / name.replace("/", "-")
        own = [read_weights(folder / f"member_{at}" / "weights.pt") for at in (1, 2)]
        whole = read_weights(folder / "weights.pt")
        assert whole.keys() == {f"members.{at}.{key}" for at in (0, 1) for key in own[at]}
        assert all(torch.equal(whole[f"members.{at}.{key}"], own[at][key])
                   for at in (0, 1) for key in own[at])  # fmt: skip
        assert not list(folder.rglob("checkpoints"))
        alone = [read_predictions(folder / f"member_{at}" / "predictions.csv") for at in (1, 2)]
        assert all("test" not in each for each in alone)  # the test is the ensemble's alone
    assert pairs.overall["roc_auc"].n == 24


def test_members_that_started_elsewhere_are_another_cross_validation(
    pairs: CrossvalResult, root: Path, tmp_path: Path
) -> None:
    start = pairs.run_dir / "r0-f0" / "weights.pt"
    shutil.copy(start, tmp_path / "weights.pt")
    given = f"init={tmp_path}/weights.pt"
    first = crossvalidate(with_members(root, tmp_path / "cv", given), n_folds=2)
    digest = hashlib.sha256(start.read_bytes()).hexdigest()
    plan = json.loads((first.run_dir / "crossval.json").read_text())
    assert [each["init"]["sha256"] for each in plan["members_started_from"]] == [digest] * 2
    shutil.copy(pairs.run_dir / "r0-f1" / "weights.pt", tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match="members_started_from"):
        crossvalidate(with_members(root, tmp_path / "cv", given), n_folds=2)


def logit(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(prob) - np.log1p(-prob))
