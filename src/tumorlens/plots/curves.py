"""Plots of metrics: arrays in, a matplotlib ``Figure`` out.

Labels are 0 (healthy) or 1 (tumour), int ``[N]``; ``prob`` is P(tumour), float ``[N]`` in 0..1;
``threshold`` is one number, or float ``[N]`` with one for each scan (out-of-fold predictions).
Every function raises `MissingExtraError` without the extra 'train', and `DataError` for arrays of
different length. pyplot's global state is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.binary import metric_values
from tumorlens.metrics.calibration import ece, reliability
from tumorlens.metrics.intervals import Estimate, wilson_interval
from tumorlens.metrics.names import metric_name
from tumorlens.metrics.rates import Kind, rate_curve
from tumorlens.plots.style import (
    CYCLE,
    FAINT,
    HEALTHY,
    INK,
    TUMOUR,
    new_figure,
    panel_grid,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def confusion_matrix(labels: ArrayLike, prob: ArrayLike, threshold: ArrayLike = 0.5) -> Figure:
    """Draw the 2 × 2 confusion matrix, truth by row: counts, and shares of the row."""
    import seaborn

    truth, predicted = _predicted(labels, prob, threshold)
    counts = np.array([[np.sum((truth == t) & (predicted == c)) for c in (0, 1)] for t in (0, 1)])
    rows = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, rows, out=np.zeros((2, 2)), where=rows > 0)
    text = [[f"{counts[t, c]}\n{share[t, c]:.1%}" for c in (0, 1)] for t in (0, 1)]
    figure = new_figure(4.6, 4.0)
    axes = figure.subplots()
    seaborn.heatmap(
        share,
        annot=np.array(text),
        fmt="",
        vmin=0,
        vmax=1,
        cmap="Blues",
        square=True,
        linewidths=2,
        linecolor="white",
        annot_kws={"size": 13},
        cbar_kws={"label": "share of the row", "shrink": 0.8},
        xticklabels=["healthy", "tumour"],
        yticklabels=[f"healthy\nn = {rows[0, 0]}", f"tumour\nn = {rows[1, 0]}"],
        ax=axes,
    )
    axes.tick_params(axis="both", length=0, rotation=0)
    axes.set(title="Confusion matrix", xlabel="predicted", ylabel="truth")
    return figure


@styled
def rate_plot(
    labels: ArrayLike,
    prob: ArrayLike,
    threshold: ArrayLike = 0.5,
    *,
    kind: Kind,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> Figure:
    """Draw the ``roc`` or ``pr`` curve, its 95 % band (grouped bootstrap) and operating point."""
    truth, predicted = _predicted(labels, prob, threshold)
    curve = rate_curve(labels, prob, kind, groups=groups, seed=seed)
    values = metric_values(labels, prob)
    recall = float(np.mean(predicted[truth == 1]))
    figure = new_figure(4.6, 4.6)
    axes = figure.subplots()
    if np.isfinite(curve.low).all():
        axes.fill_between(
            curve.grid, curve.low, curve.high, color=HEALTHY, alpha=0.18, linewidth=0,
            label="95 % band",
        )  # fmt: skip
    steps = "default" if kind == "roc" else "steps-pre"
    axes.plot(curve.x, curve.y, color=HEALTHY, drawstyle=steps, label=f"n = {np.size(labels)}")
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1.2, label="chance")
        point = float(np.mean(predicted[truth == 0])), recall
        axes.set(
            title=f"ROC curve: AUC {values['roc_auc']:.3f}",
            xlabel="1 − specificity (false positive rate)",
            ylabel="sensitivity (true positive rate)",
        )
    else:
        share = float(np.mean(truth))
        axes.axhline(share, color=FAINT, linestyle=":", linewidth=1.2, label=f"chance {share:.2f}")
        point = recall, float(np.mean(truth[predicted])) if predicted.any() else np.nan
        axes.set(
            title=f"Precision–recall curve: average precision {values['pr_auc']:.3f}",
            xlabel="recall (sensitivity)",
            ylabel="precision (positive predictive value)",
        )
    if np.isfinite(point).all():
        axes.plot(
            *point, "D", color=TUMOUR, markersize=8, markeredgecolor="white", linestyle="none",
            label=f"at the threshold: {point[0]:.2f}, {point[1]:.2f}",
        )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(True)
    axes.legend(loc="lower right" if kind == "roc" else "lower left")
    return figure


@styled
def reliability_plot(labels: ArrayLike, prob: ArrayLike, bins: int = 10) -> Figure:
    """Draw the reliability diagram in bins of equal mass, and the histogram of probabilities.

    Error bars are 95 % Wilson intervals (Wilson, JASA 1927).
    """
    bins = max(1, min(bins, np.asarray(prob).size // 8))
    diagram = reliability(labels, prob, bins, "mass")
    low, high = wilson_interval(diagram.frequency, diagram.count)
    figure = new_figure(4.6, 5.4)
    axes, below = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1.2, label="perfect")
    error = [diagram.frequency - low, high - diagram.frequency]
    axes.errorbar(
        diagram.confidence, diagram.frequency, yerr=error, color=HEALTHY, marker="o", capsize=2,
        elinewidth=1, label="scans",
    )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(True)
    axes.set(
        title=f"Reliability diagram: ECE {ece(labels, prob, 15, 'mass'):.3f} (equal mass)",
        ylabel="share of tumours",
    )
    axes.legend(loc="upper left")
    below.hist(np.asarray(prob), bins=np.linspace(0, 1, 21).tolist(), color=HEALTHY, alpha=0.7)
    below.set(xlabel="predicted P(tumour)", ylabel="scans")
    return figure


@styled
def score_distributions(labels: ArrayLike, prob: ArrayLike, threshold: ArrayLike = 0.5) -> Figure:
    """Draw histograms of P(tumour) by class, with the threshold or thresholds."""
    truth, _ = _predicted(labels, prob, threshold)
    p = np.asarray(prob, dtype=np.float64)
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    classes = ((0, "healthy", HEALTHY, ""), (1, "tumour", TUMOUR, "///"))
    edges = np.linspace(0, 1, 26).tolist()
    for value, name, colour, hatch in classes:
        scores = p[truth == value]
        if scores.size:
            weights = np.full(scores.size, 1 / scores.size)
            axes.hist(
                scores, bins=edges, weights=weights, color=colour, alpha=0.55, hatch=hatch,
                edgecolor=colour, label=f"{name} (n = {scores.size})",
            )  # fmt: skip
    limits = np.unique(np.asarray(threshold, dtype=np.float64))
    for number, limit in enumerate(limits):
        name = f"threshold {limit:.3f}" if limits.size == 1 else f"thresholds ({limits.size})"
        axes.axvline(
            limit, color=INK, linestyle="--", linewidth=1.2, label=None if number else name
        )
    axes.set(title="Scores by class", xlabel="P(tumour)", ylabel="share of the class", xlim=(0, 1))
    axes.grid(True, axis="y")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def learning_curves(curves: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw metrics over epochs: ``train/…`` and ``val/…``, one panel a metric.

    Args:
        curves: Metric → epoch → value, as ``read_curves`` gives it; learning rates are left out.
    """
    names = [name for name in curves if name.startswith(("train/", "val/"))]
    panels = list(dict.fromkeys(name.partition("/")[2] for name in names))
    if not panels:
        raise DataError("no learning curves: expected names such as train/loss and val/loss")
    figure, grid = panel_grid(len(panels), columns=3, width=4.2, height=3.2)
    for axes, panel in zip(grid, panels, strict=True):
        for part, colour, dash in (("train", HEALTHY, "-"), ("val", TUMOUR, "--")):
            points = sorted(curves.get(f"{part}/{panel}", {}).items())
            if points:
                epochs, values = zip(*points, strict=True)
                marker = "." if len(points) < 60 else None
                axes.plot(epochs, values, dash, color=colour, marker=marker, label=part)
        axes.set(title=panel.replace("_", " "), xlabel="epoch")
        axes.locator_params(axis="x", integer=True)
        axes.grid(True)
        axes.legend()
    return figure


@styled
def forest_plot(rows: Mapping[str, Mapping[str, Estimate]], metrics: Sequence[str]) -> Figure:
    """Draw a forest plot: metrics with their intervals, a panel for each metric.

    Args:
        rows: Row (such as a source) → metric → estimate; the first row, of all scans, is
            emphasised. Missing and nan estimates are labelled as not defined.
        metrics: The metrics, in order.
    """
    if not rows or not metrics:
        raise DataError("a forest plot needs rows and metrics")
    sizes = {name: max((e.n for e in values.values()), default=0) for name, values in rows.items()}
    figure = new_figure(1.8 + 2.4 * len(metrics), 1.3 + 0.42 * len(rows))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for position, values in enumerate(rows.values()):
            estimate = values.get(metric)
            if estimate is None or not np.isfinite(estimate.value):
                axes.text(
                    0.5, position, "not defined", ha="center", va="center", color=FAINT, size=8
                )
                continue
            colour = INK if position == 0 else CYCLE[0]
            axes.plot(
                [estimate.low, estimate.high], [position, position], color=colour, linewidth=2
            )
            axes.plot(estimate.value, position, "D" if position == 0 else "o", color=colour)
        overall = next(iter(rows.values())).get(metric)
        if overall is not None and np.isfinite(overall.value):
            axes.axvline(overall.value, color=FAINT, linewidth=1, linestyle=":")
        axes.set(title=metric_name(metric), xlim=(-0.03, 1.03), ylim=(len(rows) - 0.5, -0.5))
        axes.grid(True, axis="x")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(rows)), [f"{name} (n = {sizes[name]})" for name in rows])
    return figure


def _predicted(
    labels: ArrayLike, prob: ArrayLike, threshold: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    truth, p = np.asarray(labels, dtype=np.int64), np.asarray(prob, dtype=np.float64)
    limit = np.asarray(threshold, dtype=np.float64)
    if truth.size == 0 or truth.shape != p.shape or limit.shape not in ((), p.shape):
        raise DataError(f"{truth.size} labels, {p.size} probabilities, {limit.size} thresholds")
    return truth, p >= limit
