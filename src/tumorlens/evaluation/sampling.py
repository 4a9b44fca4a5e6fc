"""Which scans are measured, drawn by group, and the model's outputs for modified ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.imaging.image import Image
from tumorlens.inference.overlay import to_display
from tumorlens.inference.predictor import NetworkInput, Predictor

ModelInput = NDArray[np.float32]
"""The network's input for one scan, ``[C, S, S]`` in 0..1."""
Mask = NDArray[np.bool_]
WORKING_SIDE = 256
"""Images are shrunk to this longest side before anything is done to them, so that a strength in
pixels means the same for all; no network here sees more of them."""
_BATCH = 16


def working_copy(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return decoded pixels as shown, grey uint8, shrunk to at most `WORKING_SIDE` a side."""
    grey = to_display(pixels)
    shrink = WORKING_SIDE / max(grey.shape)
    if shrink >= 1:
        return grey
    size = (max(1, round(grey.shape[1] * shrink)), max(1, round(grey.shape[0] * shrink)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def prepare_image(predictor: Predictor, image: NDArray[np.uint8]) -> NetworkInput:
    """Return the network's input for a whole image, and where it lies on it."""
    return predictor.prepare(Image(image, "array", "image"))


def draw_by_group(records: Sequence[Record], limit: int | None, seed: int) -> list[Record]:
    """Draw at most ``limit`` records that keep the mix of labels and sources, spread over groups.

    Each pair of label and source gets its share of the limit, at least one. Inside it every group
    gives one record before any gives a second, for near-duplicates of a scan add little. The same
    seed draws the same records; their order stays. None takes all.
    """
    if limit is None or limit >= len(records):
        return list(records)
    rng = np.random.default_rng(seed)
    strata: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        strata[(record.label or 0, record.source)].append(index)
    chosen: list[int] = []
    for _, members in sorted(strata.items()):
        share = max(1, round(limit * len(members) / len(records)))
        chosen += _by_turns(members, records, rng)[:share]
    return [records[index] for index in sorted(chosen)]


def _by_turns(
    members: Sequence[int], records: Sequence[Record], rng: np.random.Generator
) -> list[int]:
    """Order members so that all groups give their first before any gives its second."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for index in rng.permutation(members).tolist():
        groups[records[index].group].append(index)
    turns = [(turn, index) for group in groups.values() for turn, index in enumerate(group)]
    return [index for _, index in sorted(turns, key=lambda each: each[0])]


@dataclass(frozen=True, eq=False)
class ModelOutputs:
    """What a model gives for N inputs.

    Attributes:
        prob: float64 ``[N]``, calibrated P(tumour).
        logits: float64 ``[N]``, before the temperature.
        maps: float32 ``[N, h, w]`` in logit units; None when the model has no map.
    """

    prob: NDArray[np.float64]
    logits: NDArray[np.float64]
    maps: NDArray[np.float32] | None


def infer_all(predictor: Predictor, inputs: Sequence[ModelInput]) -> ModelOutputs:
    """Run a model on inputs in batches; no inputs give empty outputs."""
    if not inputs:
        return ModelOutputs(np.zeros(0), np.zeros(0), None)
    outputs = predictor.infer(np.stack(inputs), _BATCH)
    logits = outputs.logits.astype(np.float64)
    return ModelOutputs(predictor.calibrate(logits), logits, outputs.maps)
