"""A run on a table of images and one of whole heads, up to a model file with its detector."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.data.drawn_sets import draw_set
from tests.data.drawn_volumes import HEALTHY, draw_volume, save_volume, write_table
from tests.drawn_data import SIZE, tiny_settings
from tumorlens.data.splits import read_split
from tumorlens.imaging.preprocess import preprocess
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import read_card
from tumorlens.ood import brain
from tumorlens.runs.compose import compose_config
from tumorlens.workflows import package
from tumorlens.workflows.reexport import reexport
from tumorlens.workflows.train import RunResult, train

PERSONS = 10
SHAPE = (40, 40, 16)


def draw_tables(root: Path) -> None:
    """Twelve tumours and as many slices clear of them, by person, and ten stripped heads."""
    draw_set(root, 12, 12)
    images = [
        {"path": f"{folder}/{at:02}.png", "label": finding, "source": "lgg", "person": f"t{at}",
         "sequence": "FLAIR" if at % 2 else "T1C", "view": "axial", "skull_stripped": "0"}
        for folder, finding in (("yes", "tumor"), ("no", "clear"))
        for at in range(12)
    ]  # fmt: skip
    write_table(root / "images.csv", images)
    rows = []
    for person in range(PERSONS):
        rng = np.random.default_rng(person)
        data = draw_volume(SHAPE, person)
        for index in range(7):  # below the brain: 54 of 1600 voxels
            x, y = rng.integers(2, 30, 2)
            data[:, :, index] = 0
            data[x : x + 6, y : y + 9, index] = rng.integers(40, 250, (6, 9))
        save_volume(root / "heads" / f"{person}.nii.gz", data, (1.0, 1.0, 6.0))
        rows.append({"file": f"{person}.nii.gz", **HEALTHY, "person": f"h{person}",
                     "stripped_defaced_whole": "stripped"})  # fmt: skip
    write_table(root / "heads.csv", rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("more")
    draw_tables(root)
    return root


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    run_dir = tmp_path_factory.mktemp("run") / "wide"
    usual = [each for each in tiny_settings(root, run_dir) if not each.startswith("model")]
    settings = [
        *usual,
        "data.sources=[]",
        f"data.manifests=[{root}/images.csv]",
        f"data.heads=[{root}/heads.csv]",
        "data.heads_every_mm=0",
        "data.sampler=balanced",
        "model=efficient",
        "model.arguments.weights=null",
        "model.arguments.width=8",
        "model.arguments.k=3",
        f"model.preprocess.size={SIZE}",
        "trainer.max_epochs=1",
        "ood_detector=true",
        "score_test=true",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(package, "fit_ood_detector", lambda *_: None)  # it takes minutes
        patch.setattr(brain, "_STEPS", 100)
        return train(compose_config(settings))


def test_no_person_is_in_two_parts(finished: RunResult) -> None:
    split = read_split(finished.run_dir / "split.json")
    held = [{key.partition("#")[0] for key in keys} for keys in split.parts().values()]
    heads = [{key for key in keys if key.endswith(".nii.gz")} for keys in held]
    assert sum(map(len, heads)) == len(set().union(*heads)) == PERSONS
    numbers = [{key[-6:-4] for key in keys if key.startswith("lgg:")} for keys in held]
    assert sum(map(len, numbers)) == len(set().union(*numbers)) == 12


def test_its_predictions_state_sequence_and_finding(finished: RunResult) -> None:
    with (finished.run_dir / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["finding"] for row in rows} == {"tumor", "clear", "healthy"}
    assert {row["sequence"] for row in rows} == {"T1C", "FLAIR", "T1"}
    assert {row["source"] for row in rows} == {"lgg", "some_site_x1_heads"}


def test_its_card_has_figures_by_sequence_and_against_clear_slices(finished: RunResult) -> None:
    card = read_card(finished.model)
    splits = {metric.split for metric in card.metrics}
    assert {"test/FLAIR", "test/T1C", "test/clear", "test/lgg, tumour against clear"} <= splits
    assert [each.source for each in card.data] == ["lgg", "some_site_x1_heads"]
    assert "<path>/heads.csv" in str(card.recipe["data"]["heads"])


def test_its_model_file_sets_slices_aside_and_is_exported_again(
    finished: RunResult, tmp_path: Path
) -> None:
    card = read_card(finished.model)
    assert card.brain is not None
    assert min(card.brain.n_enough, card.brain.n_too_little) >= 20
    assert {check.images for check in card.brain.checks} == {
        "test slices with a tumour",
        "other test slices with enough brain",
        "test slices with too little brain",
    }
    assert (finished.run_dir / "brain_detector.pt").is_file()
    model = Predictor.open(finished.model, threads=1)
    inputs = preprocess(draw_volume(SHAPE, 99)[:, :, 9], card.preprocess)[None]
    first = model.infer(inputs)
    assert first.enough_brain is not None
    reexport(finished.run_dir, tmp_path / "again.onnx")
    again = Predictor.open(tmp_path / "again.onnx", threads=1).infer(inputs)
    assert again.enough_brain is not None
    np.testing.assert_allclose(again.enough_brain, first.enough_brain, atol=1e-3)
    np.testing.assert_allclose(again.logits, first.logits, atol=1e-4)
