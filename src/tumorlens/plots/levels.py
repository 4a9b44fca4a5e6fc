"""Metrics over growing strengths of a corruption, and their plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tumorlens.errors import DataError
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.plots.style import CYCLE, FAINT, INK, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3


@dataclass(frozen=True)
class LevelCurve:
    """Metrics over the levels of one corruption.

    Attributes:
        name: The corruption's.
        unit: What the strengths are.
        strengths: Of levels 1, 2, …
        levels: Metric → estimate, one mapping a level.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    levels: tuple[Mapping[str, Estimate], ...]

    def __post_init__(self) -> None:
        if len(self.strengths) != len(self.levels) or not self.levels:
            raise DataError(
                f"{self.name}: {len(self.strengths)} strengths, {len(self.levels)} levels"
            )

    def at(self, level: int) -> Mapping[str, Estimate]:
        """Return the metrics at a level, counted from 1."""
        return self.levels[level - 1]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready; an undefined figure is None."""
        return {
            "name": self.name,
            "unit": self.unit,
            "strengths": list(self.strengths),
            "levels": [to_dicts(level) for level in self.levels],
        }


@styled
def levels_plot(
    curves: Sequence[LevelCurve], clean: Mapping[str, Estimate], *, target: float, middle: int
) -> Figure:
    """Draw a panel for each corruption: every metric over the levels, with its 95 % interval.

    Level 0 is ``clean``, the metrics without corruption; ``target`` is marked at level ``middle``.
    Raises `MissingExtraError` without the extra 'train', and `DataError` without curves.
    """
    if not curves:
        raise DataError("there are no curves to draw")
    rows = math.ceil(len(curves) / _COLUMNS)
    figure = new_figure(3.4 * _COLUMNS, 2.7 * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True).ravel()
    for axes, curve in zip(panels, curves, strict=False):
        _panel(axes, curve, clean)
        axes.plot([middle], [target], marker="_", markersize=18, color=INK, label="target")
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    words = [
        name.replace("roc_auc", "ROC-AUC").replace("target", "target of ROC-AUC") for name in names
    ]
    figure.legend(handles, words, loc="outside lower center", ncols=len(names))
    return figure


def _panel(axes: Axes, curve: LevelCurve, clean: Mapping[str, Estimate]) -> None:
    points = [clean, *curve.levels]
    at = range(len(points))
    for colour, metric in zip(CYCLE, clean, strict=False):
        found = [point[metric] for point in points]
        axes.plot(
            at, [e.value for e in found], marker="o", markersize=3, color=colour, label=metric
        )
        axes.fill_between(
            at,
            [e.low for e in found],
            [e.high for e in found],
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
    axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
    axes.set(title=curve.name, xlabel=curve.unit, ylim=(0, 1.02))
    axes.set_xticks(list(at), ["none", *(f"{strength:g}" for strength in curve.strengths)])
    axes.grid(True, axis="y")
