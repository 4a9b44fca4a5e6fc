"""Synthetic head slices with or without a lesion: for tests, the demo and a model's self-test.

The same seed gives the same head with and without a lesion, on any platform up to rounding to
grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.anatomy import Field, Head, Plane, noise, paint_head, soft, wobble

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic slice.

    Attributes:
        image: uint8 ``[size, size]``, black background.
        box: the lesion's ``(x0, y0, x1, y1)`` as fractions of the side, or None without a lesion.
        mask: bool ``[size, size]``, True inside the lesion; all False without one.
    """

    image: NDArray[np.uint8]
    box: Box | None
    mask: NDArray[np.bool_]


def draw_phantom(seed: int, *, lesion: bool, size: int = 256, plane: Plane = "axial") -> Phantom:
    """Draw one phantom.

    Args:
        seed: 0 or more; determines head, lesion and noise.
        lesion: whether to draw one: irregular, bright, solid or with a dark core, surrounded by
            dark oedema, anywhere in the upper brain.
        size: side in pixels, at least 32.
        plane: ``axial`` (anterior up), ``coronal`` or ``sagittal`` (superior up).

    Raises:
        ValueError: ``size`` below 32, an unknown plane, or a negative seed.
    """
    if size < 32:
        raise ValueError(f"size {size}: a phantom needs at least 32 pixels per side")
    if plane not in get_args(Plane):
        raise ValueError(f"plane {plane!r}: choose one of {', '.join(get_args(Plane))}")
    # Three generators, so that the lesion changes nothing else in the image.
    head_rng, lesion_rng, scanner_rng = np.random.default_rng(seed).spawn(3)
    head = paint_head(head_rng, size, plane)
    signal, mask = head.intensity, np.zeros((size, size), np.bool_)
    if lesion:
        signal, mask = _add_lesion(head, lesion_rng)
    return Phantom(_scan(signal, scanner_rng), _box_of(mask), mask)


def _add_lesion(head: Head, rng: np.random.Generator) -> tuple[Field, NDArray[np.bool_]]:
    size = head.intensity.shape[0]
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    rows, columns = np.nonzero(head.lesion_area)
    # A fraction of the list rather than a random index: one pixel more or less in the area then
    # moves the centre by a pixel, not across the head.
    chosen = int(rng.random() * len(rows))
    across = axis[None, :] - axis[columns[chosen]]
    down = axis[:, None] - axis[rows[chosen]]
    radius, stretch, turn = rng.uniform(0.11, 0.20), rng.uniform(1.0, 1.5), rng.uniform(0, 3.1416)
    along = (across * np.cos(turn) + down * np.sin(turn)) / stretch
    aside = -across * np.sin(turn) + down * np.cos(turn)
    shape = wobble(rng, np.arctan2(aside, along), 0.06) + 0.05 * noise(rng, size, 24)
    # 1 at the centre, 0 on the lesion's edge; limited by the skull.
    inside = np.minimum(1 - np.hypot(along, aside) / radius * shape, head.depth / radius * 4)
    bright = rng.uniform(0.80, 0.95) * (1 + 0.05 * noise(rng, size, 26))
    oedema = soft(inside + rng.uniform(0.3, 0.8), 0.35) * soft(head.depth, 0.03)
    signal = head.intensity * (1 - rng.uniform(0.25, 0.4) * oedema)
    body = soft(inside, 2 / size / radius)
    signal += body * (bright - signal)
    if rng.random() < 0.5:
        rim = rng.uniform(0.40, 0.55)
        core = soft(inside - rim + 0.08 * noise(rng, size, 20), 0.09)
        signal += core * (rng.uniform(0.18, 0.32) - signal)
    return signal, inside > 0


def _scan(signal: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add a bias field and Rician noise, and round to grey levels."""
    size = signal.shape[0]
    bias = np.exp(0.09 * noise(rng, size, 2))
    level = rng.uniform(0.012, 0.03)
    real, imaginary = level * rng.standard_normal((2, size, size))
    # The magnitude of a complex signal: Gudbjartsson and Patz, Magn Reson Med 34 (1995) 910-914.
    magnitude = np.hypot(signal * bias + real, imaginary)
    grey: NDArray[np.uint8] = np.rint(np.clip(magnitude * rng.uniform(200, 235), 0, 255)).astype(
        np.uint8
    )
    return grey


def _box_of(mask: NDArray[np.bool_]) -> Box | None:
    if not mask.any():
        return None
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x / len(mask), y / len(mask), (x + width) / len(mask), (y + height) / len(mask)
