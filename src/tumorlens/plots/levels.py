"""Metrics over increasing strengths of a corruption, and their plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tumorlens.errors import DataError
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.metrics.names import metric_name
from tumorlens.plots.style import CYCLE, FAINT, INK, panel_grid, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LevelCurve:
    """Metrics over the levels of one corruption.

    Attributes:
        name: Name of the corruption.
        unit: Unit of the strengths.
        strengths: Strengths of the levels 1, 2, …
        levels: Metric → estimate, for each level.
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
        """Return the metrics at a level; the first is 1."""
        return self.levels[level - 1]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready; an undefined value is None."""
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

    Level 0 is ``clean``, the metrics without corruption. The ``target`` of the ROC-AUC is marked
    at level ``middle``.
    Raises `MissingExtraError` without the extra 'train', and `DataError` without curves.
    """
    if not curves:
        raise DataError("there are no curves to draw")
    figure, panels = panel_grid(len(curves), columns=3, width=3.4, height=2.7, sharey=True)
    for axes, curve in zip(panels, curves, strict=True):
        _panel(axes, curve, clean)
        axes.plot([middle], [target], marker="_", markersize=18, color=INK, label="target")
    handles, names = panels[0].get_legend_handles_labels()
    labels = ["target of ROC-AUC" if name == "target" else metric_name(name) for name in names]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names))
    return figure


def _panel(axes: Axes, curve: LevelCurve, clean: Mapping[str, Estimate]) -> None:
    points = [clean, *curve.levels]
    x = range(len(points))
    for colour, metric in zip(CYCLE, clean, strict=False):
        estimates = [point[metric] for point in points]
        value, low, high = zip(*((e.value, e.low, e.high) for e in estimates), strict=True)
        axes.plot(x, value, marker="o", markersize=3, color=colour, label=metric)
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
    axes.set(title=curve.name, xlabel=curve.unit, ylim=(0, 1.02))
    axes.set_xticks(list(x), ["none", *(f"{strength:g}" for strength in curve.strengths)])
    axes.grid(True, axis="y")
