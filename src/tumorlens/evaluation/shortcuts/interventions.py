"""Parts of a scan taken out, put in or exchanged: what the shortcut tests show a model.

Scans are the network's inputs, float32 ``[C, S, S]`` in 0..1, and masks bool ``[S, S]``, unless
said otherwise. Working on the input leaves crop and intensity scale as they were for the whole
scan, so a prediction can only change by what was changed. Nothing given is written to.
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
_SCALP = 0.12  # how far beyond the brain a scalp may reach, as a share of the brain's longer side
_FAINT = 0.1  # of the way from background to white begins what belongs to the head
_SMALLEST_PIECE = 0.03  # of the brain's box; smaller bright pieces are letters
_HEAD_MARGIN = 0.02  # grown around the head's outline so that no rim of scalp stays


def head_outline(image: NDArray[np.uint8], frame: Frame) -> Mask:
    """Return the convex outline of the head of a whole image ``[H, W]``, in the input's square."""
    outline = _outline(image)[1].astype(np.float32)
    scale = frame.w / frame.size, frame.h / frame.size
    offset = frame.x0 + scale[0] / 2 - 0.5, frame.y0 + scale[1] / 2 - 0.5
    to_image = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]], dtype=np.float64)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(outline, to_image, (frame.size, frame.size), flags=how)
    return np.asarray(square) > 0.5


def remove_head(scan: ModelInput, head: Mask) -> ModelInput:
    """Take the head out: the outline, a little grown, is filled with the background's median."""
    gone = grow(head, _HEAD_MARGIN)
    left = scan[:, ~gone]
    level = np.median(left, axis=1) if left.size else np.zeros(len(scan))
    return np.where(gone, level[:, None, None], scan).astype(np.float32)


def centre_disc(head: Mask, radius: float) -> Mask:
    """Return a disc in the middle of the head's box; ``radius`` in halves of its longer side."""
    rows, columns = np.flatnonzero(head.any(axis=1)), np.flatnonzero(head.any(axis=0))
    if not rows.size:
        return np.zeros_like(head)
    middle = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    reach = radius * max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) / 2
    y, x = np.indices(head.shape)
    return np.asarray(np.hypot(y - middle[0], x - middle[1]) <= reach)


def fill_grey(scan: ModelInput, gone: Mask, head: Mask) -> ModelInput:
    """Fill a region with one grey: the median of the rest of the head."""
    rest = scan[:, head & ~gone]
    level = np.median(rest, axis=1) if rest.size else np.full(len(scan), 0.5)
    return np.where(gone, level[:, None, None], scan).astype(np.float32)


def fill_shuffled(
    scan: ModelInput, gone: Mask, source: Mask, rng: np.random.Generator
) -> ModelInput:
    """Fill a region with pixels drawn at random from ``source``: its brightness without structure.

    A smooth or grey region of some size looks like a mass; noise of the tissue's own brightness
    does not. Without source pixels the scan's own are drawn.
    """
    pool = scan[:, source] if source.any() else scan.reshape(len(scan), -1)
    filled = scan.copy()
    filled[:, gone] = pool[:, rng.integers(pool.shape[1], size=int(gone.sum()))]
    return filled


def fill_inpainted(scan: ModelInput, gone: Mask, head: Mask) -> ModelInput:
    """Fill a region from its rim inwards (Telea, J. Graphics Tools 2004).

    What is spread is held between the quartiles of the rest of the head: from a rim that touches
    skull or air, white and black rays would else cross the region.
    """
    filled = scan.copy()
    for channel, plane in enumerate(scan):
        rest = plane[head & ~gone]
        low, high = np.quantile(rest, (0.25, 0.75)) if rest.size else (0.0, 1.0)
        levels = np.rint(np.clip(plane, low, high) * 255).astype(np.uint8)
        healed = cv2.inpaint(levels, gone.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        filled[channel, gone] = healed[gone].astype(np.float32) / 255
    return filled


def fill_tissue(scan: ModelInput, gone: Mask, shift: Shift) -> ModelInput:
    """Fill a region with the same scan's tissue of the same shape, found at ``shift``."""
    return insert_patch(scan, gone, scan, (-shift[0], -shift[1]), shifted(gone, shift))[0]


def insert_patch(
    host: ModelInput, host_clear: Mask, donor: ModelInput, shift: Shift, patch: Mask
) -> tuple[ModelInput, Mask]:
    """Move the donor's ``patch`` by ``shift`` into the host, with a soft edge.

    The patch is made brighter or darker as a whole so that the rim around it, in the donor, gets
    the brightness of the rim around its new place: the patch differs from its surroundings as it
    did where it came from. ``host_clear`` pixels do not count as the new place's rim.

    Returns the scan, and where the patch lies in it.
    """
    place = shifted(patch, shift)
    new_rim = grow(place, 2 * _FEATHER) & ~place & ~host_clear
    old_rim = grow(patch, 2 * _FEATHER) & ~patch
    weight = _soft(place)
    result = host.copy()
    for channel in range(len(host)):
        source = _shifted_values(donor[channel], shift)
        if new_rim.any() and old_rim.any():
            source = source + (host[channel, new_rim].mean() - donor[channel, old_rim].mean())
        result[channel] += weight * (np.clip(source, 0, 1) - host[channel])
    return result.astype(np.float32), place


def random_shift(patch: Mask, allowed: Mask, rng: np.random.Generator) -> Shift | None:
    """Return a shift, drawn from all that put the whole patch on allowed pixels; or None."""
    rows, columns = np.flatnonzero(patch.any(axis=1)), np.flatnonzero(patch.any(axis=0))
    if not rows.size:
        return None
    cut = patch[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)
    # An erosion keeps the anchors at which every pixel of the shape is on allowed ground.
    fits = cv2.erode(
        allowed.astype(np.uint8), cut, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    places = np.argwhere(np.asarray(fits) > 0)
    if not len(places):
        return None
    row, column = places[rng.integers(len(places))]
    return int(row - rows[0]), int(column - columns[0])


def shifted(mask: Mask, shift: Shift) -> Mask:
    """Return the mask moved by ``shift``; what leaves the square is lost."""
    return _shifted_values(mask.astype(np.float32), shift) > 0.5


def grow(mask: Mask, share: float) -> Mask:
    """Grow (or, with a negative share, shrink) a mask by a share of the side, round."""
    reach = round(abs(share) * len(mask))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    change = cv2.dilate if share > 0 else cv2.erode
    changed = change(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(changed) > 0


def thumbnail(scan: ModelInput, side: int) -> ModelInput:
    """Reduce to ``side`` × ``side`` pixels and enlarge again, smoothly."""
    size = (scan.shape[2], scan.shape[1])
    planes = [cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in scan]
    large = [cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in planes]
    return np.stack(large).astype(np.float32)


def blurred(scan: ModelInput, share: float) -> ModelInput:
    """Blur by a Gaussian whose standard deviation is a share of the side."""
    sigma = share * scan.shape[1]
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in scan])


def swap_background(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the head of one whole image into the surroundings of another; both uint8 ``[H, W]``.

    The other image is stretched so that its head's box would lie on this head's box, and its head
    is taken out; borders, letters, rulers and background are its own, at the brightness they had
    beside its head.
    """
    (x0, y0, x1, y1), head = _outline(image)
    (u0, v0, u1, v1), other_head = _outline(other)
    across, down = (x1 - x0) / (u1 - u0), (y1 - y0) / (v1 - v0)
    size = (max(8, round(other.shape[1] * across)), max(8, round(other.shape[0] * down)))
    gone = cv2.resize(other_head.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    gone = grow(np.asarray(gone), _HEAD_MARGIN)
    canvas = cv2.resize(other, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    canvas[gone] = np.median(canvas[~gone]) if (~gone).any() else 0
    bright = [float(np.percentile(i[h], 99.5)) for i, h in ((image, head), (other, other_head))]
    canvas *= bright[0] / max(bright[1], 1.0)
    shift = np.array([[1, 0, u0 * across - x0], [0, 1, v0 * down - y0]], dtype=np.float64)
    weight = cv2.warpAffine(_soft(grow(head, _HEAD_MARGIN / 2)), shift, size)
    moved_head = cv2.warpAffine(image.astype(np.float32), shift, size)
    blended = canvas + weight * (moved_head - canvas)
    return np.asarray(np.clip(np.rint(blended), 0, 255), dtype=np.uint8)


def _outline(image: NDArray[np.uint8]) -> tuple[Box, Mask]:
    """Return the box and the convex outline of the whole head in an image ``[H, W]``.

    The head that preprocessing finds can be the brain alone, where a dark skull parts it from the
    scalp; bright rings and pieces around it, no larger than a scalp would be, belong to it here.
    """
    (x0, y0, x1, y1), head = find_head(image)
    ground = float(np.median(image[~head])) if not head.all() else 0.0
    white = float(np.percentile(image[head], 99.5)) if head.any() else 255.0
    level = ground + _FAINT * (white - ground)
    bright = np.asarray(cv2.medianBlur(image, 5) > level).astype(np.uint8)
    pieces, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = [np.argwhere(head)[:, ::-1].astype(np.int32)] if head.any() else []
    room = _SCALP * max(x1 - x0, y1 - y0)
    for piece in pieces:
        x, y, w, h = cv2.boundingRect(piece)
        near = x0 - x <= room and y0 - y <= room and x + w - x1 <= room and y + h - y1 <= room
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
    """Return a weight 0..1 that falls off across the mask's edge."""
    sigma = max(0.5, _FEATHER * max(mask.shape) / 2)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma))


def _shifted_values(plane: NDArray[np.float32], shift: Shift) -> NDArray[np.float32]:
    to = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], dtype=np.float64)
    size = (plane.shape[1], plane.shape[0])
    return np.asarray(cv2.warpAffine(plane, to, size, flags=cv2.INTER_NEAREST), dtype=np.float32)
