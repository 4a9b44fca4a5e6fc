"""What readers of volumes raise on damaged files, found by fuzzing."""

from __future__ import annotations

import lzma
import zipfile

from tumorlens.imaging.raster import DECODER_ERRORS

READER_ERRORS: tuple[type[BaseException], ...] = (
    *DECODER_ERRORS, zipfile.BadZipFile, zipfile.LargeZipFile, lzma.LZMAError,
)  # fmt: skip
"""Of the standard library, NumPy and Pillow; zip files raise RuntimeError too (passwords)."""


def nibabel_errors() -> tuple[type[BaseException], ...]:
    """Return `READER_ERRORS` and nibabel's own, which have no common base."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.orientations import OrientationError
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError

    return (*READER_ERRORS, ImageFileError, OrientationError, HeaderDataError, HeaderTypeError)
