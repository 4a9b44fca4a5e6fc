"""The plots of a report: from answers, from logs, and from the scans where they are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import read_pixels
from tumorlens.imaging.image import Image
from tumorlens.imaging.preprocess import preprocess
from tumorlens.inference.overlay import to_display
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions
from tumorlens.models.registry import build
from tumorlens.models.weights import load_weights
from tumorlens.plots import curves, galleries
from tumorlens.plots.style import encode
from tumorlens.reporting.document import Plot
from tumorlens.reporting.feature_maps import convolution_features
from tumorlens.runs.curves import read_curves

FOREST_METRICS = ("roc_auc", "sensitivity", "specificity", "balanced_accuracy")


def answer_plots(answers: Predictions, part: str, seed: int) -> list[Plot]:
    """Draw what can be told from answers alone; nothing where only one class was tested."""
    p = answers
    if not 0 < int(p.labels.sum()) < len(p):
        return []
    one = p.threshold[0] if np.unique(p.threshold).size == 1 else p.threshold
    limits = f"the threshold {one:.3f}" if np.ndim(one) == 0 else "each fold's own threshold"
    band = "At each point the band holds 95 % of the curves that resampled groups give."
    roc = curves.rate_plot(p.labels, p.prob, one, kind="roc", groups=p.groups, seed=seed)
    pr = curves.rate_plot(p.labels, p.prob, one, kind="pr", groups=p.groups, seed=seed)
    return [
        Plot(
            "Confusion matrix",
            f"{len(p)} answers on {part} scans at {limits}; shares are of each row.",
            encode(curves.confusion_matrix(p.labels, p.prob, one)),
        ),
        Plot("ROC curve", f"Every threshold at once. {band}", encode(roc)),
        Plot("Precision–recall curve", f"For this share of tumours. {band}", encode(pr)),
        Plot(
            "Reliability",
            "Of scans given a probability, as many should be tumours. Bins hold equally many "
            "scans, bars are 95 % intervals; below, how often each probability was given.",
            encode(curves.reliability_plot(p.labels, p.prob)),
        ),
        Plot(
            "Scores by class",
            "How far apart the classes lie, and where the threshold cuts.",
            encode(curves.score_distributions(p.labels, p.prob, one)),
            wide=True,
        ),
    ]


def forest_plot(rows: Mapping[str, Mapping[str, Estimate]], kind: str) -> list[Plot]:
    """Draw key metrics by source, view or repeat, under the figure of all; needs two rows."""
    if len(rows) < 3:  # all, and only one beside it: the same figures twice
        return []
    caption = "Points are values, lines 95 % intervals; dotted: the value over all scans."
    return [
        Plot(
            f"Metrics by {kind}",
            caption,
            encode(curves.forest_plot(rows, FOREST_METRICS)),
            wide=True,
        )
    ]


def curve_plot(run_dir: Path) -> list[Plot]:
    """Draw the learning curves of a run from its logs, where there are any."""
    logged = read_curves(run_dir)
    if logged.get("train/image_loss") == logged.get("train/loss"):
        logged.pop("train/image_loss", None)  # without a localisation loss both are the same
    if not any(name.startswith(("train/", "val/")) for name in logged):
        return []
    caption = "Over epochs; training figures are under augmentation, where there is any."
    return [Plot("Learning curves", caption, encode(curves.learning_curves(logged)), wide=True)]


def scan_plots(
    predictor: Predictor, weights: Path, answers: Predictions, records: Mapping[str, Record],
    seed: int,
) -> list[Plot]:  # fmt: skip
    """Draw a random sample with answers, heat maps where the model has them, and feature maps.

    Args:
        predictor: The run's model file, opened.
        weights: The run's ``weights.pt``; feature maps are left out when it is missing.
        answers: Of one part.
        records: Key → record, at least those of the answers.
        seed: Of the sample.

    Raises:
        InputError: A scan cannot be read.
    """
    shown = galleries.sample_indices(len(answers), 16, seed)
    sample = answers.take(shown)
    pixels = [read_pixels(records[key]) for key in sample.keys]
    gallery = galleries.sample_gallery(
        [to_display(scan) for scan in pixels],
        sample.labels,
        sample.prob,
        sample.threshold,
    )
    drawn = "Drawn at random, right or wrong: what it is, P(tumour), and a cross where it erred."
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
        "The class map the answer was pooled from, on a fixed scale; outlines are annotated boxes."
    )
    return [Plot("Where it looked", caption, encode(figure, "png"), "png", wide=True)]


def _feature_maps(predictor: Predictor, weights: Path, scan: np.ndarray) -> Plot:
    card = predictor.card
    network = build(card.architecture, **card.architecture_args)
    load_weights(network, weights)
    features = convolution_features(network, preprocess(scan, card.preprocess))
    caption = (
        "Outputs of convolutional layers, first to last, for one scan: the channels that vary "
        "most, on one scale a layer."
    )
    figure = galleries.feature_maps(features)
    return Plot("Feature maps", caption, encode(figure, "png"), "png", wide=True)
