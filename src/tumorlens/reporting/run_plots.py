"""The plots of a report: from predictions, from logs and, if available, from the scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import read_pixels
from tumorlens.imaging.image import Image
from tumorlens.imaging.preprocess import preprocess
from tumorlens.inference.overlay import to_display
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions
from tumorlens.models.gradcam import outputs_of
from tumorlens.models.registry import build
from tumorlens.models.weights import load_weights
from tumorlens.plots import curves, galleries
from tumorlens.plots.style import encode
from tumorlens.reporting.document import Plot
from tumorlens.runs.curves import read_curves

FOREST_METRICS = ("roc_auc", "sensitivity", "specificity", "balanced_accuracy")


def prediction_plots(predictions: Predictions, part: str, seed: int) -> list[Plot]:
    """Plot the predictions; nothing if only one class was tested."""
    p = predictions
    if not 0 < int(p.labels.sum()) < len(p):
        return []
    one = p.threshold[0] if np.unique(p.threshold).size == 1 else p.threshold
    limits = f"the threshold {one:.3f}" if np.ndim(one) == 0 else "each fold's own threshold"
    band = "The band is the pointwise 95 % interval of a bootstrap over groups."
    roc = curves.rate_plot(p.labels, p.prob, one, kind="roc", groups=p.groups, seed=seed)
    pr = curves.rate_plot(p.labels, p.prob, one, kind="pr", groups=p.groups, seed=seed)
    return [
        Plot(
            "Confusion matrix",
            f"{len(p)} predictions on {part} scans at {limits}; percentages are per row.",
            encode(curves.confusion_matrix(p.labels, p.prob, one)),
        ),
        Plot("ROC curve", f"All thresholds. {band}", encode(roc)),
        Plot("Precision–recall curve", f"At this prevalence. {band}", encode(pr)),
        Plot(
            "Reliability",
            "Observed share of tumours against predicted probability, in bins of equal size with "
            "95 % intervals; below, the distribution of the probabilities.",
            encode(curves.reliability_plot(p.labels, p.prob)),
        ),
        Plot(
            "Scores by class",
            "Distribution of the probabilities by class, with the threshold.",
            encode(curves.score_distributions(p.labels, p.prob, one)),
            wide=True,
        ),
    ]


def forest_plot(rows: Mapping[str, Mapping[str, Estimate]], kind: str) -> list[Plot]:
    """Plot key metrics by source, view or fold, below those over all scans; needs two rows."""
    if len(rows) < 3:  # all and a single row: the same values twice
        return []
    caption = "Points with 95 % intervals; dotted: the value over all scans."
    return [
        Plot(
            f"Metrics by {kind}",
            caption,
            encode(curves.forest_plot(rows, FOREST_METRICS)),
            wide=True,
        )
    ]


def curve_plot(run_dir: Path) -> list[Plot]:
    """Plot the learning curves of a run from its logs, if there are any."""
    logged = read_curves(run_dir)
    if logged.get("train/image_loss") == logged.get("train/loss"):
        logged.pop("train/image_loss", None)  # identical without a localisation loss
    if not any(name.startswith(("train/", "val/")) for name in logged):
        return []
    caption = "By epoch; training metrics are computed on augmented images."
    return [Plot("Learning curves", caption, encode(curves.learning_curves(logged)), wide=True)]


def scan_plots(
    predictor: Predictor, weights: Path, predictions: Predictions, records: Mapping[str, Record],
    seed: int,
) -> list[Plot]:  # fmt: skip
    """Plot a random sample with predictions, heat maps if the model has them, and feature maps.

    Args:
        predictor: The run's model file, opened.
        weights: The run's ``weights.pt``; feature maps are left out when it is missing.
        predictions: Of one part.
        records: Key → record, at least those of the predictions.
        seed: Of the sample.

    Raises:
        InputError: A scan cannot be read.
    """
    shown = galleries.sample_indices(len(predictions), 16, seed)
    sample = predictions.take(shown)
    pixels = [read_pixels(records[key]) for key in sample.keys]
    gallery = galleries.sample_gallery(
        [to_display(scan) for scan in pixels],
        sample.labels,
        sample.prob,
        sample.threshold,
    )
    drawn = "Random scans with label and P(tumour); a cross marks errors."
    found = [Plot("A random sample", drawn, encode(gallery, "png"), "png", wide=True)]
    if predictor.card.has_map:
        found += _heat_maps(predictor, sample, pixels, records)
    if weights.is_file():
        tumours = np.flatnonzero(sample.labels == 1)
        scan = pixels[int(tumours[0]) if tumours.size else 0]
        found.append(_feature_maps(predictor, weights, scan))
    return found


def _heat_maps(
    predictor: Predictor, sample: Predictions, pixels: Sequence[np.ndarray],
    records: Mapping[str, Record],
) -> list[Plot]:  # fmt: skip
    tumours = np.flatnonzero(sample.labels == 1)[:4]
    healthy = np.flatnonzero(sample.labels == 0)[:2]
    rows = [int(index) for index in (*tumours, *healthy)]
    shown = [predictor.explain(Image(pixels[row], "array", sample.keys[row])) for row in rows]
    figure = galleries.heatmap_gallery(
        [explanation.scan for explanation in shown],
        [explanation.heatmap for explanation in shown],
        [
            f"{'tumour' if sample.labels[row] else 'healthy'}, P = {sample.prob[row]:.2f}"
            for row in rows
        ],
        [records[sample.keys[row]].boxes or () for row in rows],
    )
    caption = (
        "The class map that is pooled into the logit, on a fixed scale; outlines: annotated boxes."
    )
    return [Plot("Class maps", caption, encode(figure, "png"), "png", wide=True)]


def _feature_maps(predictor: Predictor, weights: Path, scan: np.ndarray) -> Plot:
    card = predictor.card
    network = build(card.architecture, **card.architecture_args)
    load_weights(network, weights)
    features = _convolution_features(network, preprocess(scan, card.preprocess))
    caption = (
        "Outputs of convolutional layers, first to last, for one scan: the channels of highest "
        "variance, on one scale per layer."
    )
    figure = galleries.feature_maps(features)
    return Plot("Feature maps", caption, encode(figure, "png"), "png", wide=True)


def _convolution_features(
    network: nn.Module, image: NDArray[np.float32], limit: int = 6
) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of convolutional layers, before norm and activation.

    Args:
        network: Any network that takes ``[N, C, H, W]``.
        image: One preprocessed scan, float32 ``[C, H, W]``.
        limit: Layers returned, spread evenly from the first to the last.

    Returns:
        Layer name → float32 ``[channels, h, w]``, in the network's order.
    """
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    chosen = sorted(set(np.linspace(0, len(layers) - 1, min(limit, len(layers))).round().tolist()))
    network = network.eval().float().cpu()
    with ExitStack() as hooks, torch.no_grad():
        outputs = {
            name: hooks.enter_context(outputs_of(layer))
            for name, layer in (layers[int(index)] for index in chosen)
        }
        network(torch.from_numpy(image.copy())[None])
    return {name: found[0].numpy() for name, (found,) in outputs.items()}
