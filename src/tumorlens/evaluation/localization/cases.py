"""Annotated tumour images, ready to be explained, and what the measures need beside the map."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import read_pixels
from tumorlens.errors import ExplanationUnavailableError
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.head import find_head
from tumorlens.imaging.image import Image, to_grey
from tumorlens.imaging.preprocess import bounded
from tumorlens.inference.prediction import Explanation
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.localization import (
    TOLERANCE,
    box_coverage,
    box_from_map,
    box_iou,
    energy_in_box,
    energy_in_region,
    iou_at_area,
    pointing_distance,
)

Heat = NDArray[np.float32]

# Scalp and skull of an adult are some 12 to 15 mm thick, and a slice of the head has the area of
# a square of some 150 mm: the rim is this share of that square's side.
RIM = 0.08
# The box of a map goes round its cells of at least this share of the highest: a level of each
# map's own, because the baselines have no common scale.
BOX_LEVEL = 0.5


@dataclass(frozen=True, eq=False)
class Case:
    """One annotated tumour image under one model.

    Attributes:
        record: With boxes.
        boxes: float64 ``[K, 4]``, fractions of the image.
        frame: Where the input lies on the image.
        inputs: float32 ``[C, S, S]``, what the network saw.
        class_map: float32 ``[h, w]`` in logit units.
        explanation: What a user is shown.
        centre, extent: Of the head's box, x and y in fractions of the image.
        background: bool ``[H, W]``, outside the head and the boxes.
        rim: bool ``[H, W]``, scalp and skull: the head's outermost band, without the boxes.
    """

    record: Record
    boxes: NDArray[np.float64]
    frame: Frame
    inputs: NDArray[np.float32]
    class_map: Heat
    explanation: Explanation
    centre: tuple[float, float]
    extent: tuple[float, float]
    background: NDArray[np.bool_]
    rim: NDArray[np.bool_]

    @property
    def evidence(self) -> Heat:
        """The class map on the image's pixels, float32 ``[H, W]`` in logit units."""
        return self.frame.map_to_image(self.class_map)


def read_case(record: Record, predictor: Predictor) -> Case:
    """Read, predict and explain one image.

    Raises:
        InputError: The file cannot be decoded.
        ExplanationUnavailableError: The model has no class map.
    """
    image = Image(read_pixels(record), "array", record.path.name)
    ready = predictor.prepare(image)
    outputs = predictor.infer(ready.tensor[None])
    if outputs.maps is None:
        raise ExplanationUnavailableError(
            f"model {predictor.card.name} has no class map, so there is no explanation to measure"
        )
    prediction = predictor.interpret(outputs, ready.quality, 0.0)
    boxes = np.array(record.boxes, dtype=np.float64)
    small = to_grey(bounded(image.pixels))
    (x0, y0, x1, y1), head = find_head(small)
    height, width = small.shape
    background, rim = regions(_full_size(head, image.pixels.shape[:2]), boxes)
    return Case(
        record,
        boxes,
        ready.frame,
        ready.tensor,
        outputs.maps[0],
        predictor.to_explanation(image, ready.frame, outputs.maps[0], prediction),
        ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height),
        ((x1 - x0) / width, (y1 - y0) / height),
        background,
        rim,
    )


def regions(
    head: NDArray[np.bool_], boxes: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where no evidence should be: background and rim, bool ``[H, W]`` each.

    The background is what is neither head nor box. The rim is the part of the head within 8 % of
    the side of a square of its area from its outline, without the boxes: many meningiomas grow on
    the skull. Where the image's edge cuts the head there is no rim.
    """
    free = box_coverage(head.shape, boxes) < 0.5
    depth = cv2.distanceTransform(head.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rim = head & (depth <= RIM * np.sqrt(head.sum())) & free
    return ~head & free, rim


def score_map(heat: Heat, case: Case, order: Heat | None = None) -> dict[str, float]:
    """Return every measure of one map on its image; see `scores.MEASURES`.

    Args:
        heat: float32 ``[H, W]`` on the image's pixels. A map that is the same everywhere points
            nowhere: a miss, a whole image's side away.
        case: The image.
        order: Decides which of several highest pixels is the peak, as a heat that has run into
            the end of its scale leaves them.
    """
    flat = float(np.ptp(heat)) == 0
    top = heat if order is None else np.where(heat == heat.max(), order, -np.inf)
    # The lowest finite value stands for all that is not highest.
    ranked = np.maximum(top, np.finfo(np.float32).min)
    distance = 1.0 if flat else pointing_distance(ranked, case.boxes)
    peak = float(heat.max())
    box = box_from_map(heat, BOX_LEVEL * peak) if peak > 0 else None
    return {
        "pointing": float(distance == 0),
        "pointing_15px": float(distance < TOLERANCE),
        "energy_in_box": energy_in_box(heat, case.boxes),
        "iou_at_area": iou_at_area(heat, case.boxes),
        "box_iou": box_iou(box, case.boxes),
        "energy_on_background": energy_in_region(heat, case.background),
        "energy_on_rim": energy_in_region(heat, case.rim),
        "distance": distance,
    }


def _full_size(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask.shape == shape:
        return mask
    whole = cv2.resize(mask.astype(np.uint8), shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(whole) > 0
