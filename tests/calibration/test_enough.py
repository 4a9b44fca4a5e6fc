"""The stated need of scans is what the benchmark measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tumorlens.calibration.enough import LABELLED, UNLABELLED

ROOT = Path(__file__).resolve().parents[2]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "site_calibration.json").read_text("utf-8"))


def rows(kind: str, number: int) -> list[dict[str, Any]]:
    """Return the rows of the sites that this kind of fit is for."""
    key = "rarer" if kind == "labelled" else "n"
    found = [row for row in RESULTS[kind] if row[key] == number and row["site"] != "as shipped"]
    return found if kind == "labelled" else [row for row in found if "tumours" in row["site"]]


@pytest.mark.parametrize(("kind", "told"), [("labelled", LABELLED), ("unlabelled", UNLABELLED)])
def test_the_told_shares_are_the_lowest_measured(kind: str, told: dict[int, float]) -> None:
    for number, share in told.items():
        assert share == pytest.approx(min(row["wins"] for row in rows(kind, number)), abs=0.0051)


@pytest.mark.parametrize(("kind", "told"), [("labelled", LABELLED), ("unlabelled", UNLABELLED)])
def test_the_last_number_is_the_first_that_is_enough(kind: str, told: dict[int, float]) -> None:
    def enough(number: int) -> bool:
        return all(row["wins"] >= 0.95 and row["error"] < 0.05 for row in rows(kind, number))

    *fewer, needed = told
    assert enough(needed)
    assert not any(enough(number) for number in fewer)


def test_the_tables_of_the_page_are_the_measured_figures() -> None:
    page = (ROOT / "docs" / "calibrate.md").read_text("utf-8")
    found = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([^|]+) \|$", page, re.MULTILINE)
    kinds = ["labelled" if " to " in last else "unlabelled" for *_, last in found]
    assert {"labelled", "unlabelled"} == set(kinds)
    for kind, (number, wins, error, _) in zip(kinds, found, strict=True):
        measured = rows(kind, int(number))
        assert float(wins) == pytest.approx(min(row["wins"] for row in measured), abs=0.0051)
        assert float(error) == pytest.approx(max(row["error"] for row in measured), abs=0.00051)
