"""Answers kept as a table: what is read is what was written, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.drawn_data import drawn_records
from tumorlens.errors import DataError
from tumorlens.metrics.decision import Threshold
from tumorlens.metrics.summary import Predictions
from tumorlens.runs.predictions import (
    concatenated,
    predictions_of,
    read_predictions,
    write_predictions,
)
from tumorlens.runs.scores import Calibration, score_logits

SOME = Predictions(
    keys=("s:a,b.png", 's:"c".png'),
    labels=np.array([0, 1]),
    prob=np.array([0.1 + 0.2, 1e-17]),
    threshold=np.array([0.5, 1 / 3]),
    groups=np.array([4, -2]),
    sources=("s", "t"),
    views=("axial", None),
    sequences=(None, "T1C"),
    findings=("clear", "tumor"),
)


def same(one: Predictions, other: Predictions) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_the_table_comes_back_bit_by_bit(tmp_path: Path) -> None:
    parts = {"test": SOME, "validation": SOME.take([1])}
    write_predictions(parts, tmp_path / "p.csv")
    back = read_predictions(tmp_path / "p.csv")
    assert list(back) == ["test", "validation"]
    assert all(same(back[name], parts[name]) for name in parts)
    assert back["test"].views == ("axial", None)
    assert back["test"].sequences == (None, "T1C")
    assert back["test"].findings == ("clear", "tumor")


def test_a_table_from_before_sequences_and_findings_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(HEADER + "test,a,s,,4,1,0.5,0.25\n")
    table = read_predictions(tmp_path / "p.csv")["test"]
    assert (table.sequences, table.findings) == ((None,), (None,))
    assert table.threshold.tolist() == [0.25]


def test_tables_are_joined_in_order() -> None:
    joined = concatenated([SOME.take([1]), SOME.take([0])])
    assert same(joined, SOME.take([1, 0]))


def test_answers_are_calibrated_and_carry_what_is_known_of_the_record() -> None:
    records = [replace(each, sequence="T2") for each in drawn_records([1, 0])]
    logits = np.array([2.0, -4.0])
    calibration = Calibration(2.0, Threshold(0.3, None, "tests", 2))
    answers = predictions_of(score_logits(logits, records), records, calibration)
    np.testing.assert_allclose(answers.prob, 1 / (1 + np.exp([-1.0, 2.0])))
    assert answers.threshold.tolist() == [0.3, 0.3]
    assert answers.keys == ("s:0.png", "s:1.png")
    assert answers.sequences == ("T2", "T2")
    assert answers.findings == ("tumor", "healthy")
    assert answers.groups.tolist() == [-1, -2]  # not grouped: each for itself


HEADER = "part,key,source,view,group,label,prob,threshold\n"


@pytest.mark.parametrize("text", ["part,key\ntest,a\n", HEADER + "test,a,s,,x,1,0.5,0.5\n"])
def test_what_is_no_such_table_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"p\.csv: not a table of predictions"):
        read_predictions(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "absent.csv")
