"""The explanation maps that are compared: the model's class map, and baselines without torch.

A method returns a map float32 ``[H, W]`` on the image's pixels. Its unit is arbitrary, since every
measure depends on ranks or on shares only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tumorlens.evaluation.localization.cases import Case, HeatMap
from tumorlens.inference.predictor import Predictor

MapMethod = Callable[[Case], HeatMap]

# The patch is twice as wide as the stride, so that every point is covered by four patches.
_STEPS = 8


def class_map(case: Case) -> HeatMap:
    """Return the heat map as it is displayed to users."""
    return case.explanation.heatmap


def positive_evidence(case: Case) -> HeatMap:
    """Return the positive part of the class map, in logit units."""
    return np.maximum(case.evidence, np.float32(0))


def centre_prior(case: Case) -> HeatMap:
    """Return a map that ignores the image: a Gaussian at the head's centre.

    Its standard deviations are a quarter of the head's width and height.
    """
    height, width = case.background.shape
    x = ((np.arange(width) + 0.5) / width - case.centre[0]) / (case.extent[0] / 4)
    y = ((np.arange(height) + 0.5) / height - case.centre[1]) / (case.extent[1] / 4)
    return np.asarray(np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / 2), dtype=np.float32)


def occlusion(predictor: Predictor) -> MapMethod:
    """Return the method of occlusion maps (Zeiler & Fergus, ECCV 2014) of a model file.

    A grey patch (the input's mean, a quarter of its side wide) covers 8 × 8 positions in turn; the
    value is the drop of the logit. One image takes 64 forward passes, in batches of 32.
    """

    def method(case: Case) -> HeatMap:
        size = case.inputs.shape[-1]
        edges = np.round((np.arange(_STEPS)[:, None] + np.array([-0.5, 1.5])) * size / _STEPS)
        spans = [slice(max(int(low), 0), int(high)) for low, high in edges]
        covered = np.repeat(case.inputs[None], _STEPS**2, axis=0)
        for number, image in enumerate(covered):
            image[:, spans[number // _STEPS], spans[number % _STEPS]] = case.inputs.mean()
        whole = predictor.infer(case.inputs[None]).logits[0]
        drop = whole - predictor.infer(covered, _STEPS**2 // 2).logits
        return case.frame.map_to_image(drop.reshape(_STEPS, _STEPS))

    return method
