"""Drawn pictures of other organs that other machines take: eyes, ultrasound, breast, microscope.

Float32 ``[side, side]`` in 0..1, as in `tumorlens.ood.negatives.textures`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tumorlens.ood.negatives.textures import Picture, blurred, grid, shade, spectrum, unit


def fundus(g: Generator, side: int) -> Picture:
    """The back of an eye: a lit disc, its nerve, dark vessels that branch, on black."""
    y, x = grid(side)
    across, down = g.uniform(0.8, 1.15, 2)
    turn = -1 if g.random() < 0.5 else 1
    nerve = np.array([turn * g.uniform(0.1, 0.6), g.uniform(-0.2, 0.2)])
    lit = 1 - g.uniform(0, 0.5) * np.hypot(x - g.uniform(-0.4, 0.4), y - g.uniform(-0.4, 0.4))
    picture = lit * g.uniform(0.4, 0.7) + g.uniform(0, 0.3) * (spectrum(g, side, 1.8) - 0.5)
    spot = np.hypot(x + turn * g.uniform(0.1, 0.4), y) / g.uniform(0.1, 0.3)
    picture -= g.uniform(0, 0.25) * np.exp(-(spot**2))
    wide = g.uniform(0.08, 0.2)
    apart = np.hypot(x - nerve[0], (y - nerve[1]) * g.uniform(0.8, 1.1))
    picture += g.uniform(0.1, 0.6) / (1 + np.exp((apart - wide) / 0.02))
    vessels = np.zeros((side, side), np.float32)
    for _ in range(int(g.integers(4, 10))):
        start, way = (nerve + 1) / 2 * side, g.uniform(0, 2 * np.pi)
        _vessel(g, vessels, start, way, side * g.uniform(0.006, 0.02), int(g.integers(8, 24)), 3)
    picture -= g.uniform(0.1, 0.4) * blurred(vessels, side * 0.004)
    for _ in range(int(g.integers(0, 12)) if g.random() < 0.4 else 0):  # exudates, bleeding
        place = tuple(int(v) for v in g.integers(side // 5, side * 4 // 5, 2))
        cv2.circle(picture, place, int(g.integers(1, max(3, side // 20))), float(g.random()), -1)
    edge = np.clip((1 - np.hypot(x / across, y / down)) * side / g.uniform(2, 12), 0, 1)
    if g.random() < 0.3:  # cut above and below, as many cameras do
        edge = edge * (np.abs(y) < g.uniform(0.7, 0.95))
    return _taken(g, np.clip(picture, 0, None) * edge)


def ultrasound(g: Generator, side: int) -> Picture:
    """A fan or a box of speckle, layers and dark cysts with echoes below, on black."""
    y, x = grid(side)
    top = g.uniform(-1.6, -1.0)
    reach, turn = np.hypot(x, y - top), np.arctan2(x, y - top)
    rayleigh = np.sqrt(-np.log(np.clip(g.random((side, side)), 1e-6, 1))) / 1.5
    speckle = blurred(rayleigh, float(g.uniform(0.5, 1.6)))
    layers = np.sin(reach * g.uniform(4, 40) + 3 * spectrum(g, side, 2.0) + turn)
    tissue = g.uniform(0.1, 0.5) + g.uniform(0, 0.3) * layers
    tissue += g.uniform(0.2, 0.9) * (spectrum(g, side, g.uniform(1.2, 2.2)) - 0.4)
    for _ in range(int(g.integers(0, 5))):
        (across, down), (wide, tall) = g.uniform(-0.5, 0.5, 2), g.uniform(0.05, 0.3, 2)
        inside = np.hypot((x - across) / wide, (y - down) / tall)
        tissue = np.where(inside < 1, tissue * g.uniform(0, 0.4), tissue)
        tissue += g.uniform(0, 0.5) * np.exp(-((inside - 1) ** 2) / 0.02)
        shadow = (np.abs(x - across) < wide) & (y > down + tall)
        tissue = np.where(shadow, tissue * g.uniform(0.4, 1.8), tissue)
    picture = np.clip(tissue, 0, None) * speckle * np.exp(-g.uniform(0, 1.2) * (y + 1))
    if g.random() < 0.7:
        near = g.uniform(0.1, 0.6)
        seen = (np.abs(turn) < g.uniform(0.4, 0.8)) & (reach > near) & (reach < near + 1.7)
    else:
        seen = (np.abs(x) < g.uniform(0.5, 1)) & (np.abs(y) < g.uniform(0.6, 1))
    return _taken(g, picture * seen)


def mammogram(g: Generator, side: int) -> Picture:
    """A breast at one edge: a smooth bright half disc of strands, on black."""
    y, x = grid(side)
    turn = -1 if g.random() < 0.5 else 1
    wide, tall, middle = g.uniform(0.7, 1.6), g.uniform(0.6, 1.1), g.uniform(-0.2, 0.2)
    inside = 1 - np.hypot((turn * x + 1) / wide, (y - middle) / tall)
    strands = spectrum(g, side, g.uniform(1.2, 2.0), float(np.exp(g.uniform(-1, 1))))
    picture = np.clip(inside * 4, 0, 1) ** 0.7 * g.uniform(0.15, 0.4)
    dense = np.clip(inside * g.uniform(1, 4), 0, 1)
    picture += dense * g.uniform(0.2, 0.8) * strands ** g.uniform(1, 3)
    muscle = (turn * x + 1) * g.uniform(0.8, 2) + (y + 1) < g.uniform(0.4, 1.4)
    if g.random() < 0.5:
        picture += 0.3 * blurred(muscle * (inside > 0), side * 0.02)
    for _ in range(int(g.integers(0, 20)) if g.random() < 0.4 else 0):  # calcium
        across, down = (int(v) for v in g.integers(side // 8, side * 7 // 8, 2))
        if inside[down, across] > 0:
            cv2.circle(picture, (across, down), 1, 1.0, -1)
    if g.random() < 0.5:  # the film's letters
        corner = (int(side * (0.75 if turn > 0 else 0.05)), int(side * 0.12))
        words = str(g.choice(["R CC", "L CC", "R MLO", "L MLO"]))
        letters = np.zeros((side, side), np.uint8)
        cv2.putText(letters, words, corner, cv2.FONT_HERSHEY_SIMPLEX, side / 400, 255)
        picture = np.maximum(picture, letters / 255)
    return _taken(g, picture)


def microscope(g: Generator, side: int) -> Picture:
    """Tissue or cells under a microscope: nuclei in a rough ground, often in a round field."""
    picture = g.uniform(0.5, 0.9) + g.uniform(0.1, 0.6) * (spectrum(g, side, 1.2) - 0.5)
    size, dark = side * np.exp(g.uniform(-4.5, -2)), g.uniform(-0.6, 0.4)
    for _ in range(int(np.exp(g.uniform(2.5, 6)))):
        place = tuple(int(v) for v in g.integers(0, side, 2))
        axes = tuple(max(1, int(v)) for v in size * g.uniform(0.5, 1.4, 2))
        level = float(np.clip(0.6 + dark * g.uniform(0.5, 1), 0, 1))
        cv2.ellipse(picture, place, axes, float(g.uniform(0, 180)), 0, 360, level, -1, cv2.LINE_AA)
        if g.random() < 0.5:
            cv2.circle(picture, place, max(1, axes[0] // 3), level / 2, -1, cv2.LINE_AA)
    if g.random() < 0.5:
        gaps = spectrum(g, side, 1.8) > g.uniform(0.6, 0.8)
        picture = np.where(gaps, g.uniform(0.85, 1), picture)
    if g.random() < 0.3:
        picture = 1 - picture
    if g.random() < 0.5:  # the eyepiece's field, or an endoscope's
        y, x = grid(side)
        picture = picture * np.clip((g.uniform(0.8, 1) - np.hypot(x, y)) * side / 4, 0, 1)
    return _taken(g, blurred(picture, float(g.uniform(0.3, 1.5))))


def _vessel(
    g: Generator, canvas: Picture, start: NDArray[np.float64], way: float, width: float, steps: int,
    depth: int,
) -> None:  # fmt: skip
    """Draw a winding vessel that thins out and branches."""
    side = canvas.shape[0]
    at, bend = start, g.uniform(-0.12, 0.12)
    for step in range(steps):
        way += bend + g.normal(0, 0.12)
        to = at + side * 0.035 * np.array([np.cos(way), np.sin(way)])
        ends = [tuple(int(v) for v in spot) for spot in (at, to)]
        cv2.line(canvas, ends[0], ends[1], 1.0, max(1, round(width)), cv2.LINE_AA)
        at, width = to, width * 0.96
        if depth and g.random() < 0.15:
            away = way + g.choice([-1, 1]) * g.uniform(0.4, 1)
            _vessel(g, canvas, at, away, width * 0.7, steps - step, depth - 1)


def _taken(g: Generator, picture: NDArray[Any]) -> Picture:
    """Window as a camera or film does, light it unevenly, and add its noise."""
    shown = unit(picture, float(g.choice([0, 0.5]))) ** float(g.uniform(0.7, 1.4))
    if g.random() < 0.2:
        shown = shown * (1 - 0.4 * shade(g, picture.shape[0]))
    grain = g.uniform(0, 0.04) * g.standard_normal(shown.shape)
    return np.clip(shown + grain * (shown > 0.02), 0, 1).astype(np.float32)


ORGANS: dict[str, Callable[[Generator, int], Picture]] = {
    "fundus": fundus,
    "ultrasound": ultrasound,
    "mammogram": mammogram,
    "microscope": microscope,
}
