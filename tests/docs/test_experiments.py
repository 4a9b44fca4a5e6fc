"""The experiments log parses and every row says something; decision records have one form."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
LOG = DOCS / "experiments" / "experiments.csv"
COLUMNS = [
    "date",
    "question",
    "command",
    "commit",
    "seed",
    "n",
    "metric",
    "estimate",
    "low",
    "high",
    "verdict",
    "note",
]
RECORDS = sorted((DOCS / "adr").glob("[0-9]*.md"))


def rows() -> list[dict[str, str]]:
    with LOG.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        found = list(reader)
    assert reader.fieldnames == COLUMNS
    return found


def test_every_row_of_the_log_asks_and_answers() -> None:
    for number, row in enumerate(rows(), 2):
        assert None not in row, f"line {number} is too long"
        assert None not in row.values(), f"line {number} is too short"
        assert row["question"], f"line {number}"
        assert row["note"], f"line {number}"
        assert row["verdict"] in {"accepted", "rejected", "inconclusive"}, f"line {number}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"]), f"line {number}"
        assert re.fullmatch(r"([0-9a-f]{7,40})?", row["commit"]), f"line {number}"


def test_a_note_is_one_sentence() -> None:
    for number, row in enumerate(rows(), 2):
        assert re.fullmatch(r"((?!\. ).)+\.", row["note"]), f"line {number}"


def test_figures_lie_within_their_intervals() -> None:
    bounded = [row for row in rows() if row["low"] and row["high"]]
    assert bounded
    for row in bounded:
        assert float(row["low"]) <= float(row["estimate"]) <= float(row["high"]), row


def test_a_figure_without_a_command_says_so() -> None:
    for row in rows():
        assert bool(row["command"]) != row["note"].endswith("easured ad hoc."), row


def test_decision_records_have_a_number_each() -> None:
    numbers = [int(path.name[:4]) for path in RECORDS]
    assert numbers[0] == 1
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_decision_record_has_one_form(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 60
    assert lines[0].startswith(f"# {path.name[:4]}. ")
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## Context", "## Decision", "## Consequences"]


def test_the_index_names_every_decision_once() -> None:
    index = (DOCS / "adr" / "README.md").read_text("utf-8")
    listed = re.findall(r"^- \[(\d{4})\]\((.+?)\): (.+)$", index, re.MULTILINE)
    titles = [path.read_text("utf-8").splitlines()[0] for path in RECORDS]
    assert [(name, f"# {number}. {title}") for number, name, title in listed] == [
        (path.name, title) for path, title in zip(RECORDS, titles, strict=True)
    ]
