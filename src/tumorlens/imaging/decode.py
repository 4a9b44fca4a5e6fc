"""Read an `Image` from a path or bytes.

The format is detected from the content, never from the file name, and the size in the header is
checked before pixels are decoded. Thread-safe: no library's global state is changed.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tumorlens.errors import (
    EmptyInputError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.image import Image, Limits, Pixels

__all__ = ["Image", "Limits", "Pixels", "decode", "detect_format"]

READABLE = "JPEG, PNG, TIFF, BMP, WebP or DICOM"
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
# First group of a data set without the 128-byte preamble: file meta information or identification.
_DICOM_FIRST_GROUPS = frozenset({0x0002, 0x0008})


def decode(
    source: str | Path | bytes, *, name: str | None = None, limits: Limits | None = None
) -> Image:
    """Read one image.

    JPEG, PNG, TIFF, BMP, WebP (8 and 16 bit, grey, colour, palette, alpha) and single-frame
    DICOM. Pixels equal those of OpenCV's ``imread`` in RGB order, except that 16-bit files stay
    16-bit. Alpha is composited on black, unless no pixel is more than half transparent: then it
    is ignored, as OpenCV does. The EXIF orientation is applied. A file with several pages or
    animation frames is refused, because choosing one silently may give the wrong slice;
    embedded thumbnails do not count.

    Args:
        source: a path, or the file's content.
        name: name of the input in messages; by default the file's name, or ``upload``.
        limits: byte and pixel limits, checked before decoding; ``Limits()`` when None.

    Raises:
        UnreadableFileError: no such file, not a regular file, no permission.
        EmptyInputError: zero bytes.
        TooLargeError: over the byte limit, or the header announces too many pixels.
        UnsupportedFormatError: the content is in none of these formats.
        DecodeError: the right format, but truncated or damaged.
    """
    limits = limits or Limits()
    if isinstance(source, bytes):
        label, data = name or "upload", source
        limits.check_bytes(len(data), label)
    else:
        label = name or Path(source).name or str(source)
        data = _read(source, label, limits)
    if not data:
        raise EmptyInputError(
            f"{label}: the file is empty; check that it was saved or sent completely"
        )
    file_format = detect_format(data)
    if file_format is None:
        raise UnsupportedFormatError(f"{label}: not a {READABLE} file; export the slice as PNG")
    return _decode_as(file_format, data, label, limits)


def detect_format(data: bytes) -> str | None:
    """Return the format of ``data`` from its first bytes, or None.

    One of ``jpeg png tiff bmp webp dicom nifti gzip gif``; the last three are not decoded, only
    detected for a helpful error message.
    """
    # First, because the preamble of a DICOM file may contain a TIFF header (PS3.10, 7.1).
    if data[128:132] == b"DICM":
        return "dicom"
    for magic, file_format in (
        (b"\xff\xd8\xff", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0", "tiff"),
        (b"MM\0+", "tiff"),
        (b"GIF8", "gif"),
        (b"\x1f\x8b", "gzip"),
    ):
        if data.startswith(magic):
            return file_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    # Plain text may start with "BM" too, so the size of the second header must match.
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    if data[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    return "dicom" if _starts_as_dicom_dataset(data) else None


def _starts_as_dicom_dataset(data: bytes) -> bool:
    if len(data) < 8:
        return False
    group, element, value_length = struct.unpack("<HHI", data[:8])
    if group not in _DICOM_FIRST_GROUPS or element > 0x0100:
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return explicit or value_length < len(data)


def _decode_as(file_format: str, data: bytes, name: str, limits: Limits) -> Image:
    if file_format == "gif":
        raise UnsupportedFormatError(f"{name}: a GIF file; export the slice as PNG")
    if file_format in ("nifti", "gzip"):
        raise UnsupportedFormatError(
            f"{name}: a volume (NIfTI) or a gzip archive, not one slice; "
            "give a .nii or .nii.gz file to tumorlens predict, or export a slice as PNG"
        )
    # Imported late: pydicom is slow to import.
    if file_format == "dicom":
        from tumorlens.imaging.dicom import decode_dicom

        return decode_dicom(data, name, limits)
    from tumorlens.imaging.raster import decode_raster

    return Image(decode_raster(data, file_format, name, limits), file_format, name)


def _read(source: str | Path, name: str, limits: Limits) -> bytes:
    try:
        path = Path(source)
        size = path.stat().st_size
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise UnreadableFileError(f"{source}: {kind}; give the path of an image file")
        limits.check_bytes(size, name)
        with path.open("rb") as file:
            # One byte over the limit: the file may have grown since its size was checked.
            data = file.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{source}: no such file; check the path") from error
    except PermissionError as error:
        raise UnreadableFileError(
            f"{source}: permission denied; check the file's permissions"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise UnreadableFileError(f"{name}: cannot be read ({error}); check the path") from error
    limits.check_bytes(len(data), name)
    return data
