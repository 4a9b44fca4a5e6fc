"""Figures hold the right data: what was drawn is read back from their axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tumorlens.errors import DataError, MissingExtraError
from tumorlens.metrics import binary as metrics
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.rates import rate_curve
from tumorlens.plots import curves as plots
from tumorlens.plots import galleries, style

pytest.importorskip("matplotlib")
pytest.importorskip("seaborn")

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0])
PROB = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.55, 0.7, 0.8, 0.9, 0.05])


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.lines}


def test_the_confusion_matrix_shows_counts_and_shares_of_the_row() -> None:
    figure = plots.confusion_matrix(LABELS, PROB, 0.5)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [
        "4\n80.0%",
        "1\n20.0%",
        "1\n20.0%",
        "4\n80.0%",
    ]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "healthy\nn = 5",
        "tumour\nn = 5",
    ]
    np.testing.assert_allclose(np.ravel(axes.collections[0].get_array()), [0.8, 0.2, 0.2, 0.8])


def test_the_roc_curve_encloses_the_auc_and_marks_the_operating_point() -> None:
    axes = plots.rate_plot(LABELS, PROB, 0.5, kind="roc").axes[0]
    drawn = lines(axes)
    x, y = drawn["n = 10"].get_data()
    assert np.trapezoid(y, x) == pytest.approx(
        metrics.metric_values(LABELS, PROB)["roc_auc"], abs=1e-12
    )
    assert f"{metrics.metric_values(LABELS, PROB)['roc_auc']:.3f}" in axes.get_title()
    point = drawn["at the threshold: 0.20, 0.80"]
    assert [*point.get_xdata(), *point.get_ydata()] == pytest.approx([0.2, 0.8])
    assert any(band.get_label() == "95 % band" for band in axes.collections)


def test_the_pr_curve_encloses_the_average_precision() -> None:
    axes = plots.rate_plot(LABELS, PROB, 0.5, kind="pr").axes[0]
    drawn = lines(axes)
    x, y = drawn["n = 10"].get_data()
    assert float((np.diff(x) * y[1:]).sum()) == pytest.approx(
        metrics.metric_values(LABELS, PROB)["pr_auc"]
    )
    assert drawn["n = 10"].get_drawstyle() == "steps-pre"
    assert "at the threshold: 0.80, 0.80" in drawn


def test_a_perfect_and_a_tied_ranking_have_known_curves() -> None:
    perfect = rate_curve([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], "roc", n_boot=20)
    assert list(zip(perfect.x, perfect.y, strict=True)) == [
        (0, 0), (0, 0.5), (0, 1), (0.5, 1), (1, 1),
    ]  # fmt: skip
    tied = rate_curve([0, 1, 0, 1], [0.5] * 4, "pr", n_boot=20)
    assert (tied.x.tolist(), tied.y.tolist()) == ([0, 1], [0.5, 0.5])
    with pytest.raises(DataError, match="both classes"):
        rate_curve([1, 1], [0.2, 0.3], "roc")


def test_the_band_is_wider_when_scans_come_in_groups() -> None:
    labels, prob = np.repeat(LABELS, 20), np.repeat(PROB, 20)
    alone = rate_curve(labels, prob, "roc", seed=3)
    bound = rate_curve(labels, prob, "roc", groups=np.repeat(np.arange(10), 20), seed=3)
    assert (bound.high - bound.low).mean() > 2 * (alone.high - alone.low).mean()


def test_the_reliability_diagram_shows_bins_of_equal_mass_and_all_scans() -> None:
    prob = np.linspace(0, 1, 80)
    labels = (np.arange(80) % 4 == 0).astype(int)
    axes, below = plots.reliability_plot(labels, prob, bins=4).axes
    (bars,) = axes.containers
    np.testing.assert_allclose(bars.lines[0].get_ydata(), [0.25] * 4)
    np.testing.assert_allclose(
        bars.lines[0].get_xdata(), prob.reshape(4, 20).mean(axis=1), atol=1e-12
    )
    assert sum(bar.get_height() for bar in below.patches) == 80


def test_score_distributions_are_shares_of_each_class() -> None:
    figure = plots.score_distributions(LABELS, PROB, 0.5)
    axes = figure.axes[0]
    for container in axes.containers:
        assert sum(bar.get_height() for bar in container) == pytest.approx(1)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["healthy (n = 5)", "tumour (n = 5)", "threshold 0.500"]


def test_learning_curves_pair_training_and_validation() -> None:
    curves = {
        "train/loss": {1: 0.5, 0: 0.9},
        "val/loss": {0: 0.8, 1: 0.6},
        "val/roc_auc": {0: 0.5, 1: 0.7},
        "lr-AdamW": {0: 1e-3},
    }
    panels = plots.learning_curves(curves).axes
    assert [panel.get_title() for panel in panels] == ["loss", "roc auc"]
    assert list(lines(panels[0])["train"].get_ydata()) == [0.9, 0.5]
    assert list(lines(panels[1])["val"].get_ydata()) == [0.5, 0.7]
    with pytest.raises(DataError, match="no learning curves"):
        plots.learning_curves({"lr-AdamW": {0: 1.0}})


def test_the_forest_plot_draws_intervals_and_says_what_is_not_defined() -> None:
    nan = float("nan")
    rows = {
        "all": {"roc_auc": Estimate(0.8, 0.7, 0.9, 50), "sensitivity": Estimate(0.5, 0.4, 0.6, 50)},
        "here": {"roc_auc": Estimate(nan, nan, nan, 7)},
    }
    figure = plots.forest_plot(rows, ["roc_auc", "sensitivity"])
    first, second = figure.axes
    assert list(first.lines[0].get_xdata()) == [0.7, 0.9]
    assert list(second.lines[1].get_xdata()) == [0.5]
    assert [text.get_text() for text in first.texts + second.texts] == ["not defined"] * 2
    names = [tick.get_text() for tick in first.get_yticklabels()]
    assert names == ["all (n = 50)", "here (n = 7)"]


def test_the_sample_is_random_but_the_same_for_a_seed_and_tells_right_from_wrong() -> None:
    images = [np.full((6, 5), index, dtype=np.uint8) for index in range(10)]
    chosen = galleries.sample_indices(10, 4, seed=1)
    shown = [images[index] for index in chosen]
    figure = galleries.sample_gallery(shown, LABELS[chosen], PROB[chosen], 0.5)
    assert [int(panel.images[0].get_array()[0, 0]) for panel in figure.axes] == chosen.tolist()
    assert chosen.tolist() != galleries.sample_indices(10, 4, seed=2).tolist()
    for panel, index in zip(figure.axes, chosen, strict=True):
        wrong = (PROB[index] >= 0.5) != LABELS[index]
        assert ("✗" in panel.get_title()) == wrong
        assert f"P = {PROB[index]:.2f}" in panel.get_title()


def test_heat_maps_lie_on_their_scans_on_a_fixed_scale() -> None:
    scans = [np.zeros((8, 6), dtype=np.uint8)] * 2
    heat = [np.full((8, 6), level, dtype=np.float32) for level in (0.1, 0.3)]
    figure = galleries.heatmap_gallery(scans, heat, ["a", "b"], [[(0.0, 0.0, 0.5, 0.5)], []])
    below = figure.axes[2:4]
    assert [panel.images[1].get_clim() for panel in below] == [(0, 1), (0, 1)]
    np.testing.assert_allclose(below[1].images[1].get_alpha(), 0.24, rtol=1e-6)
    assert [len(panel.lines) for panel in below] == [1, 0]
    assert max(below[0].lines[0].get_xdata()) == 2.5


def test_feature_maps_show_the_most_varied_channels_on_one_scale_a_layer() -> None:
    values = np.zeros((3, 4, 4), dtype=np.float32)
    values[2, 0, 0], values[1, 0, 0] = 9, 5
    panels = galleries.feature_maps({"conv": values}, per_layer=2).axes
    assert [panel.get_title() for panel in panels] == ["#2", "#1"]
    assert panels[0].images[0].get_clim() == panels[1].images[0].get_clim()
    assert panels[0].texts[0].get_text() == "conv\n3 × 4×4"


def test_the_same_figure_gives_the_same_bytes() -> None:
    one, other = (style.encode(plots.confusion_matrix(LABELS, PROB)) for _ in range(2))
    assert one == other
    assert one.startswith(b"<?xml")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"tumorlens\[train\]"):
        plots.confusion_matrix(LABELS, PROB)


@pytest.mark.parametrize(
    "call",
    [
        lambda: plots.confusion_matrix([0, 1], [0.5]),
        lambda: plots.confusion_matrix([0, 1], [0.5, 0.5], [0.1, 0.2, 0.3]),
        lambda: plots.forest_plot({}, ["roc_auc"]),
        lambda: galleries.sample_gallery([], [], []),
        lambda: galleries.feature_maps({"conv": np.zeros((4, 4), dtype=np.float32)}),
    ],
)
def test_arrays_that_do_not_fit_are_refused(call: Any) -> None:
    with pytest.raises(DataError):
        call()
