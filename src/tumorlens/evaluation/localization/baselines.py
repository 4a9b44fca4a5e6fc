"""The maps that are measured beside each other: the model's own and baselines without torch.

A method turns a case into a map float32 ``[H, W]`` on the image's pixels, in units of its own:
every measure is a matter of order or of shares.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tumorlens.evaluation.localization.cases import Case, Heat
from tumorlens.inference.predictor import Predictor

MapMethod = Callable[[Case], Heat]

# The patch is twice as wide as the step, so that every point is covered by four patches.
_STEPS = 8


def class_map(case: Case) -> Heat:
    """Return the heat map as users are shown it."""
    return case.explanation.heatmap


def positive_evidence(case: Case) -> Heat:
    """Return the class map where it speaks for a tumour, in logit units; 0 elsewhere."""
    return np.maximum(case.evidence, np.float32(0))


def centre_prior(case: Case) -> Heat:
    """Return what a guess without looking is worth: a Gaussian at the head's centre.

    Its standard deviations are a quarter of the head's width and height.
    """
    height, width = case.background.shape
    x = ((np.arange(width) + 0.5) / width - case.centre[0]) / (case.extent[0] / 4)
    y = ((np.arange(height) + 0.5) / height - case.centre[1]) / (case.extent[1] / 4)
    return np.asarray(np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / 2), dtype=np.float32)


def occlusion(predictor: Predictor) -> MapMethod:
    """Return the method of occlusion maps (Zeiler & Fergus, ECCV 2014) of a model file.

    A grey patch (the input's mean, a quarter of its side wide) is laid on 8 × 8 places; a
    cell's value is how far the logit falls. One image costs 64 forward passes, in batches of 32.
    """

    def method(case: Case) -> Heat:
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
