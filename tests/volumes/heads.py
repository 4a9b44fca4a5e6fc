"""Drawn heads written in the ways of many programs."""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from tumorlens.volumes.phantom import draw_phantom_volume

# All ways to name three axes: 48, of which 24 keep the handedness; both are written in practice.
CODES = [
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in itertools.permutations(("RL", "AP", "SI"))
    for flips in itertools.product((0, 1), repeat=3)
]


@lru_cache(maxsize=1)
def head() -> NDArray[np.uint8]:
    """Return a small head, uint8 ``[X, Y, Z]`` in RAS order, voxels of 6 × 7 × 12 mm."""
    return draw_phantom_volume(5, lesion=True, spacing_mm=(6.0, 7.0, 12.0)).volume.data


SPACING = (6.0, 7.0, 12.0)
AFFINE = np.diag([*SPACING, 1.0])
AFFINE[:3, 3] = (-90, -110, -100)


def save(path: Path, data: NDArray[Any], affine: NDArray[Any] = AFFINE, **header: Any) -> Path:
    """Write NIfTI-1 by the suffix; ``header`` sets fields in the written bytes."""
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return set_fields(path, **header) if header else path


def set_fields(path: Path, **fields: Any) -> Path:
    """Overwrite fields of an uncompressed NIfTI-1 header as they are, right or wrong."""
    content = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(bytes(content))
    return path


def reoriented(data: NDArray[Any], affine: NDArray[Any], codes: str) -> Any:
    """Return the same scan as an image stored in another order of axes."""
    orientations = nibabel.orientations
    return nibabel.Nifti1Image(data, affine).as_reoriented(
        orientations.ornt_transform(
            orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes)
        )
    )
