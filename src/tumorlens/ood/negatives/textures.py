"""Synthetic textures: images that are no brain MRI, for the OOD head to learn to refuse.

The project contains no photographs, so negatives are generated: noise, text, line art and shaded
shapes with the statistics of natural images (occlusion, power-law spectra, shading), not their
content. Every image is grey, float32 ``[side, side]`` in 0..1, and determined by the generator.
`scenes` adds patterns and scenes, `radiology` X-rays and CT, `modalities` other medical images.
"""

from __future__ import annotations

import string
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

GreyImage = NDArray[np.float32]


def power_law_noise(g: Generator, side: int, power: float, stretch: float = 1.0) -> GreyImage:
    """Return noise whose amplitude falls as ``1 / frequency ** power``, in 0..1.

    Natural photographs have a power near 1 (Field, J Opt Soc Am A 4 (1987) 2379); 0 is white.
    """
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    turn = g.uniform(0, np.pi)
    along = np.cos(turn) * columns + np.sin(turn) * rows
    aside = (np.cos(turn) * rows - np.sin(turn) * columns) * stretch
    radius = np.hypot(along, aside)
    radius[0, 0] = 1
    amplitude = radius**-power
    amplitude[0, 0] = 0
    phase = np.exp(2j * np.pi * g.random(radius.shape))
    return rescaled(np.fft.irfft2(amplitude * phase, s=(side, side)), 0.5)


def rescaled(field: NDArray[Any], clip: float = 0.0) -> GreyImage:
    """Rescale linearly to 0..1, ``clip`` per cent of the values clipped at either end."""
    low, high = np.percentile(field, (clip, 100 - clip)) if clip else (field.min(), field.max())
    stretched = np.clip((field - low) / max(float(high - low), 1e-6), 0, 1)
    return np.asarray(stretched, dtype=np.float32)


def gaussian_blur(image: NDArray[Any], sigma: float) -> GreyImage:
    """Return an image after a Gaussian blur of ``sigma`` pixels."""
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), float(sigma))
    return np.asarray(soft, dtype=np.float32)


def noise(g: Generator, side: int) -> GreyImage:
    """White, coloured, striped or salt-and-pepper noise."""
    kind = g.integers(4)
    if kind == 0:
        coarse = side // int(g.integers(1, 9))
        grain = g.random((coarse, coarse)) ** g.uniform(0.5, 3)
        how = int(g.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        return rescaled(cv2.resize(grain, (side, side), interpolation=how))
    if kind == 1:
        return (g.random((side, side)) < g.uniform(0.02, 0.5)).astype(np.float32)
    return power_law_noise(g, side, g.uniform(0, 2.6), float(np.exp(g.uniform(-1.5, 1.5))))


def smooth_field(g: Generator, side: int) -> GreyImage:
    """Gradients, waves and soft blobs; sometimes with a little noise."""
    y, x = coordinates(side)
    turn, count = g.uniform(0, 2 * np.pi), int(g.integers(1, 7))
    line = np.cos(turn) * x + np.sin(turn) * y
    kind = g.integers(4)
    if kind == 0:
        field = line
    elif kind == 1:
        field = np.hypot(x - g.uniform(-1, 1), y - g.uniform(-1, 1)) * g.choice([-1, 1])
    elif kind == 2:
        field = np.sin(line * g.uniform(2, 30) + g.uniform(0, 6))
    else:
        spots = g.uniform(-1, 1, (count, 2))
        widths = g.uniform(0.1, 0.8, count)
        field = np.zeros((side, side))
        for (across, down), width in zip(spots, widths, strict=True):
            field += np.exp(-((x - across) ** 2 + (y - down) ** 2) / width**2)
    grain = g.standard_normal((side, side)) * g.choice([0, 0, 0.02, 0.08])
    return rescaled(rescaled(field) ** g.uniform(0.5, 2) + grain)


def text_page(g: Generator, side: int) -> GreyImage:
    """Printed text: lines in several sizes, boxes, dark on light or light on dark."""
    canvas = np.full((side, side), 235, np.uint8)
    fonts = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX,
             cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_PLAIN)  # fmt: skip
    letters = np.array(list(string.ascii_letters + string.digits + "    .,:-"))
    font, scale = int(g.choice(fonts)), float(g.uniform(0.25, 1.6))
    step, y = max(7, int(scale * g.uniform(22, 40))), 4
    indent = int(g.integers(0, side // 4))
    while y < side:
        if g.random() < 0.12:
            corner = (indent, y)
            size = (int(g.integers(side // 4, side)), y + int(g.integers(4, side // 4)))
            cv2.rectangle(canvas, corner, size, int(g.integers(0, 220)), int(g.choice([-1, 1, 2])))
            y = size[1]
        words = "".join(g.choice(letters, int(g.integers(3, 60))))
        y += step
        cv2.putText(canvas, words, (indent, y), font, scale, int(g.integers(0, 90)),
                    1 + int(scale > 1), cv2.LINE_AA)  # fmt: skip
    image = canvas.astype(np.float32) / 255
    if g.random() < 0.5:
        image *= 1 - 0.6 * smooth_field(g, side)
    return np.asarray(1 - image if g.random() < 0.4 else image, dtype=np.float32)


def line_art(g: Generator, side: int) -> GreyImage:
    """Lines, curves, filled shapes, charts and chessboards on a plain background."""
    ground = int(g.choice([0, 0, 255, 255, 128]))
    canvas = np.full((side, side), ground, np.uint8)
    if g.random() < 0.15:
        cells = int(g.integers(2, 12))
        board = np.indices((cells, cells)).sum(0) % 2
        large = cv2.resize(board.astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST)
        return np.asarray(large, dtype=np.float32)
    for _ in range(int(g.integers(1, 24))):
        level, width = int(g.integers(0, 256)), int(g.integers(1, 6))
        points = g.integers(0, side, (int(g.integers(2, 7)), 2)).astype(np.int32)
        centre = tuple(int(v) for v in points[0])
        axes = tuple(int(v) for v in g.integers(3, side // 2, 2))
        kind, solid = g.integers(5), g.random() < 0.5
        if kind == 0:
            cv2.polylines(canvas, [points], bool(g.integers(2)), level, width, cv2.LINE_AA)
        elif kind == 1:
            cv2.fillPoly(canvas, [points], level)
        elif kind == 2:
            cv2.ellipse(canvas, centre, axes, float(g.uniform(0, 180)), 0,
                        float(g.uniform(90, 360)), level, -1 if solid else width)  # fmt: skip
        elif kind == 3:
            corner = tuple(int(v) for v in points[1])
            cv2.rectangle(canvas, centre, corner, level, -1 if solid else width)
        else:
            x = np.linspace(0, side - 1, 60)
            wave = side / 2 + np.cumsum(g.standard_normal(60)) * side / 30
            curve = np.stack([x, wave], 1).astype(np.int32)
            cv2.polylines(canvas, [curve], False, level, width, cv2.LINE_AA)
    return np.asarray(canvas, dtype=np.float32) / np.float32(255)


def dead_leaves(g: Generator, side: int) -> GreyImage:
    """Shaded, textured shapes that occlude one another, their sizes by a power law.

    The dead-dead_leaves model of natural images: Lee, Mumford and Huang, IJCV 41 (2001) 35.
    """
    canvas = np.full((side, side), g.random(), np.float32) + 0.2 * smooth_field(g, side)
    softness, hues = float(g.choice([0, 0, 0.7, 1.5, 3, 6])), smooth_field(g, side)
    grain = _grain(g, side)
    for _ in range(int(np.exp(g.uniform(0.7, 4.2)))):
        radius = side * min(0.6, 0.02 * g.pareto(1.2) + 0.02)
        turns = np.sort(g.uniform(0, 2 * np.pi, int(g.integers(3, 14))))
        if g.random() < 0.4:
            turns = np.linspace(0, 2 * np.pi, 24)
        reach = radius * (g.uniform(0.7, 1.2, len(turns)) if g.random() < 0.5 else 1.0)
        outline = np.stack([np.cos(turns) * reach, np.sin(turns) * reach], 1)
        outline = outline * [1, g.uniform(0.3, 1)] + g.uniform(0, side, 2)
        left, top = np.clip(np.floor(outline.min(0)).astype(int), 0, side - 1)
        right, bottom = np.clip(np.ceil(outline.max(0)).astype(int) + 1, 1, side)
        part = (slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1)))
        mask = np.zeros(canvas[part].shape, np.uint8)
        cv2.fillPoly(mask, [(outline - (left, top)).astype(np.int32)], 255, cv2.LINE_AA)
        body = g.random() + g.uniform(0, 0.6) * (hues[part] - 0.5)
        if g.random() < 0.25:
            body = body + g.uniform(0.1, 0.6) * (grain[part] - 0.5)
        share = mask.astype(np.float32) / 255
        canvas[part] += share * (body.astype(np.float32) - canvas[part])
    if softness:
        canvas = gaussian_blur(canvas, softness)
    return rescaled(canvas + 0.03 * g.standard_normal(canvas.shape), 0.5)


def _grain(g: Generator, side: int) -> GreyImage:
    return power_law_noise(g, side, g.uniform(0.3, 1.6))


def pattern_network(g: Generator, side: int) -> GreyImage:
    """An image painted by a small random network over its coordinates: curved, shaded, sharp."""
    y, x = coordinates(side)
    inputs = np.stack([x, y, np.hypot(x, y), np.ones_like(x)], -1).reshape(-1, 4)
    inputs, wide, sharp = inputs.astype(np.float32), 8, g.uniform(1, 6)
    layer = np.tanh(inputs @ g.standard_normal((4, wide), np.float32) * sharp)
    for _ in range(int(g.integers(1, 3))):
        layer = np.tanh(layer @ g.standard_normal((wide, wide), np.float32) * g.uniform(0.5, 1.6))
    field = (layer @ g.standard_normal(wide, np.float32)).reshape(side, side)
    return rescaled(field + g.uniform(0, 0.3) * power_law_noise(g, side, 1.0), 0.5)


def spheres(g: Generator, side: int) -> GreyImage:
    """Shaded round objects on a plain background: fruit, coins, cells, a moon, stars."""
    canvas = np.full((side, side), float(g.choice([0, 0.05, g.random()])), np.float32)
    canvas += g.uniform(0, 0.3) * smooth_field(g, side)
    count, grain = int(np.exp(g.uniform(0, 4.2))), _grain(g, side)
    light, rough = g.uniform(-0.7, 0.7, 2), g.choice([0, g.uniform(0, 0.8)])
    for _ in range(count):
        size = side / 2 * g.uniform(0.5, 1.3) * min(0.8, 1.6 / np.sqrt(count))
        tall = size * g.uniform(0.5, 1.2)
        x, y = g.uniform(0.05, 0.95, 2) * side
        part = (slice(max(0, int(y - tall)), int(y + tall) + 2),
                slice(max(0, int(x - size)), int(x + size) + 2))  # fmt: skip
        rows, columns = np.mgrid[part][:, : side - part[0].start, : side - part[1].start]
        across, down = (columns - x) / size, (rows - y) / tall
        square = across**2 + down**2
        height = np.sqrt(np.clip(1 - square, 0, 1))
        lit = np.clip(height * g.uniform(0.3, 1) - light[0] * across - light[1] * down, 0, 1.2)
        inside = np.clip((1 - square) * size / 2, 0, 1)
        body = (g.uniform(0.2, 1) * lit + g.uniform(0, 0.3)) * (1 + rough * (grain[part] - 0.5))
        canvas[part] += inside * (body - canvas[part])
    return rescaled(canvas + g.uniform(0, 0.05) * g.standard_normal(canvas.shape))


def text_mask(
    side: int, text: str, corner: tuple[int, int], scale: float, thickness: int = 1
) -> GreyImage:
    """Return white letters on black; ``corner`` is x and y of their lower left."""
    mask = np.zeros((side, side), np.uint8)
    cv2.putText(mask, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness)
    return mask.astype(np.float32) / np.float32(255)


def coordinates(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each pixel's y and x in -1..1, each ``[side, side]``."""
    axis = np.linspace(-1, 1, side)
    return axis[:, None] + 0 * axis[None], axis[None] + 0 * axis[:, None]
