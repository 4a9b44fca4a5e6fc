"""Galleries of scans, heat maps and feature maps: arrays in, a ``Figure`` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.localization import Box
from tumorlens.plots.style import RIGHT, WRONG, new_figure, panel_grid, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CLASSES = ("healthy", "tumour")


def sample_indices(n: int, count: int, seed: int) -> NDArray[np.int64]:
    """Return ``count`` (or all) of ``n`` indices, drawn without replacement and sorted."""
    drawn = np.random.default_rng(seed).choice(n, size=min(count, n), replace=False)
    return np.sort(drawn)


@styled
def sample_gallery(
    images: Sequence[NDArray[Any]],
    labels: ArrayLike,
    prob: ArrayLike,
    threshold: ArrayLike = 0.5,
) -> Figure:
    """Draw scans, each with its label and the prediction.

    Args:
        images: Grey uint8 ``[H, W]`` (0..255), or float ``[H, W]`` in 0..1, of any sizes.
        labels: 0 or 1, ``[N]``. prob: P(tumour), ``[N]``. threshold: one, or ``[N]``.
    """
    truth, p = np.asarray(labels), np.asarray(prob, dtype=np.float64)
    limit = np.broadcast_to(np.asarray(threshold, dtype=np.float64), p.shape)
    _check(len(images), truth.size, p.size)
    columns = min(8, max(4, len(images) // 2))
    figure, panels = panel_grid(len(images), columns=columns, width=1.55, height=1.9)
    for index, panel in enumerate(panels):
        predicted = int(p[index] >= limit[index])
        _show(panel, images[index])
        _caption(panel, int(truth[index]), predicted, float(p[index]))
    return figure


@styled
def heatmap_gallery(
    images: Sequence[NDArray[Any]],
    heatmaps: Sequence[NDArray[np.float32]],
    captions: Sequence[str],
    boxes: Sequence[Sequence[Box]] | None = None,
) -> Figure:
    """Draw scans, and below them the scans with their heat maps, on a fixed scale 0..1.

    Args:
        images: Grey, as in `sample_gallery`.
        heatmaps: float32 ``[H, W]`` in 0..1, each of its image's shape.
        captions: One for each image.
        boxes: Annotated boxes ``(x0, y0, x1, y1)`` in fractions of the image, drawn as outlines.
    """
    _check(len(images), len(heatmaps), len(captions))
    figure = new_figure(1.9 * len(images) + 0.7, 4.3)
    panels = figure.subplots(2, len(images), squeeze=False)
    overlay: Any = None
    for column, (image, heat, caption) in enumerate(zip(images, heatmaps, captions, strict=True)):
        above, below = panels[0, column], panels[1, column]
        for panel in (above, below):
            _show(panel, image)
        above.set_title(caption, fontsize=8, fontweight="normal")
        alpha = np.clip(heat, 0, 1) * 0.8
        overlay = below.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=alpha)
        for x0, y0, x1, y1 in boxes[column] if boxes else ():
            height, width = image.shape[:2]
            xs, ys = np.array([x0, x1, x1, x0, x0]) * width, np.array([y0, y0, y1, y1, y0]) * height
            below.plot(xs - 0.5, ys - 0.5, color="#56B4E9", linewidth=1.4)
    from matplotlib.cm import ScalarMappable

    scale = ScalarMappable(norm=overlay.norm, cmap=overlay.cmap)  # opaque, unlike the overlay
    figure.colorbar(scale, ax=panels[1].tolist(), label="evidence, 0 to 1", shrink=0.9)
    return figure


@styled
def feature_maps(layers: Mapping[str, NDArray[np.float32]], per_layer: int = 8) -> Figure:
    """Draw the channels with the largest variance of convolutional layers, a row for each layer.

    Args:
        layers: Layer → activations of one scan, float ``[C, h, w]``. All channels of a layer share
            a grey scale, from the 1st to the 99th percentile.
        per_layer: Number of channels, in order of variance.
    """
    if not layers or any(values.ndim != 3 for values in layers.values()):
        raise DataError("feature maps need layers of activations [C, h, w]")
    figure = new_figure(1.15 * per_layer + 1.0, 1.25 * len(layers))
    panels = figure.subplots(len(layers), per_layer, squeeze=False)
    for row, (name, values) in enumerate(layers.items()):
        low, high = np.percentile(values, [1, 99])
        order = np.argsort(-values.var(axis=(1, 2)), kind="stable")[:per_layer]
        for panel in panels[row]:
            panel.set_axis_off()
        for panel, channel in zip(panels[row], order, strict=False):
            panel.imshow(values[channel], vmin=low, vmax=max(high, low + 1e-9))
            panel.set_title(f"#{channel}", fontsize=7, fontweight="normal", pad=2)
        size = "×".join(map(str, values.shape[1:]))
        first = panels[row][0]
        first.text(
            -0.12, 0.5, f"{name}\n{len(values)} × {size}", transform=first.transAxes, fontsize=7,
            ha="right", va="center",
        )  # fmt: skip
    return figure


def _show(panel: Axes, image: NDArray[Any]) -> None:
    top = 255 if np.issubdtype(np.asarray(image).dtype, np.integer) else 1
    panel.imshow(image, cmap="gray", vmin=0, vmax=top)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)


def _caption(panel: Axes, truth: int, predicted: int, prob: float) -> None:
    """Label a panel with truth, prediction and probability; errors are bold and framed."""
    correct = truth == predicted
    verdict = "✓" if correct else f"✗ predicted {_CLASSES[predicted]}"
    weight = "normal" if correct else "bold"
    text = f"{_CLASSES[truth]}, P = {prob:.2f}\n{verdict}"
    panel.set_title(text, fontsize=8, fontweight=weight)
    colour, linewidth = (RIGHT, 1) if correct else (WRONG, 3)
    panel.spines[:].set(visible=True, color=colour, linewidth=linewidth)


def _check(*sizes: int) -> None:
    if len(set(sizes)) != 1 or sizes[0] == 0:
        raise DataError(f"a gallery needs as many images as predictions; got {sizes}")
