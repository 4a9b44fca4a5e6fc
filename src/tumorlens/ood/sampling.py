"""What the OOD head is fitted on: augmented MRI slices, and images that are no brain MRI."""

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
from tumorlens.ood.negatives.modalities import MODALITIES
from tumorlens.ood.negatives.radiology import RADIOLOGY, disassembled
from tumorlens.ood.negatives.scenes import NATURAL
from tumorlens.ood.negatives.textures import GreyImage, gaussian_blur, text_mask

Inputs = NDArray[np.float32]

# Stronger than in training: nothing that is still an MRI slice may be refused.
_AUGMENTATION = Compose(
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
_SKULL_STRIPPED_SHARE = 1 / 6  # of the scans; many research archives publish only such slices
_FRAME_PROB = 0.15  # of augmented scans; half of it for synthetic negatives


def synthetic_negative(g: Generator, mri: Sequence[GreyImage]) -> tuple[str, NDArray[np.uint8]]:
    """Return a synthetic image that is no brain MRI: its kind, and uint8 ``[h, w]``.

    A quarter of the natural ones are masked to a disc or rectangle on black, as scans are, so that
    a dark background alone means nothing; some are blended, inverted, remapped or cropped.

    Args:
        g: Determines everything.
        mri: Real inputs, float32 ``[S, S]``, some of which are disassembled.
    """
    side = int(g.choice([96, 128, 160, 160, 192]))
    if g.random() < 0.45:
        medical = MODALITIES if g.random() < 0.25 else RADIOLOGY
        kind = str(g.choice(list(medical)))
        image = medical[kind](g, side)
    elif g.random() < 0.1 and len(mri):
        kind, image = "disassembled MRI", disassembled(g, mri[int(g.integers(len(mri)))])
    else:
        kind = str(g.choice(list(NATURAL)))
        image = NATURAL[kind](g, side)
        if g.random() < 0.15:
            other, share = NATURAL[str(g.choice(list(NATURAL)))](g, side), g.uniform(0.3, 0.7)
            image = image * share + other * (1 - share)
        if g.random() < 0.25:
            image = _masked(g, image)
        if g.random() < 0.5:
            image = _cropped(g, image)
        if g.random() < 0.15:
            image = 1 - image
    if g.random() < 0.1:
        image = _low_resolution(g, image)
    image = np.clip(image, 0, 1) ** float(np.exp(g.uniform(-0.6, 0.6)))
    if g.random() < _FRAME_PROB / 2:
        image = np.array(image, np.float32)
        _add_frame(g, image[None])
    return kind, np.rint(image * 255).astype(np.uint8)


def synthetic_negatives(
    count: int, mri: Sequence[GreyImage], spec: PreprocessSpec, seed: int
) -> Inputs:
    """Return ``count`` synthetic images as network inputs, float32 ``[count, C, S, S]``."""
    g = np.random.default_rng([seed, 1])
    return np.stack([preprocess(synthetic_negative(g, mri)[1], spec) for _ in range(count)])


def augmented_negatives(inputs: Inputs, copies: int, seed: int) -> Inputs:
    """Return ``[copies * N, C, S, S]`` of real images that are no brain MRI, most augmented."""
    g = np.random.default_rng([seed, 4])
    return _augmented(np.concatenate([inputs] * copies), g, seed + 1)


def positives(
    inputs: Inputs, strata: Sequence[str], count: int, spec: PreprocessSpec, seed: int
) -> Inputs:
    """Return MRI slices as network inputs ``[count + phantoms, C, S, S]``.

    Rare strata (a source's views, say) are sampled more often than their share. One in six of the
    scans is skull-stripped. Then a third stay as they are and the others are augmented, some with
    text or a frame. The phantoms stand in for scans in self-tests, benchmarks and demonstrations.

    Args:
        inputs: Training scans, float32 ``[N, C, S, S]``.
        strata: Each scan's stratum, ``[N]``.
        count: Scans to sample, all of them when there are fewer.
        spec: How the phantoms become inputs.
        seed: Determines everything.
    """
    g = np.random.default_rng([seed, 2])
    _, stratum, sizes = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)
    weights = sizes[stratum] ** -0.5
    n = min(count, len(inputs))
    rows = np.sort(g.choice(len(inputs), n, replace=False, p=weights / weights.sum()))
    scans = np.array(inputs[rows])
    some = np.flatnonzero(g.random(len(scans)) < _SKULL_STRIPPED_SHARE)
    brains, found = stripped_inputs(scans[some], g, spec)
    scans[some[found]] = brains
    return np.concatenate([_augmented(scans, g, seed), _phantoms(spec)])


def _augmented(inputs: Inputs, g: Generator, seed: int) -> Inputs:
    """Return a copy of which two thirds are augmented, some of these with text or a frame."""
    scans = torch.from_numpy(np.array(inputs))
    chosen = torch.arange(len(scans)) % 3 > 0
    generator = torch.Generator().manual_seed(seed)
    for rows in torch.split(torch.nonzero(chosen).flatten(), 32):
        changed = _AUGMENTATION(Batch.unlabelled(scans[rows]), generator).image
        white = changed.flatten(1).quantile(0.995, dim=1).clamp_min(1e-3)  # as preprocessing does
        scans[rows] = (changed / white[:, None, None, None]).clamp(0, 1)
    augmented: Inputs = scans.numpy()
    for row in np.flatnonzero(chosen.numpy()):
        if g.random() < 0.15:
            _add_text(g, augmented[row])
        if g.random() < _FRAME_PROB:
            _add_frame(g, augmented[row])
    return augmented


def _phantoms(spec: PreprocessSpec) -> Inputs:
    images = [
        draw_phantom(seed, lesion=seed % 2 == 1, plane=plane).image
        for plane in get_args(Plane) for seed in range(100, 116)
    ]  # fmt: skip
    return np.stack([preprocess(image, spec) for image in images])


def _add_text(g: Generator, scan: NDArray[np.float32]) -> None:
    """Write letters into a corner of an input ``[C, S, S]``, as viewers do."""
    side = scan.shape[-1]
    corner = (int(g.choice([2, side * 2 // 3])), int(g.choice([10, side - 5])))
    text = "".join(g.choice(list("RLAPS 0123456789:."), int(g.integers(1, 9))))
    letters = text_mask(side, text, corner, float(g.uniform(0.2, 0.5)))
    np.maximum(scan, np.float32(g.uniform(0.5, 1)) * letters, out=scan)


def _add_frame(g: Generator, image: NDArray[np.float32]) -> None:
    """Draw edges of a box around the visible part of ``[C, H, W]``, or fill what lies outside.

    Scans from web pages and slides look like this: not square, with a frame or the page in view,
    which cropping takes for a part of them.
    """
    height, width = image.shape[1:]
    share, filled = float(g.uniform(0.7, 1)), g.random() < 0.4
    level, margin = float(g.choice([1.0, g.uniform(0.4, 1)])), (1 - share) / 2
    smaller = np.array([[share, 0, margin * width], [0, share, margin * height]])
    for channel in image:
        channel[:] = cv2.warpAffine(channel, smaller, (width, height), flags=cv2.INTER_AREA)
    visible = (image > 0.1).any(axis=0)
    for axis in (1, 2) if visible.any() else ():
        at = np.flatnonzero(visible.max(axis=2 - axis))
        low, high = int(g.integers(0, at[0] + 1)), int(g.integers(at[-1], image.shape[axis]))
        line = image.shape[axis] if filled else int(g.integers(1, 4))
        for start, stop in ((max(0, low - line), low), (high + 1, high + 1 + line)):
            if g.random() < 0.75:
                image[(slice(None),) * axis + (slice(start, stop),)] = level


def _low_resolution(g: Generator, image: GreyImage) -> GreyImage:
    """Downsample an image to a thumbnail and back."""
    height, width = image.shape
    side = int(g.integers(20, 60))
    small = cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def _masked(g: Generator, image: GreyImage) -> GreyImage:
    """Set an image to black outside a soft disc or rectangle."""
    side = image.shape[0]
    mask = np.zeros((side, side), np.float32)
    centre = tuple(int(v) for v in side * g.uniform(0.45, 0.55, 2))
    half = tuple(int(v) for v in side * g.uniform(0.25, 0.48, 2))
    if g.random() < 0.8:
        cv2.ellipse(mask, centre, half, float(g.uniform(-30, 30)), 0, 360, 1.0, -1, cv2.LINE_AA)
    else:
        low, high = np.subtract(centre, half).tolist(), np.add(centre, half).tolist()
        cv2.rectangle(mask, low, high, 1.0, -1)
    return image * gaussian_blur(mask, float(g.uniform(0.3, 4)))


def _cropped(g: Generator, image: GreyImage) -> GreyImage:
    """Crop to another aspect ratio, a third to all of each side."""
    side = image.shape[0]
    height, width = (max(60, int(v)) for v in side * g.uniform(0.35, 1, 2))
    top, left = int(g.integers(0, side - height + 1)), int(g.integers(0, side - width + 1))
    return image[top : top + height, left : left + width]
