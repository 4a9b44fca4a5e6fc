"""Write a volume as NIfTI-1."""

from __future__ import annotations

import gzip
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def write_nifti(
    file: IO[bytes], data: NDArray[np.uint8], affine: NDArray[np.float64], description: str
) -> None:
    """Write uint8 ``[X, Y, Z]`` in RAS order to an open file, as ``.nii.gz``.

    Args:
        file: open for writing.
        data: the voxels.
        affine: float64 ``[4, 4]``: voxel indices to millimetres.
        description: at most 79 characters of ASCII.
    """
    import nibabel

    typed: Any = nibabel  # its classes are only partly typed
    image = typed.Nifti1Image(data, affine)
    image.header["descrip"] = description.encode("ascii")
    image.header.set_xyzt_units("mm")
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=4, mtime=0) as packed:
        packed.write(image.to_bytes())
