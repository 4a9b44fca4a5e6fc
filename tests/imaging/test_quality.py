"""What no brain MRI looks like is refused; every real slice and every phantom passes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.decode import decode
from tumorlens.imaging.image import Pixels
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.quality import Quality, assess
from tumorlens.volumes.discover import load_volume
from tumorlens.volumes.slices import head_extent, take_slice

HEAD = draw_phantom(0, lesion=False).image
NOISE = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
PAGE = np.full((300, 240), 250, np.uint8)
PAGE[40:260:12, 30:210] = 20
RAMP = np.tile(np.linspace(0, 255, 256).astype(np.uint8), (256, 1))
DOT = np.zeros((200, 200), np.uint8)
cv2.circle(DOT, (100, 100), 12, 255, -1)
DRAWING = np.zeros((200, 160), np.uint8)
for shrunk, grey in ((0, 250), (10, 90), (40, 140), (60, 60)):
    cv2.ellipse(DRAWING, (80, 100), (75 - shrunk, 95 - shrunk), 0, 0, 360, grey, -1)


def tinted(strength: float) -> NDArray[np.uint8]:
    return np.dstack([HEAD, HEAD * (1 - strength), HEAD * (1 - strength)]).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (HEAD[:47], "too small: 256 × 47"),
        (np.zeros((99, 99), np.uint8), "blank"),
        (np.full((99, 99), 200, np.uint8), "blank"),
        (np.full((99, 99), 7e4, np.float32), "blank"),
        (tinted(0.6), "a colour"),
        (NOISE, "a colour"),
        (NOISE[..., 0], "noise"),
        (PAGE, "no dark background"),
        (255 - HEAD, "no dark background"),
        (DOT, "almost empty"),
        (RAMP, "a smooth gradient"),
        (DRAWING, "a drawing"),
        (DRAWING.astype(np.uint16) * 20 + 300, "a drawing"),
        (cv2.resize(DRAWING, None, fx=4, fy=4), "a drawing"),
    ],
)
def test_refused(pixels: Pixels, reason: str) -> None:
    quality = assess(pixels)
    assert not quality.usable
    assert quality.reason is not None
    assert quality.reason.startswith(reason)


@pytest.mark.parametrize(
    "pixels",
    [HEAD, np.dstack([HEAD] * 3), tinted(0.1), HEAD.astype(np.uint16) * 16,
     HEAD.astype(np.float32) - 300, cv2.resize(HEAD, (48, 48)), cv2.resize(HEAD, (700, 300)),
     HEAD // 4, HEAD // 16 * 16, HEAD.repeat(8, axis=0).repeat(8, axis=1)],
    ids=["grey", "rgb", "faint tint", "12 bit", "float", "small", "stretched", "dim", "16 greys",
         "enlarged"],
)  # fmt: skip
def test_usable_whatever_the_type_size_and_brightness(pixels: Pixels) -> None:
    assert assess(pixels) == Quality(True, None)


def test_every_phantom_is_usable() -> None:
    for plane in get_args(Plane):
        for seed in range(10):
            image = draw_phantom(seed, lesion=seed % 2 == 0, size=128, plane=plane).image
            assert assess(image).usable, (plane, seed)


@pytest.mark.real
@pytest.mark.slow
def test_every_real_slice_is_usable(data_root: Path) -> None:
    refused = {}
    with (data_root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            quality = assess(decode(data_root / row["path"]).pixels)
            if not quality.usable:
                refused[row["path"]] = quality.reason
    for path in sorted((data_root / "volumes").glob("*.nii.gz")):
        volume = load_volume(path)
        for plane in get_args(Plane):
            first, last = head_extent(volume, plane)
            for share in (0.3, 0.5, 0.7):
                index = round(first + share * (last - first))
                if not assess(take_slice(volume, plane, index)).usable:
                    refused[path.name] = f"{plane} {index}"
    assert not refused
