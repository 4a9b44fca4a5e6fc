"""Cards are filled from a made run, and say what it does not know."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.drawn_data import drawn_records
from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.data.manifest import Record
from tumorlens.data.splits import RANDOM_LEAKY, grouped_split, random_split
from tumorlens.metrics.intervals import Estimate
from tumorlens.modelfile import Metric, ModelCard
from tumorlens.reporting.cards import data_card_markdown, monai_metadata, write_cards
from tumorlens.reporting.claim import claim_markdown
from tumorlens.runs.records import data_sources
from tumorlens.workflows.package import card_metrics

# The keys that MONAI's bundle specification makes mandatory.
MANDATORY = {
    *("version", "monai_version", "pytorch_version", "numpy_version", "optional_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
}
TENSOR_KEYS = {
    *("type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range"),
    *("is_patch_data", "channel_def"),
}


def records() -> list[Record]:
    made = drawn_records([1, 0] * 10, source="cheng2017") + drawn_records([1, 0] * 5)
    return [
        replace(record, group=at, sha256=f"{at:064x}", view="axial" if at % 2 else None)
        for at, record in enumerate(made)
    ]


RECORDS = records()
SPLIT = grouped_split(RECORDS, seed=4)
PARTS = {part: SPLIT.records(part, RECORDS) for part in SPLIT.parts()}


def card(*splits: str, **recipe: Any) -> ModelCard:
    metrics = tuple(
        Metric(name=name, split=split, value=0.8, low=0.7, high=0.9, n=len(PARTS[split]))
        for split in splits
        for name in ("roc_auc", "sensitivity")
    )
    return tiny_card(
        tiny_onnx(), metrics=metrics, data=data_sources(PARTS["train"]),
        recipe={"seed": 4, "ema_decay": 0.9, **recipe},
    )  # fmt: skip


def items(text: str) -> dict[int, tuple[str, str]]:
    """Return item → (status, answer)."""
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \| (.+) \|$", text, re.MULTILINE)
    return {int(number): (status, answer) for number, status, answer in rows}


def test_all_44_items_are_answered_and_unmeasured_ones_are_not_claimed() -> None:
    claim = items(claim_markdown(card("validation"), SPLIT, PARTS, {"python": "3.11"}))
    assert list(claim) == list(range(1, 45))
    assert {status for status, _ in claim.values()} == {
        "done", "partly", "not done", "not applicable",
    }  # fmt: skip
    assert claim[32] == ("not done", "the test scans were not looked at in this run")
    assert claim[33][0] == "not done"
    assert claim[18][0] == "not done"
    assert claim[23] == ("done", "python 3.11")
    assert claim[24] == ("done", "random, seed 4")
    assert "decay 0.9" in claim[27][1]
    assert "30 images in 30 groups" in claim[35][1]


def test_a_tested_run_states_its_figures() -> None:
    text = claim_markdown(card("validation", "test"), SPLIT, PARTS, {})
    n = len(PARTS["test"])
    expected = f"test scans, n = {n}: roc auc 0.800 (0.700 to 0.900), sensitivity 0.800"
    assert items(text)[32][0] == "done"
    assert items(text)[38][1].startswith(expected)
    held_out = card("test", data={"split": {"held_out": ["s"]}})
    assert items(claim_markdown(held_out, SPLIT, PARTS, {}))[33] == (
        "done", "sources held out whole: s",
    )  # fmt: skip


def test_a_leaking_split_is_called_so() -> None:
    leaky = random_split(RECORDS, seed=0)
    assert leaky.name == RANDOM_LEAKY
    text = claim_markdown(card("test"), leaky, PARTS, {})
    assert items(text)[20][0] == "not done"
    assert "both sides" in items(text)[20][1]
    assert items(claim_markdown(card("test"), SPLIT, PARTS, {}))[20][0] == "done"


def test_the_data_card_counts_and_says_which_licence_is_clear() -> None:
    text = data_card_markdown(SPLIT, PARTS)
    total = {part: sum(record.label == 1 for record in PARTS[part]) for part in PARTS}
    row = next(line for line in text.splitlines() if line.startswith("| **all** |"))
    shown = [cell.strip() for cell in row.split("|")[2:-1]]
    assert shown == [
        *(f"{total[part]} / {len(PARTS[part]) - total[part]}" for part in PARTS), "30",
    ]  # fmt: skip
    assert "that state a licence: cheng2017 (CC-BY-4.0). The others" in text
    assert "| s | unknown | unknown | – |" in text
    assert "J. Cheng" in text
    assert "| cheng2017 | 10 of 20 | 0 of 10 | 10 of 10 | 0 of 20 |" in text
    assert SPLIT.sha256 in text


def test_the_metadata_holds_monai_s_fields() -> None:
    content = monai_metadata(card("validation", "test"))
    assert set(content) >= MANDATORY
    image = content["network_data_format"]["inputs"]["image"]
    assert (image["num_channels"], image["spatial_shape"]) == (1, [64, 64])
    for tensor in (image, *content["network_data_format"]["outputs"].values()):
        assert set(tensor) == TENSOR_KEYS
    assert set(content["network_data_format"]["outputs"]) == {"logit", "map"}
    assert content["eval_metrics"] == {"roc_auc": 0.8, "sensitivity": 0.8}
    assert content["references"] == ["J. Cheng, brain tumor dataset, figshare 1512427 v5, 2017"]


def test_the_cards_are_written_into_the_run_folder(tmp_path: Path) -> None:
    write_cards(card("test"), SPLIT, PARTS, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "CLAIM.md", "DATA_CARD.md", "MODEL_CARD.md", "metadata.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "metadata.json").read_text("utf-8"))["name"] == "tiny"
    assert "# Model card: tiny 1.0" in (tmp_path / "MODEL_CARD.md").read_text("utf-8")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_metadata_s_figures_are_those_of_the_test_where_there_are_any(split: str) -> None:
    assert monai_metadata(card(split))["eval_metrics"]["roc_auc"] == 0.8
    assert monai_metadata(card())["eval_metrics"] == {}


@pytest.mark.parametrize(
    ("fitted_on", "shown"),
    [("calibration", {"validation", "test"}), ("validation", {"calibration", "test"})],
)
def test_a_card_shows_no_figure_of_scans_it_was_fitted_on(fitted_on: str, shown: set[str]) -> None:
    parts = ("train", "validation", "calibration", "test")
    metrics = {part: {"roc_auc": Estimate(0.9, 0.8, 1.0, 50)} for part in parts}
    assert {metric.split for metric in card_metrics(metrics, fitted_on)} == shown
