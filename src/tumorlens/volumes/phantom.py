"""A drawn head in three dimensions, with or without a lesion: for tests, benchmarks and the demo.

Coordinates run from −1 to 1 over the field of view, in RAS order. The upper two thirds hold the
brain; below are face, skull base and neck. Intensities are roughly those of a T1-weighted scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.anatomy import Field, soft
from tumorlens.volumes.volume import Volume

FIELD_OF_VIEW_MM = (192.0, 224.0, 216.0)
# Half axes of the scalp, and its centre along Z, as fractions of the field of view.
_HEAD, _RAISED = (0.80, 0.86, 0.66), 0.26
_SKULL, _DURA, _BRAIN = 0.945, 0.885, 0.860  # radii relative to the scalp
_BASE = -0.16  # the brain's lower end along Z, but for the cerebellum and the stem


@dataclass(frozen=True, eq=False)
class PhantomVolume:
    """A drawn head.

    Attributes:
        volume: uint8 ``[X, Y, Z]``, black background.
        mask: bool ``[X, Y, Z]``, True inside the lesion; all False without one.
    """

    volume: Volume
    mask: NDArray[np.bool_]


def draw_phantom_volume(
    seed: int, *, lesion: bool, spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
) -> PhantomVolume:
    """Draw one head; the same seed gives the same head with and without a lesion.

    Args:
        seed: 0 or more; determines head, lesion and noise.
        lesion: whether to draw one: a bright, uneven ball of 18 to 36 mm with a dark core or
            without, surrounded by dark oedema, in the upper brain.
        spacing_mm: voxel size along X, Y, Z; the field of view is `FIELD_OF_VIEW_MM`.

    Raises:
        ValueError: fewer than 4 voxels along an axis, or a negative seed.
    """
    shape = [round(f / s) for f, s in zip(FIELD_OF_VIEW_MM, spacing_mm, strict=True)]
    if min(shape) < 4:
        raise ValueError(f"voxels of {spacing_mm} mm: a phantom needs at least 4 along an axis")
    # Three generators, so that the lesion changes nothing else in the scan.
    head_rng, lesion_rng, scanner_rng = np.random.default_rng(seed).spawn(3)
    x, y, z = np.meshgrid(
        *((np.arange(n) + 0.5) / n * 2 - 1 for n in shape), indexing="ij", sparse=True
    )
    signal, depth = _paint_head(head_rng, x, y, z)
    mask = np.zeros(shape, np.bool_)
    if lesion:
        mask = _paint_lesion(signal, depth, lesion_rng, x, y, z)
    grey = _scan(signal, scanner_rng)
    return PhantomVolume(Volume.aligned(grey, spacing_mm, f"phantom-{seed}"), mask)


def _paint_head(rng: np.random.Generator, x: Field, y: Field, z: Field) -> tuple[Field, Field]:
    """Return the signal, and the depth below the brain's surface (0 … about 0.86)."""
    half = [side * rng.uniform(0.96, 1.03) for side in _HEAD]
    shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
    radius = np.sqrt((x / half[0]) ** 2 + (y / half[1]) ** 2 + ((z - _RAISED) / half[2]) ** 2)
    radius *= 1 + 0.012 * _noise(rng, shape, 4)
    white, grey = rng.uniform(0.58, 0.66), rng.uniform(0.38, 0.45)
    fluid, fat = rng.uniform(0.10, 0.16), rng.uniform(0.75, 0.95)
    signal = np.zeros(shape)
    _paint_neck(signal, rng, x, y, z)
    _paint(signal, soft(1 - radius, 0.02), fat * (0.85 + 0.1 * _noise(rng, shape, 9)))
    _paint(signal, soft(_SKULL - radius, 0.015), 0.05)
    _paint(signal, soft(_DURA - radius, 0.015), fluid)
    above_base = z - _BASE + 0.06 * y
    _paint(signal, soft(_SKULL - radius, 0.02) * soft(-above_base, 0.02),
           0.35 + 0.12 * _noise(rng, shape, 12))  # fmt: skip
    depth = np.minimum(_BRAIN - radius, above_base)
    # The zero crossings of smooth noise are sulci, lined by grey matter.
    folds = np.abs(_noise(rng, shape, 17))
    reach = np.exp(-((np.clip(depth, 0, None) / 0.28) ** 2))
    texture = 1 + 0.03 * _noise(rng, shape, 24)
    inside = soft(depth, 0.015)
    _paint(signal, inside, white * texture)
    _paint(signal, inside * np.maximum(soft(0.05 - depth, 0.02), reach * soft(0.42 - folds, 0.1)),
           grey * texture)  # fmt: skip
    _paint(signal, inside * 0.85 * reach**2 * np.exp(-((folds / 0.11) ** 2)), fluid)
    _paint(signal, 0.8 * inside * np.exp(-((x / 0.014) ** 2)) * soft(0.55 - _BRAIN + radius, 0.1),
           fluid)  # fmt: skip
    for side in (-1, 1):
        _paint(signal, 0.8 * _ball(x, y, z, (side * 0.20, 0.02, 0.20), (0.09, 0.17, 0.10)), grey)
        for centre, axes in (
            ((side * 0.09, 0.14, 0.33), (0.05, 0.22, 0.07)),
            ((side * 0.15, -0.20, 0.27), (0.06, 0.26, 0.06)),
        ):
            _paint(signal, _ball(x, y, z, centre, axes), fluid)
        leaves = 0.06 * np.sin(60 * np.hypot(y + 0.42, z + 0.17))
        _paint(signal, _ball(x, y, z, (side * 0.22, -0.42, -0.17), (0.27, 0.22, 0.15)),
               grey + leaves)  # fmt: skip
    stem = soft(1 - np.hypot(x / 0.11, (y + 0.12) / 0.11), 0.1) * soft(0.12 - z, 0.05)
    _paint(signal, stem, white)
    return signal, depth


def _paint_neck(signal: Field, rng: np.random.Generator, x: Field, y: Field, z: Field) -> None:
    """Paint textured soft tissue of face and neck, with air spaces."""
    face = soft(1 - np.sqrt((x / 0.62) ** 2 + ((y - 0.32) / 0.52) ** 2 + ((z + 0.36) / 0.5) ** 2),
                0.04)  # fmt: skip
    neck = soft(1 - np.hypot(x / 0.50, (y + 0.18) / 0.46), 0.04) * soft(-0.2 - z, 0.05)
    body = np.maximum(face, neck)
    _paint(signal, body, 0.45 + 0.14 * _noise(rng, signal.shape, 12))
    _paint(signal, body * soft(_noise(rng, signal.shape, 7) - 1.1, 0.15), 0.04)


def _paint_lesion(
    signal: Field, depth: Field, rng: np.random.Generator, x: Field, y: Field, z: Field
) -> NDArray[np.bool_]:
    allowed = (depth > 0.16) & (z > 0.1) & (np.abs(x) > 0.12)
    places = np.argwhere(allowed)
    # A fraction of the list rather than an index: a voxel more or less in the area then moves
    # the centre by a voxel, not across the head.
    chosen = places[int(rng.random() * len(places))]
    millimetres = np.array(FIELD_OF_VIEW_MM) / 2
    centre = [float(axis.ravel()[at]) for axis, at in zip((x, y, z), chosen, strict=True)]
    radius = rng.uniform(9, 18)
    distance = np.sqrt(sum(
        ((axis - at) * side) ** 2
        for axis, at, side in zip((x, y, z), centre, millimetres, strict=True)
    ))  # fmt: skip
    inside = 1 - distance / radius * (1 + 0.06 * _noise(rng, signal.shape, 14))
    inside = np.minimum(inside, depth * 8)  # limited by the skull
    oedema = soft(inside + rng.uniform(0.3, 0.6), 0.3) * soft(depth, 0.03)
    signal *= 1 - rng.uniform(0.25, 0.4) * oedema
    _paint(signal, soft(inside, 0.12), rng.uniform(0.82, 0.95))
    if rng.random() < 0.5:
        _paint(signal, soft(inside - rng.uniform(0.40, 0.55), 0.1), rng.uniform(0.18, 0.32))
    return np.asarray(inside > 0)


def _scan(signal: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add a bias field and Rician noise, and round to grey levels."""
    level = rng.uniform(0.012, 0.03)
    bias = np.exp(0.09 * _noise(rng, signal.shape, 2))
    real, imaginary = (level * rng.standard_normal(signal.shape) for _ in range(2))
    # The magnitude of a complex signal: Gudbjartsson and Patz, Magn Reson Med 34 (1995) 910-914.
    magnitude = np.hypot(signal * bias + real, imaginary)
    return np.rint(np.clip(magnitude * rng.uniform(200, 235), 0, 255)).astype(np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> Field:
    """Return smooth noise ``[X, Y, Z]`` of unit variance: a cubic B-spline of random knots."""
    knots = rng.standard_normal((cells + 3,) * 3)
    for axis, side in enumerate(shape):
        at = (np.arange(side) + 0.5) / side * cells
        first = np.floor(at).astype(int)
        t = at - first
        basis = np.stack(
            [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
        )
        weights = np.zeros((side, cells + 3))
        for k in range(4):
            weights[np.arange(side), first + k] = basis[k] / 6
        knots = np.moveaxis(np.tensordot(weights, knots, (1, axis)), 0, axis)
    # 3: the inverse of the spline's mean gain, so that the variance is near one.
    return 3.0 * knots


def _ball(
    x: Field, y: Field, z: Field, centre: tuple[float, float, float],
    axes: tuple[float, float, float],
) -> Field:  # fmt: skip
    """Return a soft mask of an ellipsoid."""
    scaled = ((a - c) / h for a, c, h in zip((x, y, z), centre, axes, strict=True))
    return soft(1 - np.sqrt(sum(each**2 for each in scaled)), 0.1)


def _paint(signal: Field, mask: Field, value: Field | float) -> None:
    signal += mask * (value - signal)
