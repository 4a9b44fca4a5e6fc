"""Curves over growing strengths: their numbers, and that the plot shows them."""

from __future__ import annotations

import math

import pytest

from tumorlens.errors import DataError
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.plots.levels import LevelCurve, levels_plot
from tumorlens.plots.style import encode

CLEAN = {"roc_auc": Estimate(0.99, 0.97, 1.0, 30), "sensitivity": Estimate(0.9, 0.8, 1.0, 30)}


def curve(name: str, *values: float) -> LevelCurve:
    levels = tuple(
        {metric: Estimate(value, value - 0.1, value + 0.05, 30) for metric in CLEAN}
        for value in values
    )
    return LevelCurve(name, "dB", tuple(range(1, len(values) + 1)), levels)


def test_levels_are_counted_from_one() -> None:
    found = curve("noise", 0.9, 0.8, 0.7)
    assert found.at(1)["roc_auc"].value == 0.9
    assert found.at(3)["roc_auc"].value == 0.7
    assert found.to_dict()["levels"][1]["roc_auc"] == {
        "value": 0.8, "low": pytest.approx(0.7), "high": pytest.approx(0.85), "n": 30,
    }  # fmt: skip


def test_an_undefined_figure_is_none() -> None:
    shown = to_dicts({"roc_auc": Estimate(math.nan, math.nan, math.nan, 4)})
    assert shown == {"roc_auc": {"value": None, "low": None, "high": None, "n": 4}}


def test_mismatched_lengths_are_rejected() -> None:
    with pytest.raises(DataError, match="2 strengths, 1 levels"):
        LevelCurve("noise", "dB", (1, 2), (CLEAN,))
    with pytest.raises(DataError, match="no curves"):
        levels_plot([], CLEAN, target=0.9, middle=2)


def test_every_curve_has_a_panel_with_its_points_and_the_target() -> None:
    names = ("noise", "blur", "jpeg", "gamma")
    figure = levels_plot([curve(n, 0.9, 0.8, 0.6) for n in names], CLEAN, target=0.95, middle=2)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == list(names)
    lines = {line.get_label(): line for line in panels[1].lines}
    assert list(lines["roc_auc"].get_ydata()) == [0.99, 0.9, 0.8, 0.6]
    assert (list(lines["target"].get_xdata()), list(lines["target"].get_ydata())) == ([2], [0.95])
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == ["none", "1", "2", "3"]
    assert encode(figure, "svg").startswith(b"<?xml")
