"""Synthetic images of other modalities: fundus photography, ultrasound, mammography, microscopy.

Float32 ``[side, side]`` in 0..1, as in `tumorlens.ood.negatives.textures`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tumorlens.ood.negatives.textures import (
    GreyImage,
    coordinates,
    gaussian_blur,
    power_law_noise,
    rescaled,
    smooth_field,
    text_mask,
)


def fundus(g: Generator, side: int) -> GreyImage:
    """The back of an eye: a lit disc, its nerve, dark vessels that branch, on black."""
    y, x = coordinates(side)
    across, down = g.uniform(0.8, 1.15, 2)
    turn = -1 if g.random() < 0.5 else 1
    nerve = np.array([turn * g.uniform(0.1, 0.6), g.uniform(-0.2, 0.2)])
    lit = 1 - g.uniform(0, 0.5) * np.hypot(x - g.uniform(-0.4, 0.4), y - g.uniform(-0.4, 0.4))
    image = lit * g.uniform(0.4, 0.7) + g.uniform(0, 0.3) * (power_law_noise(g, side, 1.8) - 0.5)
    spot = np.hypot(x + turn * g.uniform(0.1, 0.4), y) / g.uniform(0.1, 0.3)
    image -= g.uniform(0, 0.25) * np.exp(-(spot**2))
    wide = g.uniform(0.08, 0.2)
    apart = np.hypot(x - nerve[0], (y - nerve[1]) * g.uniform(0.8, 1.1))
    image += g.uniform(0.1, 0.6) / (1 + np.exp((apart - wide) / 0.02))
    vessels = np.zeros((side, side), np.float32)
    for _ in range(int(g.integers(4, 10))):
        start, way = (nerve + 1) / 2 * side, g.uniform(0, 2 * np.pi)
        _vessel(g, vessels, start, way, side * g.uniform(0.006, 0.02), int(g.integers(8, 24)), 3)
    image -= g.uniform(0.1, 0.4) * gaussian_blur(vessels, side * 0.004)
    for _ in range(int(g.integers(0, 12)) if g.random() < 0.4 else 0):  # exudates, bleeding
        place = tuple(int(v) for v in g.integers(side // 5, side * 4 // 5, 2))
        cv2.circle(image, place, int(g.integers(1, max(3, side // 20))), float(g.random()), -1)
    edge = np.clip((1 - np.hypot(x / across, y / down)) * side / g.uniform(2, 12), 0, 1)
    if g.random() < 0.3:  # cut above and below, as many cameras do
        edge = edge * (np.abs(y) < g.uniform(0.7, 0.95))
    return _captured(g, np.clip(image, 0, None) * edge)


def ultrasound(g: Generator, side: int) -> GreyImage:
    """A fan or a box of speckle, layers and dark cysts with echoes below, on black."""
    y, x = coordinates(side)
    top = g.uniform(-1.6, -1.0)
    reach, turn = np.hypot(x, y - top), np.arctan2(x, y - top)
    rayleigh = np.sqrt(-np.log(np.clip(g.random((side, side)), 1e-6, 1))) / 1.5
    speckle = gaussian_blur(rayleigh, float(g.uniform(0.5, 1.6)))
    layers = np.sin(reach * g.uniform(4, 40) + 3 * power_law_noise(g, side, 2.0) + turn)
    tissue = g.uniform(0.1, 0.5) + g.uniform(0, 0.3) * layers
    tissue += g.uniform(0.2, 0.9) * (power_law_noise(g, side, g.uniform(1.2, 2.2)) - 0.4)
    for _ in range(int(g.integers(0, 5))):
        (across, down), (wide, tall) = g.uniform(-0.5, 0.5, 2), g.uniform(0.05, 0.3, 2)
        inside = np.hypot((x - across) / wide, (y - down) / tall)
        tissue = np.where(inside < 1, tissue * g.uniform(0, 0.4), tissue)
        tissue += g.uniform(0, 0.5) * np.exp(-((inside - 1) ** 2) / 0.02)
        shadow = (np.abs(x - across) < wide) & (y > down + tall)
        tissue = np.where(shadow, tissue * g.uniform(0.4, 1.8), tissue)
    image = np.clip(tissue, 0, None) * speckle * np.exp(-g.uniform(0, 1.2) * (y + 1))
    if g.random() < 0.7:
        near = g.uniform(0.1, 0.6)
        seen = (np.abs(turn) < g.uniform(0.4, 0.8)) & (reach > near) & (reach < near + 1.7)
    else:
        seen = (np.abs(x) < g.uniform(0.5, 1)) & (np.abs(y) < g.uniform(0.6, 1))
    return _captured(g, image * seen)


def mammogram(g: Generator, side: int) -> GreyImage:
    """A breast at one edge: a smooth bright half disc of strands, on black."""
    y, x = coordinates(side)
    turn = -1 if g.random() < 0.5 else 1
    wide, tall, middle = g.uniform(0.7, 1.6), g.uniform(0.6, 1.1), g.uniform(-0.2, 0.2)
    inside = 1 - np.hypot((turn * x + 1) / wide, (y - middle) / tall)
    strands = power_law_noise(g, side, g.uniform(1.2, 2.0), float(np.exp(g.uniform(-1, 1))))
    image = np.clip(inside * 4, 0, 1) ** 0.7 * g.uniform(0.15, 0.4)
    dense = np.clip(inside * g.uniform(1, 4), 0, 1)
    image += dense * g.uniform(0.2, 0.8) * strands ** g.uniform(1, 3)
    muscle = (turn * x + 1) * g.uniform(0.8, 2) + (y + 1) < g.uniform(0.4, 1.4)
    if g.random() < 0.5:
        image += 0.3 * gaussian_blur(muscle * (inside > 0), side * 0.02)
    for _ in range(int(g.integers(0, 20)) if g.random() < 0.4 else 0):  # calcium
        across, down = (int(v) for v in g.integers(side // 8, side * 7 // 8, 2))
        if inside[down, across] > 0:
            cv2.circle(image, (across, down), 1, 1.0, -1)
    if g.random() < 0.5:  # the film's letters
        corner = (int(side * (0.75 if turn > 0 else 0.05)), int(side * 0.12))
        words = str(g.choice(["R CC", "L CC", "R MLO", "L MLO"]))
        image = np.maximum(image, text_mask(side, words, corner, side / 400))
    return _captured(g, image)


def microscope(g: Generator, side: int) -> GreyImage:
    """Tissue or cells under a microscope: nuclei in a rough background, often in a round field."""
    image = g.uniform(0.5, 0.9) + g.uniform(0.1, 0.6) * (power_law_noise(g, side, 1.2) - 0.5)
    size, dark = side * np.exp(g.uniform(-4.5, -2)), g.uniform(-0.6, 0.4)
    for _ in range(int(np.exp(g.uniform(2.5, 6)))):
        place = tuple(int(v) for v in g.integers(0, side, 2))
        axes = tuple(max(1, int(v)) for v in size * g.uniform(0.5, 1.4, 2))
        level = float(np.clip(0.6 + dark * g.uniform(0.5, 1), 0, 1))
        cv2.ellipse(image, place, axes, float(g.uniform(0, 180)), 0, 360, level, -1, cv2.LINE_AA)
        if g.random() < 0.5:
            cv2.circle(image, place, max(1, axes[0] // 3), level / 2, -1, cv2.LINE_AA)
    if g.random() < 0.5:
        gaps = power_law_noise(g, side, 1.8) > g.uniform(0.6, 0.8)
        image = np.where(gaps, g.uniform(0.85, 1), image)
    if g.random() < 0.3:
        image = 1 - image
    if g.random() < 0.5:  # the eyepiece's field, or an endoscope's
        y, x = coordinates(side)
        image = image * np.clip((g.uniform(0.8, 1) - np.hypot(x, y)) * side / 4, 0, 1)
    return _captured(g, gaussian_blur(image, float(g.uniform(0.3, 1.5))))


def _vessel(
    g: Generator, canvas: GreyImage, at: NDArray[np.float64], angle: float, width: float,
    steps: int, branchings: int,
) -> None:  # fmt: skip
    """Draw a winding vessel that thins out and branches."""
    side, bend = canvas.shape[0], g.uniform(-0.12, 0.12)
    for step in range(steps):
        angle += bend + g.normal(0, 0.12)
        to = at + side * 0.035 * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(int(v) for v in spot) for spot in (at, to)]
        cv2.line(canvas, ends[0], ends[1], 1.0, max(1, round(width)), cv2.LINE_AA)
        at, width = to, width * 0.96
        if branchings and g.random() < 0.15:
            side_angle = angle + g.choice([-1, 1]) * g.uniform(0.4, 1)
            _vessel(g, canvas, at, side_angle, width * 0.7, steps - step, branchings - 1)


def _captured(g: Generator, image: NDArray[Any]) -> GreyImage:
    """Window as a camera or film does, add uneven illumination and noise."""
    shown = rescaled(image, float(g.choice([0, 0.5]))) ** float(g.uniform(0.7, 1.4))
    if g.random() < 0.2:
        shown = shown * (1 - 0.4 * smooth_field(g, image.shape[0]))
    grain = g.uniform(0, 0.04) * g.standard_normal(shown.shape)
    return np.clip(shown + grain * (shown > 0.02), 0, 1).astype(np.float32)


MODALITIES: dict[str, Callable[[Generator, int], GreyImage]] = {
    "fundus": fundus,
    "ultrasound": ultrasound,
    "mammogram": mammogram,
    "microscope": microscope,
}
