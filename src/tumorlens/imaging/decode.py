"""Read an `Image` from a path or bytes.

The format is detected from the content, never from the file name, and the size in the header is
checked before pixels are decoded. Thread-safe: no library's state is changed for longer than the
reading takes (`tumorlens.imaging.foreign`).
"""

from __future__ import annotations

from pathlib import Path

from tumorlens.errors import EmptyInputError, UnreadableFileError
from tumorlens.imaging.formats import REFUSALS, detect_format, gunzip, gunzip_start, refusal
from tumorlens.imaging.image import Image, Limits, Pixels

__all__ = ["Image", "Limits", "Pixels", "decode", "detect_format"]


def decode(
    source: str | Path | bytes, *, name: str | None = None, limits: Limits | None = None
) -> Image:
    """Read one image.

    JPEG, PNG, TIFF, BMP, WebP (grey, colour, palette, alpha; TIFF also as floating-point numbers)
    and single-frame DICOM, also in a gzip archive. Pixels equal those of OpenCV's ``imread`` in
    RGB order, except that 16-bit files stay 16-bit, pixels that are not square by the header are
    resampled, and a grey picture in one tint is grey. Alpha is composited on black, unless no
    pixel is more than half transparent: then it is ignored, as OpenCV does. The EXIF orientation
    is applied. A file with several pages or animation frames is refused, because choosing one
    silently may give the wrong slice; embedded thumbnails do not count.

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
    return _decode_as(detect_format(data), data, label, limits)


def _decode_as(file_format: str | None, data: bytes, name: str, limits: Limits) -> Image:
    if file_format == "gzip":
        inside = detect_format(gunzip_start(data))
        if inside != "dicom":
            raise refusal(name, "nifti" if inside == "nifti" else "gzip")
        file_format, data = inside, gunzip(data, name, limits)
    # Imported late: pydicom is slow to import.
    if file_format == "dicom":
        from tumorlens.imaging.dicom.decoding import decode_dicom

        return decode_dicom(data, name, limits)
    if file_format is None or file_format in REFUSALS:
        raise refusal(name, file_format)
    from tumorlens.imaging.pictures.raster import decode_raster

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
