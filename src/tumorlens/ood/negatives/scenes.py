"""Synthetic patterns, scenes and portraits, as in `tumorlens.ood.negatives.textures`."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from tumorlens.ood.negatives.textures import (
    GreyImage,
    coordinates,
    dead_leaves,
    gaussian_blur,
    line_art,
    noise,
    pattern_network,
    power_law_noise,
    rescaled,
    smooth_field,
    spheres,
    text_page,
)


def texture(g: Generator, side: int) -> GreyImage:
    """Bricks, gravel, strokes, weave, cells or craters, wood: one pattern everywhere."""
    y, x = coordinates(side)
    kind = g.integers(6)
    if kind == 0:
        tall, wide = g.integers(6, 30), g.integers(10, 60)
        row = np.floor((y + 1) * side / 2 / tall)
        column = np.floor((x + 1) * side / 2 / wide + 0.5 * (row % 2))
        field = g.random((side, side))[row.astype(int) % side, column.astype(int) % side]
        joint = (((y + 1) * side / 2) % tall < 2) | (
            (((x + 1) * side / 2 + wide / 2 * (row % 2)) % wide) < 2
        )
        field = np.where(joint, g.random(), 0.3 + 0.4 * field)
    elif kind == 1:
        seeds = np.ones((side, side), np.uint8)
        spots = g.integers(0, side, (int(g.integers(15, 500)), 2))
        seeds[spots[:, 0], spots[:, 1]] = 0
        distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
        field = g.random(labels.max() + 1)[labels] - g.uniform(0, 0.06) * distance
    elif kind == 2:
        impulses = (g.random((side, side)) < g.uniform(0.02, 0.2)) * g.random((side, side))
        length = int(g.integers(5, 31)) | 1
        stroke = np.zeros((length, length), np.float32)
        middle, turn = length // 2, g.uniform(0, np.pi)
        tip = (middle * np.array([np.cos(turn), np.sin(turn)])).astype(int)
        cv2.line(stroke, tuple((middle - tip).tolist()), tuple((middle + tip).tolist()), 1.0)
        field = cv2.filter2D(impulses.astype(np.float32), -1, stroke)
    elif kind == 3:
        field = np.sin(x * g.uniform(10, 120)) * np.sin(y * g.uniform(10, 120))
    elif kind == 4:
        field = _spots(g, side)
    else:
        rings = np.hypot(x - g.uniform(-2, 2), y * g.uniform(0.1, 1))
        field = np.sin(g.uniform(10, 60) * rings + 4 * power_law_noise(g, side, 1.8))
    grain = power_law_noise(g, side, g.uniform(0.2, 1.4))
    return rescaled(rescaled(field) + g.uniform(0, 0.8) * grain, 0.5)


def scene(g: Generator, side: int) -> GreyImage:
    """Sky and ground, blocks with windows, trees; or a person before a background."""
    canvas = dead_leaves(g, side) if g.random() < 0.3 else smooth_field(g, side) * g.uniform(0.3, 1)
    horizon = int(side * g.uniform(0.3, 0.8))
    canvas[horizon:] = g.random() * texture(g, side)[horizon:] + 0.1
    for _ in range(int(g.integers(0, 7))):
        left, top = int(g.integers(-20, side)), int(g.integers(0, side))
        right, level = left + int(g.integers(8, side // 2)), float(g.random())
        cv2.rectangle(canvas, (left, top), (right, side), level, -1)
        step = int(g.integers(8, 20))
        for row in range(top + 3, side, step):
            for column in range(max(left, 0) + 3, min(right, side) - 3, step):
                cv2.rectangle(canvas, (column, row), (column + step // 2, row + step // 2),
                              float(g.random()), -1)  # fmt: skip
    if g.random() < 0.5:
        _person(g, canvas)
    for _ in range(int(g.integers(0, 4))):
        _tree(g, canvas, g.uniform(0, side), float(side), g.uniform(-0.2, 0.2), side / 4, 5)
    canvas = gaussian_blur(canvas, float(g.uniform(0.3, 1.5)))
    return rescaled(canvas + g.uniform(0, 0.06) * g.standard_normal(canvas.shape), 0.5)


def portrait(g: Generator, side: int) -> GreyImage:
    """A face that fills the image: round, shaded, dark eyes and mouth, often out of focus."""
    y, x = coordinates(side)
    ground = dead_leaves(g, side) if g.random() < 0.3 else smooth_field(g, side)
    canvas = ground * g.uniform(0.1, 0.9)
    (cx, cy), (wide, tall) = g.uniform(-0.1, 0.1, 2), g.uniform((0.45, 0.6), (0.75, 1.0))
    skin, hair = g.uniform(0.4, 0.95), g.uniform(0, 0.5)
    hairy = np.hypot((x - cx) / (1.2 * wide), (y - cy + 0.2) / (1.1 * tall)) < 1
    canvas[hairy] = hair
    inside = np.hypot((x - cx) / wide, (y - cy) / tall) < 1
    lit = skin * (1 - 0.4 * ((x - cx) * g.uniform(-1, 1) + np.hypot(x - cx, y - cy) ** 2))
    canvas[inside] = lit[inside]

    def spot(at_x: float, at_y: float, across: float, down: float, level: float) -> None:
        reach = ((x - cx - at_x * wide) / across) ** 2 + ((y - cy - at_y * tall) / down) ** 2
        canvas[:] += (level - canvas) * np.exp(-reach) * inside

    for sign in (-1, 1):
        spot(0.42 * sign, -0.15, 0.13, 0.06, skin * g.uniform(0.1, 0.5))
        spot(0.42 * sign, -0.3, 0.18, 0.04, skin * g.uniform(0.3, 0.8))
    spot(0, 0.15, 0.1, 0.2, skin * g.uniform(0.8, 1.2))
    spot(0, 0.28, 0.14, 0.04, skin * g.uniform(0.4, 0.8))
    spot(0, 0.52, g.uniform(0.15, 0.3), g.uniform(0.04, 0.1), skin * g.uniform(0.3, 0.9))
    grain = 1 + 0.1 * (power_law_noise(g, side, 1.2) - 0.5)
    return rescaled(gaussian_blur(canvas * grain, float(g.uniform(0.5, side / 40))), 0.5)


def _spots(g: Generator, side: int) -> GreyImage:
    """Soft or rimmed discs on a rough background, as cells under a microscope and craters are."""
    field = power_law_noise(g, side, g.uniform(1, 2.2)) * g.uniform(0.3, 1.5)
    size, rim = side * np.exp(g.uniform(-4, -2.2)), g.random() < 0.5
    level = g.choice([-1, 1]) * g.uniform(0.3, 1)
    for _ in range(int(np.exp(g.uniform(2, 5.5)))):
        place = tuple(int(v) for v in g.integers(0, side, 2))
        radius = max(1, int(size * g.uniform(0.5, 1.6)))
        cv2.circle(field, place, radius, float(level * g.uniform(0.5, 1) + 0.5), -1, cv2.LINE_AA)
        if rim:
            cv2.circle(field, place, radius, float(0.5 - level * g.uniform(0.3, 1)), 1, cv2.LINE_AA)
    return gaussian_blur(field, float(g.uniform(0.4, 1.8)))


def _person(g: Generator, canvas: GreyImage) -> None:
    """Draw head and shoulders, with hair, eyes and a mouth."""
    side = canvas.shape[0]
    x, y, r = int(g.uniform(0.3, 0.7) * side), int(g.uniform(0.25, 0.5) * side), int(side * 0.17)
    r = int(r * g.uniform(0.5, 1.7))
    skin, cloth, hair = (float(v) for v in g.random(3))
    cv2.ellipse(canvas, (x, y + int(3.4 * r)), (int(2.2 * r), int(2.2 * r)), 0, 180, 360, cloth, -1)
    cv2.ellipse(canvas, (x, y - r // 3), (int(r * 1.15), int(r * 1.25)), 0, 0, 360, hair, -1)
    cv2.ellipse(canvas, (x, y), (int(r * 0.9), int(r * 1.2)), 0, 0, 360, skin, -1)
    for eye in (-1, 1):
        cv2.ellipse(canvas, (x + eye * r // 3, y - r // 5), (r // 6 + 1, r // 12 + 1), 0, 0, 360,
                    1 - skin, -1)  # fmt: skip
    cv2.ellipse(canvas, (x, y + r // 2), (r // 3 + 1, r // 10 + 1), 0, 0, 180, skin / 2, 2)


def _tree(
    g: Generator, canvas: GreyImage, x: float, y: float, turn: float, length: float, depth: int
) -> None:
    if depth == 0 or length < 3:
        return
    tip = (x + np.sin(turn) * length, y - np.cos(turn) * length)
    cv2.line(canvas, (int(x), int(y)), (int(tip[0]), int(tip[1])), float(0.4 * g.random()), depth)
    for _ in range(2):
        shorter = length * g.uniform(0.55, 0.85)
        _tree(g, canvas, *tip, turn + g.uniform(-0.7, 0.7), shorter, depth - 1)


NATURAL: dict[str, Callable[[Generator, int], GreyImage]] = {
    "noise": noise,
    "smooth field": smooth_field,
    "text page": text_page,
    "line art": line_art,
    "dead leaves": dead_leaves,
    "texture": texture,
    "pattern network": pattern_network,
    "scene": scene,
    "portrait": portrait,
    "spheres": spheres,
}
