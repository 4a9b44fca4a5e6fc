"""Stratified sampling of scans for a measurement, and a model's outputs for modified scans."""

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
from tumorlens.inference.network_input import NetworkInput
from tumorlens.inference.overlay import to_display
from tumorlens.inference.predictor import Predictor

ModelInput = NDArray[np.float32]
"""The network's input for one scan, ``[C, S, S]`` in 0..1."""
Mask = NDArray[np.bool_]
WORKING_SIDE = 256
"""Images are downscaled to this longer side before they are modified, so that strengths in pixels
are comparable; no network of this package uses a higher resolution."""
_BATCH = 16


def working_copy(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return decoded pixels as displayed: uint8 ``[H, W]``, at most `WORKING_SIDE` a side."""
    grey = to_display(pixels)
    scale = WORKING_SIDE / max(grey.shape)
    if scale >= 1:
        return grey
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def prepare_image(predictor: Predictor, image: NDArray[np.uint8]) -> NetworkInput:
    """Return the network's input for a whole image uint8 ``[H, W]``, and its frame."""
    return predictor.prepare(Image(image, "array", "image"))


def draw_by_group(records: Sequence[Record], limit: int | None, seed: int) -> list[Record]:
    """Draw about ``limit`` records, stratified by label and source and spread over groups.

    Each stratum gets its share of the limit, at least one record. Within a stratum every group
    gives one record before any gives a second, since near-duplicates add little information. The
    order of the records is kept. None takes all.
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
        chosen += _round_robin(members, records, rng)[:share]
    return [records[index] for index in sorted(chosen)]


def _round_robin(
    members: Sequence[int], records: Sequence[Record], rng: np.random.Generator
) -> list[int]:
    """Order members so that every group gives its first before any gives its second."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for index in rng.permutation(members).tolist():
        groups[records[index].group].append(index)
    turns = [(turn, index) for group in groups.values() for turn, index in enumerate(group)]
    return [index for _, index in sorted(turns, key=lambda each: each[0])]


@dataclass(frozen=True, eq=False)
class ModelOutputs:
    """A model's outputs for N inputs.

    Attributes:
        prob: float64 ``[N]``, calibrated P(tumour).
        logits: float64 ``[N]``, before calibration.
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
