"""What the in-domain guard is fitted on: scans as they may come, and pictures that are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from tumorlens.augmentation.geometry import RandAffineElastic
from tumorlens.augmentation.intensity import (
    RandAdjustContrast,
    RandBiasField,
    RandBorder,
    RandGibbsNoise,
    RandHistogramShift,
    RandInvert,
    RandRicianNoise,
    RandSimulateLowResolution,
)
from tumorlens.augmentation.transform import Batch, Compose
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.imaging.skull_strip import stripped_inputs
from tumorlens.ood.negatives.organs import ORGANS
from tumorlens.ood.negatives.radiology import SCANS, shuffled
from tumorlens.ood.negatives.scenes import PICTURES
from tumorlens.ood.negatives.textures import Picture, blurred

Inputs = NDArray[np.float32]

# Rougher than training's, for nothing that is still an MRI may be refused.
_ROUGH = Compose(
    [
        RandAffineElastic(
            flip_prob=0.5, flip_vertical_prob=0.1, rotation=25, scale=0.3, translation=0.08
        ),
        RandSimulateLowResolution(prob=0.4, max_zoom=3.5),
        RandGibbsNoise(prob=0.1),
        RandHistogramShift(prob=0.3),
        RandInvert(prob=0.2),
        RandAdjustContrast(prob=0.5, log_gamma=0.6),
        RandBiasField(prob=0.4, coefficient=0.4),
        RandRicianNoise(prob=0.35, std=0.1),
        RandBorder(prob=0.15),
    ]
)

# Of the scans; research archives hold little else.
_STRIPPED = 1 / 6
_FRAMED = 0.15  # of scans that are augmented, and of drawn pictures


def draw_negative(g: Generator, scans: Sequence[Picture]) -> tuple[str, NDArray[np.uint8]]:
    """Draw one picture that is no MRI: its kind, and uint8 ``[h, w]``.

    A quarter stand in a disc or window on black, as scans do, so that a dark surround tells
    nothing; some are blended, turned over, remapped, or cut to another shape.

    Args:
        g: Decides everything.
        scans: Real inputs, float32 ``[S, S]``, of which some are taken apart.
    """
    side = int(g.choice([96, 128, 160, 160, 192]))
    if g.random() < 0.45:
        taken = ORGANS if g.random() < 0.25 else SCANS
        kind = str(g.choice(list(taken)))
        picture = taken[kind](g, side)
    elif g.random() < 0.1 and len(scans):
        kind, picture = "scan taken apart", shuffled(g, scans[int(g.integers(len(scans)))])
    else:
        kind = str(g.choice(list(PICTURES)))
        picture = PICTURES[kind](g, side)
        if g.random() < 0.15:
            other, share = PICTURES[str(g.choice(list(PICTURES)))](g, side), g.uniform(0.3, 0.7)
            picture = picture * share + other * (1 - share)
        if g.random() < 0.25:
            picture = _windowed(g, picture)
        if g.random() < 0.5:
            picture = _cut(g, picture)
        if g.random() < 0.15:
            picture = 1 - picture
    if g.random() < 0.1:
        picture = _thumbnail(g, picture)
    picture = np.clip(picture, 0, 1) ** float(np.exp(g.uniform(-0.6, 0.6)))
    if g.random() < _FRAMED / 2:
        picture = np.array(picture, np.float32)
        _frame(g, picture[None])
    return kind, np.rint(picture * 255).astype(np.uint8)


def draw_negatives(count: int, scans: Sequence[Picture], spec: PreprocessSpec, seed: int) -> Inputs:
    """Return ``count`` drawn pictures as network inputs, float32 ``[count, C, S, S]``."""
    g = np.random.default_rng([seed, 1])
    return np.stack([preprocess(draw_negative(g, scans)[1], spec) for _ in range(count)])


def positives(
    inputs: Inputs, strata: Sequence[str], count: int, spec: PreprocessSpec, seed: int
) -> Inputs:
    """Return scans as network inputs ``[count + drawn heads, C, S, S]``.

    Rare strata (a source's views, say) are drawn more often than their share. One in six of the
    scans is stripped of its skull. Then a third are as they are, the others augmented roughly, some
    with burned-in letters. The drawn heads stand in for scans in self-tests, benchmarks and
    demonstrations.

    Args:
        inputs: Training scans, float32 ``[N, C, S, S]``.
        strata: Each scan's kind, ``[N]``.
        count: Scans to draw, all of them when there are fewer.
        spec: How the heads become inputs.
        seed: Decides everything.
    """
    g = np.random.default_rng([seed, 2])
    _, kind, sizes = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)
    share = sizes[kind] ** -0.5
    taken = min(count, len(inputs))
    rows = np.sort(g.choice(len(inputs), taken, replace=False, p=share / share.sum()))
    scans = np.array(inputs[rows])
    some = np.flatnonzero(g.random(len(scans)) < _STRIPPED)
    brains, made = stripped_inputs(scans[some], g, spec)
    scans[some[made]] = brains
    return np.concatenate([_roughened(scans, g, seed), _heads(spec)])


def known_negatives(inputs: Inputs, copies: int, seed: int) -> Inputs:
    """Return ``[copies * N, C, S, S]`` of real pictures that are no MRI, most of them augmented."""
    g = np.random.default_rng([seed, 4])
    return _roughened(np.concatenate([inputs] * copies), g, seed + 1)


def _roughened(inputs: Inputs, g: Generator, seed: int) -> Inputs:
    """Return a copy of which two thirds are augmented, some of these with burned-in letters."""
    scans = torch.from_numpy(np.array(inputs))
    rough = torch.arange(len(scans)) % 3 > 0
    generator = torch.Generator().manual_seed(seed)
    for some in torch.split(torch.nonzero(rough).flatten(), 32):
        changed = _ROUGH(Batch.unlabelled(scans[some]), generator).image
        white = changed.flatten(1).quantile(0.995, dim=1).clamp_min(1e-3)  # as preprocessing has it
        scans[some] = (changed / white[:, None, None, None]).clamp(0, 1)
    turned: Inputs = scans.numpy()
    for row in np.flatnonzero(rough.numpy()):
        if g.random() < 0.15:
            _burn_in(g, turned[row])
        if g.random() < _FRAMED:
            _frame(g, turned[row])
    return turned


def _heads(spec: PreprocessSpec) -> Inputs:
    drawn = [
        draw_phantom(seed, lesion=seed % 2 == 1, plane=plane).image
        for plane in get_args(Plane) for seed in range(100, 116)
    ]  # fmt: skip
    return np.stack([preprocess(picture, spec) for picture in drawn])


def _burn_in(g: Generator, scan: NDArray[np.float32]) -> None:
    """Write letters into a corner of an input ``[C, S, S]``, as viewers do."""
    side = scan.shape[-1]
    letters = np.zeros((side, side), np.uint8)
    corner = (int(g.choice([2, side * 2 // 3])), int(g.choice([10, side - 5])))
    words = "".join(g.choice(list("RLAPS 0123456789:."), int(g.integers(1, 9))))
    cv2.putText(letters, words, corner, cv2.FONT_HERSHEY_SIMPLEX, float(g.uniform(0.2, 0.5)), 255)
    np.maximum(scan, g.uniform(0.5, 1) * letters.astype(np.float32) / 255, out=scan)


def _frame(g: Generator, picture: NDArray[np.float32]) -> None:
    """Draw edges of a box around what is seen of ``[C, H, W]``, or fill what lies outside of them.

    So scans come from web pages and slides: not square, with a frame or the page in view, which
    the crop takes for a part of them.
    """
    tall, wide = picture.shape[1:]
    share, filled = float(g.uniform(0.7, 1)), g.random() < 0.4
    level, rest = float(g.choice([1.0, g.uniform(0.4, 1)])), (1 - share) / 2
    smaller = np.array([[share, 0, rest * wide], [0, share, rest * tall]])
    for channel in picture:
        channel[:] = cv2.warpAffine(channel, smaller, (wide, tall), flags=cv2.INTER_AREA)
    seen = (picture > 0.1).any(axis=0)
    for axis in (1, 2) if seen.any() else ():
        at = np.flatnonzero(seen.max(axis=2 - axis))
        low, high = int(g.integers(0, at[0] + 1)), int(g.integers(at[-1], picture.shape[axis]))
        width = picture.shape[axis] if filled else int(g.integers(1, 4))
        for start, stop in ((max(0, low - width), low), (high + 1, high + 1 + width)):
            if g.random() < 0.75:
                picture[(slice(None),) * axis + (slice(start, stop),)] = level


def _thumbnail(g: Generator, picture: Picture) -> Picture:
    """Show a picture as a small copy of it, enlarged again."""
    tall, wide = picture.shape
    side = int(g.integers(20, 60))
    small = cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (wide, tall), interpolation=cv2.INTER_CUBIC))


def _windowed(g: Generator, picture: Picture) -> Picture:
    """Show a picture through a soft disc or a rectangle on black."""
    side = picture.shape[0]
    window = np.zeros((side, side), np.float32)
    centre = tuple(int(v) for v in side * g.uniform(0.45, 0.55, 2))
    half = tuple(int(v) for v in side * g.uniform(0.25, 0.48, 2))
    if g.random() < 0.8:
        cv2.ellipse(window, centre, half, float(g.uniform(-30, 30)), 0, 360, 1.0, -1, cv2.LINE_AA)
    else:
        low, high = np.subtract(centre, half).tolist(), np.add(centre, half).tolist()
        cv2.rectangle(window, low, high, 1.0, -1)
    return picture * blurred(window, float(g.uniform(0.3, 4)))


def _cut(g: Generator, picture: Picture) -> Picture:
    """Cut a part of another shape out, a third to all of each side."""
    side = picture.shape[0]
    tall, wide = (max(60, int(v)) for v in side * g.uniform(0.35, 1, 2))
    top, left = int(g.integers(0, side - tall + 1)), int(g.integers(0, side - wide + 1))
    return picture[top : top + tall, left : left + wide]
