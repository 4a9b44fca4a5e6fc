"""Interventions of the shortcut tests: parts of a scan are removed, inserted or exchanged.

Scans are network inputs, float32 ``[C, S, S]`` in 0..1, and masks bool ``[S, S]``, unless stated
otherwise. Interventions on the input leave crop and intensity scale unchanged, so a prediction can
only change because of the intervention. Arguments are never modified.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.evaluation.sampling import Mask, ModelInput
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.head import Box, find_head

Shift = tuple[int, int]  # rows down, columns to the right

_FEATHER = 0.02  # width of a soft edge, as a share of the side
_SCALP = 0.12  # largest distance of scalp from the brain, as a share of the brain's longer side
_FAINT = 0.1  # lowest intensity of the head, 0 the background and 1 white
_SMALLEST_PIECE = 0.03  # area relative to the brain's box; smaller bright components are text
_HEAD_MARGIN = 0.02  # dilation of the head's outline, so that no rim of scalp remains


def head_outline(image: NDArray[np.uint8], frame: Frame) -> Mask:
    """Return the convex hull of the head of a whole image ``[H, W]``, in input coordinates."""
    hull = _head_hull(image)[1].astype(np.float32)
    scale = frame.w / frame.size, frame.h / frame.size
    offset = frame.x0 + scale[0] / 2 - 0.5, frame.y0 + scale[1] / 2 - 0.5
    to_image = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]], dtype=np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(hull, to_image, (frame.size, frame.size), flags=flags)
    return np.asarray(square) > 0.5


def remove_head(scan: ModelInput, head: Mask) -> ModelInput:
    """Fill the head's outline, slightly dilated, with the background's median."""
    region = grow(head, _HEAD_MARGIN)
    background = scan[:, ~region]
    level = np.median(background, axis=1) if background.size else np.zeros(len(scan))
    return np.where(region, level[:, None, None], scan).astype(np.float32)


def centre_disc(head: Mask, radius: float) -> Mask:
    """Return a disc at the centre of the head's box; ``radius`` in halves of its longer side."""
    left, top, width, height = cv2.boundingRect(head.astype(np.uint8))
    y, x = np.indices(head.shape)
    distance = np.hypot(y - top - (height - 1) / 2, x - left - (width - 1) / 2)
    return np.asarray((distance <= radius * max(width, height) / 2) & bool(width))


def fill_grey(scan: ModelInput, region: Mask, head: Mask) -> ModelInput:
    """Fill a region with one grey: the median of the rest of the head."""
    rest = scan[:, head & ~region]
    level = np.median(rest, axis=1) if rest.size else np.full(len(scan), 0.5)
    return np.where(region, level[:, None, None], scan).astype(np.float32)


def fill_shuffled(
    scan: ModelInput, region: Mask, source: Mask, rng: np.random.Generator
) -> ModelInput:
    """Fill a region with pixels drawn at random from ``source``: its histogram without structure.

    A large smooth or grey region looks like a mass; noise of the tissue's brightness does not.
    Without source pixels, all pixels of the scan are used.
    """
    pool = scan[:, source] if source.any() else scan.reshape(len(scan), -1)
    filled = scan.copy()
    filled[:, region] = pool[:, rng.integers(pool.shape[1], size=int(region.sum()))]
    return filled


def fill_inpainted(scan: ModelInput, region: Mask, head: Mask) -> ModelInput:
    """Inpaint a region from its rim inwards (Telea, J. Graphics Tools 2004).

    Intensities are clipped to the quartiles of the rest of the head; a rim that touches skull or
    air would otherwise cause bright and dark streaks across the region.
    """
    filled = scan.copy()
    for channel, plane in enumerate(scan):
        rest = plane[head & ~region]
        low, high = np.quantile(rest, (0.25, 0.75)) if rest.size else (0.0, 1.0)
        levels = np.rint(np.clip(plane, low, high) * 255).astype(np.uint8)
        inpainted = cv2.inpaint(levels, region.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        filled[channel, region] = inpainted[region].astype(np.float32) / 255
    return filled


def fill_tissue(scan: ModelInput, region: Mask, shift: Shift) -> ModelInput:
    """Fill a region with the scan's own tissue of the same shape, taken from ``shift`` away."""
    return insert_patch(scan, region, scan, (-shift[0], -shift[1]), shifted(region, shift))[0]


def insert_patch(
    host: ModelInput, excluded: Mask, donor: ModelInput, shift: Shift, patch: Mask
) -> tuple[ModelInput, Mask]:
    """Insert the donor's ``patch``, moved by ``shift``, into the host with a soft edge.

    The patch's brightness is shifted by the difference between the rims around its new and its old
    position, so that its contrast to the surroundings is kept. The host's ``excluded`` pixels do
    not count as rim.

    Returns the scan, and the patch's position as a mask.
    """
    position = shifted(patch, shift)
    new_rim = grow(position, 2 * _FEATHER) & ~position & ~excluded
    old_rim = grow(patch, 2 * _FEATHER) & ~patch
    weight = _soft(position)
    result = host.copy()
    for channel in range(len(host)):
        source = _shifted_values(donor[channel], shift)
        if new_rim.any() and old_rim.any():
            source = source + (host[channel, new_rim].mean() - donor[channel, old_rim].mean())
        result[channel] += weight * (np.clip(source, 0, 1) - host[channel])
    return result.astype(np.float32), position


def random_shift(patch: Mask, allowed: Mask, rng: np.random.Generator) -> Shift | None:
    """Draw one of the shifts that put the whole patch on allowed pixels; None if there is none."""
    left, top, width, height = cv2.boundingRect(patch.astype(np.uint8))
    if not width:
        return None
    cut = patch[top : top + height, left : left + width].astype(np.uint8)
    # Erosion keeps the anchors at which every pixel of the patch is allowed.
    fits = cv2.erode(
        allowed.astype(np.uint8), cut, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    anchors = np.argwhere(np.asarray(fits) > 0)
    if not len(anchors):
        return None
    row, column = anchors[rng.integers(len(anchors))]
    return int(row) - top, int(column) - left


def shifted(mask: Mask, shift: Shift) -> Mask:
    """Return the mask moved by ``shift``, cropped to the square."""
    return _shifted_values(mask.astype(np.float32), shift) > 0.5


def grow(mask: Mask, share: float) -> Mask:
    """Dilate (or erode, for a negative share) a mask with a disc of a share of the side."""
    radius = round(abs(share) * len(mask))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    operation = cv2.dilate if share > 0 else cv2.erode
    changed = operation(
        mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(changed) > 0


def thumbnail(scan: ModelInput, side: int) -> ModelInput:
    """Downscale to ``side`` × ``side`` pixels and upscale again bilinearly."""
    size = (scan.shape[2], scan.shape[1])
    planes = [cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in scan]
    large = [cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in planes]
    return np.stack(large).astype(np.float32)


def blurred(scan: ModelInput, share: float) -> ModelInput:
    """Blur with a Gaussian whose standard deviation is a share of the side."""
    sigma = share * scan.shape[1]
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in scan])


def swap_background(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the head of one whole image onto the background of another; both uint8 ``[H, W]``.

    The other image is stretched so that the boxes of both heads coincide, and its head is removed.
    Borders, text, rulers and background are taken from it, at their brightness relative to its
    head.
    """
    (x0, y0, x1, y1), head = _head_hull(image)
    (u0, v0, u1, v1), other_head = _head_hull(other)
    across, down = (x1 - x0) / (u1 - u0), (y1 - y0) / (v1 - v0)
    size = (max(8, round(other.shape[1] * across)), max(8, round(other.shape[0] * down)))
    removed = cv2.resize(other_head.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    removed = grow(np.asarray(removed), _HEAD_MARGIN)
    canvas = cv2.resize(other, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    canvas[removed] = np.median(canvas[~removed]) if (~removed).any() else 0
    bright = [float(np.percentile(i[h], 99.5)) for i, h in ((image, head), (other, other_head))]
    canvas *= bright[0] / max(bright[1], 1.0)
    shift = np.array([[1, 0, u0 * across - x0], [0, 1, v0 * down - y0]], dtype=np.float64)
    weight = cv2.warpAffine(_soft(grow(head, _HEAD_MARGIN / 2)), shift, size)
    moved_head = cv2.warpAffine(image.astype(np.float32), shift, size)
    blended = canvas + weight * (moved_head - canvas)
    return np.asarray(np.clip(np.rint(blended), 0, 255), dtype=np.uint8)


def _head_hull(image: NDArray[np.uint8]) -> tuple[Box, Mask]:
    """Return the box and the convex hull of the whole head in an image ``[H, W]``.

    Preprocessing may find only the brain where a dark skull separates it from the scalp; bright
    components around it, within the distance of a scalp, are included here.
    """
    (x0, y0, x1, y1), head = find_head(image)
    background = float(np.median(image[~head])) if not head.all() else 0.0
    white = float(np.percentile(image[head], 99.5)) if head.any() else 255.0
    level = background + _FAINT * (white - background)
    bright = np.asarray(cv2.medianBlur(image, 5) > level).astype(np.uint8)
    pieces, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = [np.argwhere(head)[:, ::-1].astype(np.int32)] if head.any() else []
    margin = _SCALP * max(x1 - x0, y1 - y0)
    for piece in pieces:
        x, y, w, h = cv2.boundingRect(piece)
        near = max(x0 - x, y0 - y, x + w - x1, y + h - y1) <= margin
        if near and cv2.contourArea(piece) > _SMALLEST_PIECE * (x1 - x0) * (y1 - y0):
            points.append(piece.reshape(-1, 2).astype(np.int32))
    hull = np.zeros(image.shape, dtype=np.uint8)
    if points:
        outline = cv2.convexHull(np.concatenate(points))
        cv2.fillConvexPoly(hull, outline, [1])
        x, y, w, h = cv2.boundingRect(outline)
        return (float(x), float(y), float(x + w), float(y + h)), hull > 0
    return (x0, y0, x1, y1), hull > 0


def _soft(mask: Mask) -> NDArray[np.float32]:
    """Return the mask with a soft edge: float32 in 0..1."""
    sigma = max(0.5, _FEATHER * max(mask.shape) / 2)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma))


def _shifted_values(plane: NDArray[np.float32], shift: Shift) -> NDArray[np.float32]:
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], dtype=np.float64)
    size = (plane.shape[1], plane.shape[0])
    return np.asarray(
        cv2.warpAffine(plane, matrix, size, flags=cv2.INTER_NEAREST), dtype=np.float32
    )
