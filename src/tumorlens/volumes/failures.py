"""What readers of volumes raise on damaged files, found by fuzzing."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

READER_ERRORS: tuple[type[BaseException], ...] = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError,
    AttributeError, AssertionError, RuntimeError, MemoryError, struct.error, zlib.error, Warning,
    zipfile.BadZipFile, zipfile.LargeZipFile, lzma.LZMAError,
)  # fmt: skip
"""Of the standard library and NumPy; zip files raise RuntimeError too (passwords)."""


def nibabel_errors() -> tuple[type[BaseException], ...]:
    """Return `READER_ERRORS` and nibabel's own, which have no common base."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.orientations import OrientationError
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError

    return (*READER_ERRORS, ImageFileError, OrientationError, HeaderDataError, HeaderTypeError)
