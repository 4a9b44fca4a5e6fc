"""The card's figures by source and by view."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tumorlens.metrics.binary import metric_values
from tumorlens.metrics.summary import Predictions
from tumorlens.reporting.breakdown import breakdown

LABELS = np.array([1, 1, 0, 0, 1, 1, 1, 0])
PROB = np.array([0.9, 0.8, 0.1, 0.7, 0.6, 0.95, 0.2, 0.3])
TEST = Predictions(
    keys=tuple(f"k{i}" for i in range(8)),
    labels=LABELS,
    prob=PROB,
    threshold=np.full(8, 0.5),
    groups=np.arange(8),
    sources=("a", "a", "a", "a", "b", "b", "b", "a"),
    views=("axial", "axial", "axial", "axial", "coronal", None, "coronal", "coronal"),
)


def test_every_source_and_known_view_of_a_part_has_its_figures() -> None:
    found = breakdown({"train": TEST, "test": TEST}, n_boot=50)
    same = breakdown({"validation": TEST, "test": TEST}, leave_out=["validation"], n_boot=50)
    assert list(same) == list(found)
    assert list(found) == ["test/a", "test/b", "test/axial", "test/coronal"]
    assert {tuple(figures) for figures in found.values()} == {
        ("roc_auc", "sensitivity", "specificity", "ece_width")
    }
    axial = found["test/axial"]["specificity"]
    assert (axial.value, axial.n) == (metric_values(LABELS[:4], PROB[:4], 0.5)["specificity"], 4)
    assert found["test/coronal"]["sensitivity"].value == 0.5
    assert found["test/a"]["roc_auc"].value == 1.0
    assert math.isnan(found["test/b"]["roc_auc"].value), "b holds tumours only"


def test_what_does_not_divide_the_scans_is_left_out() -> None:
    one_source = replace(TEST, sources=("a",) * 8)
    assert set(breakdown({"test": one_source}, n_boot=10)) == {"test/axial", "test/coronal"}
    unknown = replace(TEST, views=(None,) * 8)
    assert set(breakdown({"test": unknown}, n_boot=10)) == {"test/a", "test/b"}
    one_view = replace(one_source, views=("axial",) * 8)
    assert breakdown({"test": one_view}, n_boot=10) == {}


def test_sequences_and_findings_have_their_figures_too() -> None:
    table = replace(
        TEST,
        sequences=("T1C", "T1C", "FLAIR", None, "T1C", "T1C", "FLAIR", "T2"),
        findings=("tumor", "tumor", "clear", "healthy", "tumor", "tumor", "tumor", "other_lesion"),
    )
    found = breakdown({"test": table}, n_boot=10)
    assert list(found) == [
        *("test/a", "test/b", "test/axial", "test/coronal", "test/FLAIR", "test/T1C", "test/T2"),
        *("test/clear", "test/other_lesion", "test/a, tumour against clear"),
    ]
    assert found["test/FLAIR"]["specificity"].n == 2
    # One clear slice, answered healthy; the other lesion is of probability 0.3.
    assert (found["test/clear"]["specificity"].value, found["test/clear"]["specificity"].n) == (
        1,
        1,
    )
    assert math.isnan(found["test/clear"]["sensitivity"].value)
    against = found["test/a, tumour against clear"]
    # Source a's two tumours and its clear slice; not its healthy scan, which is a false positive.
    assert (against["specificity"].value, against["roc_auc"].value) == (1.0, 1.0)
    assert against["roc_auc"].n == 3


def test_without_clear_slices_or_other_lesions_nothing_is_divided_by_finding() -> None:
    table = replace(TEST, findings=tuple("tumor" if each else "healthy" for each in LABELS))
    assert list(breakdown({"test": table}, n_boot=10)) == [
        "test/a", "test/b", "test/axial", "test/coronal",
    ]  # fmt: skip
