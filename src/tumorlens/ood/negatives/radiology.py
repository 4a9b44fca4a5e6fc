"""Synthetic X-rays and CT slices, and disassembled MRI: grey like a scan, but no brain MRI.

Float32 ``[side, side]`` in 0..1, as in `tumorlens.ood.negatives.textures`.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tumorlens.ood.negatives.textures import (
    GreyImage,
    gaussian_blur,
    power_law_noise,
    rescaled,
    smooth_field,
    text_mask,
)

Mask = NDArray[np.float32]


def head_ct(g: Generator, side: int) -> GreyImage:
    """A head in CT: a saturated ring of bone, a nearly even brain, air black, no bright scalp."""
    outline = _blob(g, side, 0.5, 0.5, g.uniform(0.36, 0.47), g.uniform(0.40, 0.49), 0.03)
    depth = _depth(outline)
    thick = side * g.uniform(0.018, 0.045)
    scalp = side * g.uniform(0.005, 0.035)
    base = g.uniform(0.25, 0.55)
    image = np.zeros((side, side), np.float32)
    image[depth > 0] = base * g.uniform(0.4, 0.9)  # scalp
    bone = (depth > scalp) & (depth < scalp + thick * (0.8 + 0.6 * power_law_noise(g, side, 2.0)))
    brain = depth > scalp + thick
    grain = 1 + 0.06 * (power_law_noise(g, side, 1.5) - 0.5)
    image[brain] = (base * grain)[brain]
    grey = np.clip(1 - np.abs(depth - scalp - thick - side * 0.03) / (side * 0.03), 0, 1)
    image += 0.05 * brain * grey * power_law_noise(g, side, 1.2)
    for sign in (-1, 1):  # ventricles
        spot = _blob(g, side, 0.5 + sign * g.uniform(0.03, 0.07), g.uniform(0.42, 0.55),
                     g.uniform(0.01, 0.05), g.uniform(0.04, 0.13), 0.06)  # fmt: skip
        image[(spot > 0) & brain] = base * g.uniform(0.4, 0.8)
    for _ in range(int(g.integers(0, 4))):  # blood, calcium, old strokes
        (x, y), (across, down) = g.uniform(0.3, 0.7, 2), g.uniform(0.01, 0.1, 2)
        spot = _blob(g, side, x, y, across, down, 0.1)
        image[(spot > 0) & brain] = base * g.choice([0.6, 0.75, 1.4, 1.7])
    image[bone] = 1
    if g.random() < 0.3:  # skull base: bony walls, air cells
        walls = (power_law_noise(g, side, 1.6) > g.uniform(0.55, 0.75)) & brain
        walls &= np.abs(np.linspace(-1, 1, side)[None]) + 0 * depth < g.uniform(0.3, 0.9)
        image[walls] = g.choice([0, 1], p=[0.4, 0.6])
    if g.random() < 0.5:  # the table and the head rest
        width, level = int(g.integers(1, 5)), float(g.uniform(0.1, 0.9))
        cv2.ellipse(image, (side // 2, int(side * g.uniform(0.2, 0.6))),
                    (int(side * 0.46), int(side * 0.45)), 0, 30, 150, level, width)  # fmt: skip
    return _scanned(g, image)


def body_ct(g: Generator, side: int) -> GreyImage:
    """Chest or belly in CT: a wide oval with fat, muscle, organs, a spine and ribs."""
    outline = _blob(g, side, 0.5, 0.5, g.uniform(0.42, 0.49), g.uniform(0.26, 0.40), 0.04)
    depth = _depth(outline)
    fat, wall = side * g.uniform(0.01, 0.06), side * g.uniform(0.02, 0.05)
    inner, soft = depth > fat + wall, g.uniform(0.35, 0.65)
    image = np.where(depth > 0, soft * g.uniform(0.2, 0.6), 0).astype(np.float32)
    image[depth > fat] = soft
    image[inner] = soft * g.uniform(0.3, 1)
    if g.random() < 0.5:  # lungs and heart
        for sign in (-1, 1):
            lung = _blob(g, side, 0.5 + sign * 0.2, 0.5, 0.15, g.uniform(0.15, 0.24), 0.08)
            shown = (lung > 0) & inner
            image[shown] = 0.15 * (power_law_noise(g, side, 1.0) > 0.75)[shown]
        image[_blob(g, side, 0.55, 0.45, 0.12, 0.12, 0.1) > 0] = soft * 1.1
    else:
        for _ in range(int(g.integers(3, 12))):
            (x, y), (across, down) = g.uniform(0.2, 0.8, 2), g.uniform(0.03, 0.2, 2)
            organ = _blob(g, side, x, y, across, down, 0.15)
            image[(organ > 0) & inner] = soft * g.uniform(0.7, 1.5) * g.choice([1, 1, 1, 0.05])
    spine = _blob(g, side, 0.5, 0.66, 0.06, 0.055, 0.1)
    image[spine > 0] = g.uniform(0.75, 1)
    for turn in np.linspace(0, 2 * np.pi, int(g.integers(6, 16)), endpoint=False):
        centre = (int(side * (0.5 + 0.40 * np.cos(turn))), int(side * (0.5 + 0.28 * np.sin(turn))))
        cv2.ellipse(image, centre, (int(side * 0.045), int(side * 0.012) + 1),
                    float(np.degrees(turn) + 90), 0, 360, 1.0, -1)  # fmt: skip
    return _scanned(g, image)


def chest_xray(g: Generator, side: int) -> GreyImage:
    """A chest film: bright middle, dark lungs crossed by ribs, shoulders, a marker."""
    image = g.uniform(0.4, 0.75) + 0.2 * smooth_field(g, side)
    lungs = np.zeros((side, side), np.float32)
    for sign in (-1, 1):
        lung = _blob(g, side, 0.5 + sign * g.uniform(0.17, 0.22), g.uniform(0.42, 0.5),
                     g.uniform(0.1, 0.16), g.uniform(0.25, 0.34), 0.05)  # fmt: skip
        lungs = np.maximum(lungs, lung)
    lungs = gaussian_blur(lungs, side * 0.012)
    ribs = np.zeros((side, side), np.float32)
    bend, count = g.uniform(0.1, 0.3), int(g.integers(6, 11))
    for row in np.linspace(0.1, 0.85, count):
        for sign in (-1, 1):
            centre = (int(side * (0.5 + sign * 0.19)), int(side * (row + bend)))
            cv2.ellipse(ribs, centre, (int(side * 0.24), int(side * bend)), sign * 14.0, 190, 350,
                        1.0, max(2, side // 40))  # fmt: skip
    ribs = gaussian_blur(ribs, side * 0.006)
    image -= lungs * g.uniform(0.3, 0.6) * (0.8 + 0.4 * power_law_noise(g, side, 1.6))
    image += ribs * g.uniform(0.06, 0.2)
    heart = _blob(g, side, 0.56, 0.62, g.uniform(0.1, 0.16), 0.15, 0.08)
    spine = _blob(g, side, 0.5, 0.5, 0.05, 0.6, 0.05)
    image += g.uniform(0.1, 0.3) * gaussian_blur(heart + 0.5 * spine, side * 0.02)
    if g.random() < 0.6:  # air around the shoulders
        body = _blob(g, side, 0.5, 0.62, g.uniform(0.4, 0.6), 0.6, 0.04)
        image *= 0.05 + 0.95 * gaussian_blur(body, side * 0.01)
    if g.random() < 0.5:
        marker, corner = str(g.choice(["L", "R", "PA"])), (int(side * 0.85), int(side * 0.12))
        image = np.maximum(image, text_mask(side, marker, corner, 0.6, 2))
    return _scanned(g, rescaled(image))


def limb_xray(g: Generator, side: int) -> GreyImage:
    """A film of a hand or another limb: bright bones in a grey sleeve on black."""
    sleeve, bones = np.zeros((2, side, side), np.float32)
    fingers = int(g.integers(1, 6))
    root = np.array([side * 0.5, side * g.uniform(0.7, 1.0)])
    turns = np.linspace(-0.6, 0.6, fingers) if fingers > 1 else g.uniform(-0.5, 0.5, 1)
    for turn in turns:
        way, start = np.array([np.sin(turn), -np.cos(turn)]), root
        width = side * g.uniform(0.02, 0.05) * (3 if fingers < 3 else 1)
        for _ in range(int(g.integers(2, 5))):
            end = start + way * side * g.uniform(0.13, 0.24)
            ends = [tuple(int(v) for v in spot) for spot in (start, end - way * width * 0.4)]
            first, last = ends
            cv2.line(bones, first, last, 1.0, max(2, int(width)))
            for spot in ends:
                cv2.circle(bones, spot, max(2, int(width * 0.75)), 1.0, -1)
            cv2.line(sleeve, first, last, 1.0, max(4, int(width * g.uniform(2, 3.4))))
            start = end
    sleeve = gaussian_blur(sleeve, side * 0.012)
    core = gaussian_blur(bones, side * 0.02)
    bones = gaussian_blur(bones, side * 0.006) * (1.2 - 0.5 * core)
    image = g.uniform(0.2, 0.45) * sleeve + g.uniform(0.4, 0.6) * bones
    return _scanned(g, rescaled(image + 0.05 * smooth_field(g, side)))


def ellipses(g: Generator, side: int) -> GreyImage:
    """Nested even ellipses, as reconstruction phantoms have: Shepp and Logan, 1974, at random."""
    image = np.zeros((side, side), np.float32)
    outer = (int(side * g.uniform(0.3, 0.46)), int(side * g.uniform(0.36, 0.48)))
    middle = (side // 2, side // 2)
    cv2.ellipse(image, middle, outer, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    inner = tuple(int(v - side * g.uniform(0.01, 0.05)) for v in outer)
    cv2.ellipse(image, middle, inner, 0, 0, 360, float(g.uniform(0.1, 0.5)), -1, cv2.LINE_AA)
    for _ in range(int(g.integers(2, 12))):
        centre = tuple(int(v) for v in side * g.uniform(0.3, 0.7, 2))
        axes = tuple(int(v) + 1 for v in side * g.uniform(0.01, 0.18, 2))
        cv2.ellipse(image, centre, axes, float(g.uniform(-40, 40)), 0, 360,
                    float(g.random()), -1, cv2.LINE_AA)  # fmt: skip
    return image


def disassembled(g: Generator, scan: GreyImage) -> GreyImage:
    """Permute a real scan's blocks, or randomise the phases of its spectrum."""
    side = scan.shape[0]
    if g.random() < 0.5:
        amplitude = np.abs(np.fft.rfft2(scan))
        phase = np.exp(2j * np.pi * g.random(amplitude.shape))
        return rescaled(np.fft.irfft2(amplitude * phase, s=scan.shape), 0.5)
    cells = int(g.choice([3, 4, 5, 8]))
    size = side // cells
    blocks = [
        scan[r * size : (r + 1) * size, c * size : (c + 1) * size]
        for r in range(cells) for c in range(cells)
    ]  # fmt: skip
    order = g.permutation(len(blocks))
    turned = [np.rot90(blocks[i], int(g.integers(4))) for i in order]
    rows = [np.hstack(turned[r * cells : (r + 1) * cells]) for r in range(cells)]
    return np.vstack(rows).astype(np.float32)


def _blob(
    g: Generator, side: int, x: float, y: float, across: float, down: float, rough: float
) -> Mask:
    """Return a filled, slightly irregular ellipse, 0 or 1; sizes are shares of the side."""
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = sum(
        g.standard_normal() / order * np.cos(order * turns + g.uniform(0, 6)) for order in (2, 3, 5)
    )
    reach = 1 + rough * waves
    points = np.stack([x + across * reach * np.cos(turns), y + down * reach * np.sin(turns)], 1)
    mask = np.zeros((side, side), np.float32)
    cv2.fillPoly(mask, [np.round(points * side).astype(np.int32)], 1.0)
    return mask


def _depth(mask: Mask) -> Mask:
    """Return each pixel's distance from the outside, in pixels."""
    inside = (mask > 0).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 5), dtype=np.float32)


def _scanned(g: Generator, image: GreyImage) -> GreyImage:
    """Blur to a scanner's resolution, window, and add its noise."""
    image = gaussian_blur(image, float(g.uniform(0.3, 1.4)))
    low, high = g.uniform(-0.1, 0.1), g.uniform(0.75, 1.2)
    grain = g.uniform(0, 0.05) * g.standard_normal(image.shape)
    return np.clip((image + grain - low) / (high - low), 0, 1).astype(np.float32)


RADIOLOGY: dict[str, Callable[[Generator, int], GreyImage]] = {
    "head CT": head_ct,
    "body CT": body_ct,
    "chest X-ray": chest_xray,
    "limb X-ray": limb_xray,
    "ellipses": ellipses,
}
