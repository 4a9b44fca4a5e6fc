"""Annotated tumour images with a model's explanation, and the measures of one map on them."""

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

HeatMap = NDArray[np.float32]

# An adult's scalp and skull are about 12 to 15 mm thick, and a slice of the head has the area of a
# square with sides of about 150 mm: the rim is this share of that square's side.
RIM = 0.08
# The box of a map encloses its cells of at least this share of the peak: a relative level, because
# the baselines have no common scale.
BOX_LEVEL = 0.5


@dataclass(frozen=True, eq=False)
class Case:
    """One annotated tumour image with one model's outputs.

    Attributes:
        record: The record, with boxes.
        boxes: float64 ``[K, 4]``, fractions of the image.
        frame: Position of the input on the image.
        inputs: The network's input, float32 ``[C, S, S]``.
        class_map: float32 ``[h, w]`` in logit units.
        explanation: The explanation as displayed to users.
        centre, extent: Centre and size of the head's box, x and y in fractions of the image.
        background: bool ``[H, W]``, outside the head and the boxes.
        rim: bool ``[H, W]``, scalp and skull: the head's outermost band without the boxes.
    """

    record: Record
    boxes: NDArray[np.float64]
    frame: Frame
    inputs: NDArray[np.float32]
    class_map: HeatMap
    explanation: Explanation
    centre: tuple[float, float]
    extent: tuple[float, float]
    background: NDArray[np.bool_]
    rim: NDArray[np.bool_]

    @property
    def evidence(self) -> HeatMap:
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
    prediction = predictor.interpret(outputs, ready.quality, 0.0, sequence=ready.sequence)
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
    """Return background and rim, where no evidence should be: bool ``[H, W]`` each.

    The background is what is neither head nor box. The rim is the band inside the head's outline,
    8 % of the square root of the head's area wide. It excludes the boxes, since many meningiomas
    lie at the skull. Where the image's edge cuts the head there is no rim.
    """
    free = box_coverage(head.shape, boxes) < 0.5
    depth = cv2.distanceTransform(head.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rim = head & (depth <= RIM * np.sqrt(head.sum())) & free
    return ~head & free, rim


def score_map(heat: HeatMap, case: Case, tie_break: HeatMap | None = None) -> dict[str, float]:
    """Return every measure of one map on its image; see `scores.MEASURES`.

    Args:
        heat: float32 ``[H, W]`` on the image's pixels. A constant map is a miss at a distance of
            the image's longer side.
        case: The image.
        tie_break: Ranks the pixels that share the maximum, as in a saturated heat map.
    """
    flat = float(np.ptp(heat)) == 0
    ranked = heat
    if tie_break is not None:
        ranked = np.where(heat == heat.max(), tie_break, np.finfo(np.float32).min)
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
