"""The healthy head of a phantom: layers of tissue, painted from the scalp inwards.

Coordinates: ``x`` grows to the right and ``y`` downwards, both −1 … 1 over the image. In axial
slices anterior is up; in coronal and sagittal slices superior is up, and the sagittal face looks
left. Intensities are 0 (air) … about 1 (fat), roughly those of a T1-weighted scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
Plane = Literal["axial", "coronal", "sagittal"]
Curve = Sequence[tuple[float, float, float]]  # x, y, half width: control points of a Bézier curve

# Half width and half height of the head, and the y coordinate of its centre.
_OUTLINES = {"axial": (0.70, 0.88, 0.0), "coronal": (0.76, 0.80, -0.10),
             "sagittal": (0.86, 0.74, -0.14)}  # fmt: skip
_SKULL, _DURA, _BRAIN = 0.945, 0.885, 0.860  # radii relative to the scalp
_VENTRICLES: dict[str, tuple[Curve, ...]] = {
    "axial": (
        ((0.05, -0.30, 0.030), (0.17, -0.20, 0.045), (0.04, -0.02, 0.025)),
        ((0.06, 0.06, 0.020), (0.12, 0.14, 0.040), (0.24, 0.40, 0.035)),
    ),
    "coronal": (((0.02, -0.22, 0.045), (0.10, -0.24, 0.035), (0.20, -0.33, 0.020)),),
    "sagittal": (((-0.24, -0.20, 0.030), (0.00, -0.32, 0.060), (0.26, -0.16, 0.035)),),
}


@dataclass(frozen=True)
class Head:
    """A painted head.

    Attributes:
        intensity: float64 ``[size, size]``, 0 … about 1.
        depth: float64 ``[size, size]``; 0 at the brain's surface, about 0.86 at its centre,
            negative outside.
        lesion_area: bool ``[size, size]``; where the centre of a lesion may be.
    """

    intensity: Field
    depth: Field
    lesion_area: NDArray[np.bool_]


def paint_head(rng: np.random.Generator, size: int, plane: Plane) -> Head:
    """Paint one healthy head; the generator determines its shape, folds and tissue contrast."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis, axis)
    half_width, half_height, centre = _OUTLINES[plane]
    half_width *= rng.uniform(0.93, 1.05)
    half_height *= rng.uniform(0.93, 1.02)
    across, down = x / half_width, (y - centre) / half_height
    radius = np.hypot(across, down) * wobble(rng, np.arctan2(down, across), 0.009)
    pixel = 2 / size
    tissue = {
        "white": rng.uniform(0.58, 0.66), "grey": rng.uniform(0.38, 0.45),
        "fluid": rng.uniform(0.10, 0.16), "fat": rng.uniform(0.75, 0.95),
    }  # fmt: skip

    canvas = np.zeros((size, size))
    if plane != "axial":
        _paint_neck(canvas, rng, x, y, plane)
    _paint(canvas, soft(1 - radius, pixel), tissue["fat"] * (0.85 + 0.1 * noise(rng, size, 9)))
    _paint(canvas, soft(_SKULL - radius, pixel), 0.05)
    _paint(canvas, soft(_DURA - radius, pixel), tissue["fluid"])
    depth = _BRAIN - radius
    _paint_brain(canvas, rng, depth, tissue, pixel)
    if plane == "sagittal":
        _paint_midline_section(canvas, rng, x, y, tissue, pixel)
    else:
        _paint_hemispheres(canvas, rng, x, y, depth, tissue, pixel, plane)
    _paint_ventricles(canvas, x, y, tissue["fluid"], pixel, plane)
    lesion_area = (depth > 0.10) & (depth < 0.70) & (y < centre + 0.55 * half_height)
    return Head(canvas, depth, lesion_area)


def noise(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Return smooth noise ``[size, size]`` of about unit variance, with ``cells`` knots per side.

    A uniform cubic B-spline over random knots.
    """
    at = (np.arange(size) + 0.5) / size * cells
    first = np.floor(at).astype(int)
    t = at - first
    basis = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    weights = np.zeros((size, cells + 3))
    for k in range(4):
        weights[np.arange(size), first + k] = basis[k] / 6
    knots = rng.standard_normal((cells + 3, cells + 3))
    # 2.1: the inverse of the spline's mean gain, so that the variance is near one.
    return 2.1 * weights @ knots @ weights.T


def wobble(rng: np.random.Generator, angle: Field, strength: float) -> Field:
    """Return a factor near 1 that varies smoothly around the circle."""
    factor = np.ones_like(angle)
    for order in range(2, 7):
        factor += strength * rng.standard_normal() * np.cos(order * angle + rng.uniform(0, 6.283))
    return factor


def soft(inside: Field, edge: float) -> Field:
    """Return a mask 0 … 1 that is 0.5 where ``inside`` is 0, blurred over about ``edge``."""
    return 1 / (1 + np.exp(-np.clip(inside / (0.6 * edge), -40, 40)))


def _paint(canvas: Field, mask: Field, value: Field | float) -> None:
    canvas += mask * (value - canvas)


def _paint_brain(
    canvas: Field, rng: np.random.Generator, depth: Field, tissue: dict[str, float], pixel: float
) -> None:
    size = canvas.shape[0]
    inside = soft(depth, pixel)
    # The zero crossings of smooth noise are sulci, lined by grey matter.
    folds = np.abs(noise(rng, size, 13) + 0.3 * noise(rng, size, 24))
    reach = np.exp(-((np.clip(depth, 0, None) / 0.30) ** 2))
    grey = np.maximum(soft(0.05 - depth, 0.02), reach * soft(0.42 - folds, 0.10))
    texture = 1 + 0.035 * noise(rng, size, 30) + 0.03 * noise(rng, size, 7)
    _paint(canvas, inside, tissue["white"] * texture)
    _paint(canvas, inside * grey, tissue["grey"] * texture)
    sulci = reach**2 * np.exp(-((folds / 0.11) ** 2))
    _paint(canvas, inside * 0.85 * sulci, tissue["fluid"])


def _paint_hemispheres(
    canvas: Field, rng: np.random.Generator, x: Field, y: Field, depth: Field,
    tissue: dict[str, float], pixel: float, plane: Plane,
) -> None:  # fmt: skip
    """Paint the midline fissure, the deep nuclei and the Sylvian fissures."""
    bend = 0.012 * rng.standard_normal() * np.cos(2 * y)
    outer = soft(np.abs(y + 0.02) - 0.36, 0.1) if plane == "axial" else soft(-0.34 - y, 0.08)
    fissure = np.exp(-(((x - bend) / 0.012) ** 2)) * outer * soft(depth, pixel)
    _paint(canvas, 0.8 * fissure, tissue["fluid"])
    low = -0.02 if plane == "axial" else -0.12
    for side in (-1, 1):
        nuclei = soft(1 - np.hypot((x - side * 0.20) / 0.085, (y - low) / 0.17), 0.15)
        _paint(canvas, 0.8 * nuclei, tissue["grey"] * 1.08)
        start = rng.uniform(-0.10, 0.0)
        sylvian: Curve = ((side * 0.62, start - 0.05, 0.02), (side * 0.45, start, 0.016),
                          (side * 0.36, start + 0.1, 0.008))  # fmt: skip
        _paint(canvas, 0.85 * _tube(x, y, sylvian, pixel) * soft(depth, pixel), tissue["fluid"])


def _paint_ventricles(
    canvas: Field, x: Field, y: Field, fluid: float, pixel: float, plane: Plane
) -> None:
    for curve in _VENTRICLES[plane]:
        for side in (1,) if plane == "sagittal" else (-1, 1):
            mirrored = [(side * px, py, width) for px, py, width in curve]
            _paint(canvas, _tube(x, y, mirrored, pixel), fluid)
    if plane == "coronal":
        _paint(canvas, _tube(x, y, ((0, -0.14, 0.014), (0, -0.05, 0.018), (0, 0.02, 0.01)), pixel),
               fluid)  # fmt: skip


def _paint_midline_section(
    canvas: Field, rng: np.random.Generator, x: Field, y: Field, tissue: dict[str, float],
    pixel: float,
) -> None:  # fmt: skip
    """Paint the structures of a mid-sagittal slice: callosum, brainstem and cerebellum."""
    callosum: Curve = ((-0.30, -0.12, 0.035), (-0.02, -0.56, 0.030), (0.32, -0.12, 0.045))
    _paint(canvas, _tube(x, y, callosum, pixel), tissue["white"] * 1.12)
    thalamus = soft(1 - np.hypot((x - 0.02) / 0.14, (y + 0.06) / 0.10), 0.15)
    _paint(canvas, thalamus, tissue["grey"] * 1.08)
    _paint(canvas, soft(1 - np.hypot((x - 0.44) / 0.29, (y - 0.36) / 0.23), 0.06), tissue["fluid"])
    leaves = np.sin(95 * np.hypot(0.6 * (x - 0.20), y - 0.36) + 1.3 * noise(rng, len(x), 9))
    cerebellum = soft(1 - np.hypot((x - 0.44) / 0.265, (y - 0.36) / 0.205), 0.05)
    _paint(canvas, cerebellum, tissue["grey"] + 0.07 * leaves)
    stem: Curve = ((0.06, 0.02, 0.085), (0.07, 0.30, 0.125), (0.18, 0.95, 0.055))
    _paint(canvas, _tube(x, y, stem, pixel), tissue["white"])


def _paint_neck(canvas: Field, rng: np.random.Generator, x: Field, y: Field, plane: Plane) -> None:
    """Paint textured soft tissue of face and neck, with air spaces."""
    size = canvas.shape[0]
    if plane == "coronal":
        body = soft(0.50 - np.abs(x) + 0.03 * noise(rng, size, 5), 0.02) * soft(y - 0.2, 0.02)
    else:
        face = soft(1 - np.hypot((x + 0.42) / 0.42, (y - 0.40) / 0.50), 0.04)
        neck = soft(0.34 - np.abs(x - 0.22 - 0.1 * y), 0.02) * soft(y - 0.1, 0.02)
        body = np.maximum(face, neck)
    mottle = noise(rng, size, 13)
    _paint(canvas, body, 0.42 + 0.14 * mottle)
    _paint(canvas, body * soft(noise(rng, size, 8) - 1.1, 0.15), 0.04)


def _tube(x: Field, y: Field, curve: Curve, pixel: float) -> Field:
    """Return a soft mask around a quadratic Bézier curve whose half width varies along it."""
    first, middle, last = (np.asarray(point) for point in curve)
    points = np.stack([(1 - t) ** 2 * first + 2 * t * (1 - t) * middle + t**2 * last
                       for t in np.linspace(0, 1, 21)])  # fmt: skip
    # Only a window around the curve is computed: the rest of the mask is zero.
    margin = points[:, 2].max() + 12 * pixel
    columns = _between(x[0], points[:, 0].min() - margin, points[:, 0].max() + margin)
    rows = _between(y[:, 0], points[:, 1].min() - margin, points[:, 1].max() + margin)
    inside = np.full(x[rows, columns].shape, -np.inf)
    for px, py, width in points:
        distance = np.hypot(x[0, columns] - px, y[rows, :1] - py)
        np.maximum(inside, width - distance, out=inside)
    mask = np.zeros(x.shape)
    mask[rows, columns] = soft(inside, pixel)
    return mask


def _between(axis: Field, low: float, high: float) -> slice:
    start, stop = np.searchsorted(axis, (low, high))
    return slice(int(start), int(stop))
