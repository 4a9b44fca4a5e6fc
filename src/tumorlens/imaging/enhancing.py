"""What contrast medium brightens in a healthy head, found from the brain's outline alone.

Dural sinuses run along the brain's edge in the midplane and, at the back, to both sides; the
pituitary and the cavernous sinuses lie below the corner between brain stem and frontal lobes; the
choroid plexus hangs in the ventricles, and mucosa lines the nose. Places are approximate (a few
millimetres): enough to teach that brightness there is no tumour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.solids import Floats, Mask, away, ball, tube

# All lengths are in voxels of 2 mm.
_GLANDS = (  # middle from the sella's, and radii
    ((0, 0, 0), (3.5, 2.8, 2)),  # pituitary
    ((0, -0.5, 3), (0.9, 0.9, 3)),  # its stalk
    ((-6.5, -0.5, -0.5), (2.3, 4.5, 3)),  # cavernous sinuses
    ((6.5, -0.5, -0.5), (2.3, 4.5, 3)),
)
_MUCOSA = 0.6


def find_enhancing(t1: Floats, brain: Mask, ndimage: Any) -> Floats:
    """Return how much contrast medium brightens each voxel, float32 0..1.

    ``t1`` is 1 in white matter; ``brain`` includes the ventricles; voxels of 2 mm. What cannot be
    placed, as in a brain of an odd shape, is left out.
    """
    found = np.zeros(t1.shape, dtype=np.float32)
    dark = t1 < 1.1  # fat stays as it is
    middle = _midplane(brain)
    if middle is None:
        return found
    inner = ndimage.binary_erosion(brain, ball(2))
    sagittal = _sagittal_sinus(brain, middle)
    if len(sagittal) > 10:
        found[tube(t1.shape, sagittal, 1.6, ndimage) & dark] = 1
        sides = _transverse_sinuses(brain, sagittal[-1])
        found[tube(t1.shape, sides, 1.5, ndimage) & dark] = 1
    sella = _sella(brain, middle)
    if sella is not None:
        for offset, radii in _GLANDS:
            near = away(t1.shape, sella + offset, radii) <= 1
            found[near & dark & ~inner] = 1
        reach = away(t1.shape, sella + np.array([0, 22, -10]), (13, 19, 18))
        mucosa = (ndimage.gaussian_filter(t1, 0.5) > 0.22) & (t1 < 0.9)
        mucosa &= ~ndimage.binary_dilation(brain, ball(2))
        fading = np.clip(3 * (1 - reach), 0, 1) * _MUCOSA
        found = np.maximum(found, np.where(mucosa, fading, 0))
    for place in _plexus(t1, brain, middle, ndimage):
        found[(away(t1.shape, place, (1.5, 3.5, 2)) <= 1) & (t1 < 0.5)] = 1
    return np.asarray(ndimage.gaussian_filter(found, 0.45), dtype=np.float32)


def _midplane(brain: Mask) -> NDArray[np.float64] | None:
    """Return a, b, c of ``x = a y + b z + c`` midway between the brain's sides."""
    widths = brain.sum(axis=0)
    rows = np.argwhere(widths > 30)[::7]
    if len(rows) < 20:
        return None
    left = brain[:, rows[:, 0], rows[:, 1]].argmax(axis=0)
    right = brain.shape[0] - 1 - brain[::-1, rows[:, 0], rows[:, 1]].argmax(axis=0)
    design = np.c_[rows, np.ones(len(rows))]
    plane: NDArray[np.float64] = np.linalg.lstsq(design, (left + right) / 2, rcond=None)[0]
    return plane


def _x_at(plane: NDArray[np.float64], y: Any, z: Any) -> Any:
    return plane[0] * y + plane[1] * z + plane[2]


def _sagittal_sinus(brain: Mask, plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points ``[N, 3]`` along the brain's edge in the midplane, from front to back."""
    places = np.argwhere(brain)
    low, high = places.min(axis=0), places.max(axis=0)
    centre = np.array([(low[1] + high[1]) / 2, low[2] + 0.45 * (high[2] - low[2])])
    angles = np.deg2rad(np.arange(20, 196, 2))
    steps = np.arange(5, 60, 0.5)
    rays = centre + steps[:, None] * np.c_[np.cos(angles), np.sin(angles)][:, None]  # [A, S, 2]
    y, z = rays[..., 0], rays[..., 1]
    held = np.zeros(y.shape, dtype=bool)
    inside = (y >= 0) & (z >= 0) & (y < brain.shape[1] - 1) & (z < brain.shape[2] - 1)
    for aside in range(-3, 4):
        x = np.clip(np.rint(_x_at(plane, y, z)) + aside, 0, brain.shape[0] - 1).astype(int)
        at = (x[inside], np.rint(y[inside]).astype(int), np.rint(z[inside]).astype(int))
        held[inside] |= brain[at]
    far = np.where(held, steps, 0).max(axis=1)
    wide = np.array([far[max(0, i - 3) : i + 4].max() for i in range(len(far))])  # across sulci
    smooth = np.convolve(np.pad(wide, 3, mode="edge"), np.ones(7) / 7, mode="valid") + 0.5
    course = centre + smooth[:, None] * np.c_[np.cos(angles), np.sin(angles)]
    kept = course[far > 0]
    return np.asarray(np.c_[_x_at(plane, kept[:, 0], kept[:, 1]), kept], dtype=np.float64)


def _transverse_sinuses(brain: Mask, behind: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points ``[N, 3]`` along the brain's back edge to both sides of ``behind``."""
    points = []
    for side in (-1, 1):
        for step in range(24):
            x, z = round(behind[0] + side * step), round(behind[2] - 0.1 * step)
            if 0 <= x < brain.shape[0] and 0 <= z < brain.shape[2] and brain[x, :, z].any():
                points.append((x, brain[x, :, z].argmax() - 0.5, z))
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def _sella(brain: Mask, plane: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the pituitary's middle: below the corner between brain stem and frontal lobes."""
    y = np.flatnonzero(brain.any(axis=(0, 2)))
    x = np.rint(_x_at(plane, y, np.argwhere(brain)[:, 2].min() + 20)).astype(int)
    x = np.clip(x, 1, brain.shape[0] - 2)
    columns = brain[x - 1, y] | brain[x, y] | brain[x + 1, y]  # [Y, Z]
    y, columns = y[columns.any(axis=1)], columns[columns.any(axis=1)]
    if len(y) < 30:
        return None
    edge = columns.argmax(axis=1)
    stem = int(np.where(y < np.median(y) + 15, edge, edge.max() + 1).argmin())
    front = np.c_[y, edge][stem:].astype(np.float64)
    along = front[-1] - front[0]
    if len(front) < 10 or not along[0] > 0:
        return None
    along /= np.linalg.norm(along)
    above = (front[:, 1] - front[0, 1]) * along[0] - (front[:, 0] - front[0, 0]) * along[1]
    corner = front[int(above.argmax())]
    at = corner + np.array([2.5, -4.0])
    return np.array([_x_at(plane, at[0], at[1]), at[0], at[1]])


def _plexus(
    t1: Floats, brain: Mask, plane: NDArray[np.float64], ndimage: Any
) -> list[NDArray[np.float64]]:
    """Return a place in the back of each lateral ventricle."""
    fluid = (t1 < 0.45) & ndimage.binary_erosion(brain, ball(6))
    labels, count = ndimage.label(fluid)
    if not count:
        return []
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    places = np.argwhere(labels == int(sizes.argmax()))
    behind = places[places[:, 1] < np.quantile(places[:, 1], 0.45)]
    found = []
    for side in (-1, 1):
        half = behind[np.sign(behind[:, 0] - _x_at(plane, behind[:, 1], behind[:, 2])) == side]
        if len(half) > 20:
            nearest = np.abs(half - np.median(half, axis=0)).sum(axis=1).argmin()
            found.append(half[int(nearest)].astype(np.float64))
    return found
