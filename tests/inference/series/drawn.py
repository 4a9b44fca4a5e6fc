"""A model that finds bright balls, and volumes with some in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.metrics.decision import Threshold
from tumorlens.modelfile import Pooling, write_model
from tumorlens.volumes.volume import Volume

SPEC = PreprocessSpec(size=128)
SHAPE = (96, 112, 80)
SPACING = (2.0, 2.0, 2.0)
SIDES = ("left", "right", "midline")


def write_bright_model(path: Path, **changes: Any) -> Path:
    """Write a model whose map is high where 8 × 8 pixels are bright, its logit the two largest.

    ``map = 20 * mean - 14``: a head of grey 0.4 gives -6, a ball of 1.0 gives 6.
    """
    content = tiny_onnx(SPEC, gain=20.0, offset=-14.0, top_k=2)
    card = tiny_card(
        content,
        SPEC,
        **({"pooling": Pooling(kind="topk", k=2), "temperature": 1.0, "conformal": None,
            "threshold": Threshold(value=0.5, target=None, origin="drawn", n=0)} | changes),
    )  # fmt: skip
    write_model(content, card, path)
    return path


def head(
    *balls: tuple[Sequence[float], float], shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> Volume:  # fmt: skip
    """Return an even grey ellipsoid with bright balls, ``(centre mm, radius mm)``.

    Centres are measured from the middle of the volume, towards right, front and up.
    """
    axes = [(np.arange(n) + 0.5 - n / 2) * side for n, side in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    half = [n * side / 2 * 0.86 for n, side in zip(shape, spacing, strict=True)]
    data = np.zeros(shape, np.uint8)
    radius = np.sqrt((x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2)
    inside = radius < 1
    data[inside] = 90 + (np.arange(int(inside.sum())) % 13).astype(np.uint8)
    # Specks, so that every slice has the same grey levels.
    data[inside & (np.random.default_rng(0).random(shape) < 0.02)] = 250
    for centre, size in balls:
        distance = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
        data[distance < size] = 250
    return Volume.aligned(data, spacing, "drawn")


def save(path: Path, volume: Volume) -> Path:
    """Write a volume as NIfTI."""
    nibabel.save(nibabel.Nifti1Image(volume.data, volume.affine), path)
    return path


def blank_but(volume: Volume, keep: NDArray[np.bool_]) -> Volume:
    """Return the volume with nothing outside ``keep`` ``[X, Y, Z]``."""
    return replace(volume, data=np.where(keep, volume.data, 0).astype(volume.data.dtype))
