"""The protocol table on drawn heads: three protocols on the same scans, resumed, written."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.drawn_data import draw_heads
from tumorlens.data.splits import read_split
from tumorlens.errors import ConfigError, ModelNotFoundError
from tumorlens.metrics import binary as metrics
from tumorlens.runs.predictions import concatenated, read_predictions
from tumorlens.workflows import crossval
from tumorlens.workflows.protocol import PROTOCOLS, ROWS, TRANSFER, Plan, Table, cell_config
from tumorlens.workflows.protocol_report import run_protocol, to_markdown

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*litlogger.*"),
]

TINY = (
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "+trainer.limit_train_batches=1",
    "model.arguments.widths=[4,8]",
    "model.preprocess.size=32",
)


def plan(root: Path, **changes: object) -> Plan:
    asked = {"data": str(root / "heads"), "models": ("cnn",), "n_folds": 2, "copies": 2,
             "epochs": {"cnn": 3}, "overrides": TINY}  # fmt: skip
    return Plan(**{**asked, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_heads(tmp_path_factory.mktemp("data"), each=6)


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    pytest.importorskip("seaborn")
    folder = tmp_path_factory.mktemp("protocol")
    return folder, run_protocol(plan(root, models=("cnn", TRANSFER)), folder)


def answers(folder: Path, protocol: str) -> dict[str, float]:
    table = concatenated(
        list(read_predictions(folder / "cnn" / protocol / "out_of_fold.csv").values())
    )
    assert set(Counter(table.keys).values()) == {1}
    return dict(zip(table.keys, table.prob.tolist(), strict=True))


def test_every_protocol_answers_the_same_scans_once(done: tuple[Path, Table]) -> None:
    folder, table = done
    scans = set(answers(folder, "grouped"))
    assert len(scans) == table.scans == 12
    assert set(answers(folder, "random")) == scans
    copies = set(answers(folder, "augment-before-split")) - scans
    assert len(copies) == 24
    for cell in table.cells["cnn"].values():
        assert {estimate.n for estimate in cell.metrics.values()} == {12}


def test_only_the_leaky_protocols_have_leaky_folds(done: tuple[Path, Table]) -> None:
    folder, _ = done
    names = {
        protocol: read_split(folder / "cnn" / protocol / "r0-f1" / "split.json").name
        for protocol in PROTOCOLS
    }
    assert names == {
        "random": "random-leaky-2-fold/r0/f1",
        "augment-before-split": "random-leaky-2-fold/r0/f1",
        "grouped": "grouped-2-fold/r0/f1",
    }


def test_optimism_is_the_difference_to_the_grouped_figure(done: tuple[Path, Table]) -> None:
    _, table = done
    cells = table.cells["cnn"]
    assert cells["grouped"].optimism == {}
    for protocol in ("random", "augment-before-split"):
        for name in ("accuracy", "roc_auc"):
            expected = cells[protocol].metrics[name].value - cells["grouped"].metrics[name].value
            assert cells[protocol].optimism[name].value == pytest.approx(expected, abs=1e-12)


def test_as_many_pictures_are_seen_with_copies_as_without(done: tuple[Path, Table]) -> None:
    _, table = done
    cells = table.cells["cnn"]
    assert [cells[name].epochs for name in PROTOCOLS] == [3, 1, 3]
    assert [cells[name].copies for name in PROTOCOLS] == [0, 2, 0]


def test_the_files_say_what_was_measured_and_what_was_left_out(done: tuple[Path, Table]) -> None:
    folder, table = done
    content = json.loads((folder / "protocol.json").read_text())
    assert (content["scans"], content["folds"], content["copies"]) == (12, 2, 2)
    assert content["left_out"] == {TRANSFER: "no pretrained weights were given (--pretrained PATH)"}
    kept = content["rows"]["cnn"]["protocols"]["random"]["metrics"]["roc_auc"]
    scores = answers(folder, "random")
    labels = [int("yes" in key) for key in scores]
    assert kept["value"] == pytest.approx(
        metrics.metric_values(labels, list(scores.values()))["roc_auc"], abs=1e-5
    )
    assert str(folder) not in json.dumps(content)
    text = (folder / "protocol.md").read_text()
    assert text == to_markdown(table)
    assert text.count("| improved CNN | ") == 3
    assert "ResNet-18, transfer: left out" in text
    assert (folder / "protocol.svg").read_bytes().startswith(b"<?xml")
    assert (folder / "protocol.png").read_bytes().startswith(b"\x89PNG")


def test_finished_cells_are_read_and_other_settings_refused(
    done: tuple[Path, Table], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, table = done

    def trained(*_: object) -> None:
        pytest.fail("a finished fold was trained again")

    monkeypatch.setattr(crossval, "execute", trained)
    again = run_protocol(plan(root), folder)
    assert str(again.cells) == str(table.cells)  # as text: nan is not equal to itself
    with pytest.raises(ConfigError, match="another cross-validation"):
        run_protocol(plan(root, epochs={"cnn": 4}), folder)


def test_within_a_row_only_the_protocol_changes(root: Path) -> None:
    asked = plan(root, models=("notebook",), overrides=(), epochs={})
    row = asked.rows()[0]
    plain, copied = cell_config(asked, row, 0), cell_config(asked, row, 4)
    assert (plain.trainer.max_epochs, copied.trainer.max_epochs) == (row.epochs, row.epochs / 5)
    assert replace(copied, trainer=plain.trainer) == plain
    assert (plain.optimizer.name, plain.optimizer.lr) == ("adam", 1e-4)
    assert (plain.data.split.validation, plain.data.split.calibration) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("resnet",)}, r"no models \['resnet'\]"),
        ({"models": ()}, "choose from"),
        ({"epochs": {"vgg": 3}}, r"no models \['vgg'\]"),
        ({"epochs": {"cnn": 0}}, "at least 1"),
        ({"copies": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    changes: dict[str, object], message: str, root: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(root, **changes)


def test_missing_weights_end_it_before_anything_is_trained(root: Path, tmp_path: Path) -> None:
    asked = plan(root, models=(TRANSFER,), pretrained=tmp_path / "none.pt", overrides=(), epochs={})
    assert [row.name for row in asked.rows()] == [TRANSFER]
    with pytest.raises(ModelNotFoundError, match=r"none\.pt"):
        run_protocol(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_rows_are_named_once() -> None:
    assert len({row.name for row in ROWS}) == len({row.title for row in ROWS}) == 4
