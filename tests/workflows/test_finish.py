"""The end of a run: measured on the test part, told on the card, and a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from tests.data.drawn_sets import write_manifest
from tests.drawn_data import draw_heads, tiny_config
from tumorlens.data.sources import load_source
from tumorlens.errors import ConfigError
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import read_model
from tumorlens.runs.compose import compose_config
from tumorlens.runs.config import AfterConfig
from tumorlens.runs.folder import PRETRAIN
from tumorlens.workflows.train import train

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def outlined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn heads whose manifest says where the lesions are."""
    root = draw_heads(tmp_path_factory.mktemp("outlined"), each=20)
    records = []
    for record in load_source(root / "heads"):
        box = draw_phantom(int(record.path.stem), lesion=True, size=64).box
        records.append(replace(record, boxes=(box,)) if record.label and box else record)
    write_manifest(records, root / "manifest.csv")
    return root


def test_a_run_ends_with_all_that_its_card_and_report_tell(outlined: Path, tmp_path: Path) -> None:
    config = tiny_config(outlined, tmp_path / "run", "trainer.max_epochs=1", "score_test=true",
                         "after.shortcuts=true", "after.explain=true", "after.report=true",
                         "+finetune.trainer.max_epochs=1")  # fmt: skip
    result = train(config)
    found = json.loads((result.run_dir / "evaluation.json").read_text())
    n = len(json.loads((result.run_dir / "split.json").read_text())["parts"]["test"])
    assert found["overall"]["accuracy"]["n"] == found["shortcuts"]["images"] == n
    assert found["explanations"]["parity"]["logit"] < 1e-4
    card = Predictor.open(result.model, threads=1).card
    names = {(metric.name, metric.split) for metric in card.metrics}
    assert ("roc_auc", "test") in names
    assert ("pointing", "test/heads") in names
    assert any(name.startswith("shortcut: ") for name, _ in names)
    assert set(found["shortcuts"]["findings"]) <= set(card.limitations)
    assert "shortcut: " in (result.run_dir / "MODEL_CARD.md").read_text()
    report = (result.run_dir / "report.html").read_text()
    assert read_model(result.model).sha256 in report
    assert (result.run_dir / "explanations.html").is_file()
    # The first of two trainings is nobody's last word.
    assert not {path.name for path in (result.run_dir / PRETRAIN).iterdir()} & {
        "evaluation.json", "report.html", "explanations.html"
    }  # fmt: skip


def test_what_the_scans_do_not_allow_is_left_out(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = CapturingLogger()
    monkeypatch.setattr("tumorlens.workflows.finish.log", told)
    config = tiny_config(heads, tmp_path / "run", "trainer.max_epochs=1", "score_test=true",
                         "after.explain=true")  # fmt: skip
    result = train(config)
    assert any("no tumour image with boxes" in str(call) for call in told.calls)
    found = json.loads((result.run_dir / "evaluation.json").read_text())
    assert "explanations" not in found
    assert found["model"]["sha256"] == read_model(result.model).sha256


def test_a_test_part_that_may_not_be_touched_is_told_before_anything_is_trained(
    heads: Path, tmp_path: Path
) -> None:
    config = tiny_config(heads, tmp_path / "run", "after.shortcuts=true", "after.explain=true")
    with pytest.raises(ConfigError, match=r"score_test=true.* after\.shortcuts=false after\.expl"):
        train(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [[], ["members=[{},{}]"], ["+finetune.trainer.max_epochs=1"]])
def test_a_test_without_scans_is_refused_before_anything_is_trained(
    more: list[str], tmp_path: Path
) -> None:
    none = ("data.split.train=0.8", "data.split.validation=0.1",
            "data.split.calibration=0.1", "data.split.test=0")  # fmt: skip
    config = tiny_config(tmp_path, tmp_path / "run", "score_test=true", *none, *more)
    with pytest.raises(ConfigError, match=r"no scan to test.*held_out=\[NAME\].*score_test=false"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_the_recipes_that_leave_a_source_out_ask_for_nothing_more() -> None:
    whole = compose_config(["experiment=default", "data.root=."])
    assert whole.score_test
    assert whole.after == AfterConfig(True, True, True)
    for name in ("quick", "leave_source_out"):
        assert compose_config([f"experiment={name}", "data.root=."]).after == AfterConfig()
