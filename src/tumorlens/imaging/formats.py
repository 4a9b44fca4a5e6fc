"""The format of a file by its first bytes, and what to do with those that are not read."""

from __future__ import annotations

import struct
import zlib

from tumorlens.errors import DecodeError, TooLargeError, UnsupportedFormatError
from tumorlens.imaging.image import Limits

READABLE = "JPEG, PNG, TIFF, BMP, WebP or DICOM"

_MAGICS = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"GIF8", "gif"),
    (b"\x1f\x8b", "gzip"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"II\xbc\x01", "jxr"),
    (b"%PDF-", "pdf"),
    (b"8BPS", "psd"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\0", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),
    (b"NRRD000", "nrrd"),
    (b"ObjectType = Image", "mha"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
)  # fmt: skip
# Brands of the ISO base media file format (ISO/IEC 23008-12, annex B; AV1 Image File Format).
_BRANDS = {
    b"heic": "heic", b"heix": "heic", b"heim": "heic", b"heis": "heic", b"hevc": "heic",
    b"mif1": "heic", b"msf1": "heic", b"avif": "avif", b"avis": "avif",
}  # fmt: skip
_CONVERT = "convert it to NIfTI (.nii.gz) for tumorlens predict, or export a slice as PNG"
_START = 512
# What a file is that is recognised and not read, and what to do.
REFUSALS = {
    "gif": "a GIF file; export the slice as PNG",
    "heic": "a HEIC picture; convert it to PNG (open it in a viewer and export it)",
    "avif": "an AVIF picture; convert it to PNG (open it in a viewer and export it)",
    "jp2": "a JPEG 2000 picture; convert it to PNG, or give the DICOM file it comes from",
    "jxl": "a JPEG XL picture; convert it to PNG (djxl picture.jxl picture.png)",
    "jxr": "a JPEG XR picture; convert it to PNG",
    "pdf": "a PDF document; give the image itself, as DICOM or PNG",
    "psd": "a Photoshop document; export the slice as PNG",
    "zip": "a zip archive; unpack it and give the files in it",
    "archive": "a packed archive; unpack it and give the files in it",
    "hdf5": "an HDF5 file; export the slice as DICOM or PNG",
    "nifti": "a volume (NIfTI), not one slice; "
    "give a .nii or .nii.gz file to tumorlens predict, or export a slice as PNG",
    "nrrd": f"a volume (NRRD), not one slice; {_CONVERT}",
    "mha": f"a volume (MetaImage), not one slice; {_CONVERT}",
    "gzip": "a gzip archive of a file that is no DICOM image; unpack it (gunzip) and give the file",
}
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
# First group of a data set without the 128-byte preamble: file meta information or identification.
_DICOM_FIRST_GROUPS = frozenset({0x0002, 0x0008})


def detect_format(data: bytes) -> str | None:
    """Return the format of ``data`` from its first bytes, or None.

    ``jpeg png tiff bmp webp dicom`` are decoded; ``gzip`` is if it holds a DICOM file; the others
    are the keys of `REFUSALS`, detected for a helpful error message.
    """
    # First, because the preamble of a DICOM file may contain a TIFF header (PS3.10, 7.1).
    if data[128:132] == b"DICM":
        return "dicom"
    for magic, file_format in _MAGICS:
        if data.startswith(magic):
            return file_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    # Plain text may start with "BM" too, so the size of the second header must match.
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    if data[344:348] in (b"n+1\0", b"ni1\0") or data[4:8] == b"n+2\0":
        return "nifti"
    return "dicom" if _starts_as_dicom_dataset(data) else None


def refusal(name: str, file_format: str | None) -> UnsupportedFormatError:
    """Return the error for an input called ``name`` of a format that is not read."""
    if file_format is None:
        return UnsupportedFormatError(f"{name}: not a {READABLE} file; export the slice as PNG")
    return UnsupportedFormatError(f"{name}: {REFUSALS[file_format]}")


def gunzip_start(data: bytes) -> bytes:
    """Return the first bytes in a gzip archive, enough for `detect_format`; none if damaged."""
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, _START)
    except zlib.error:
        return b""


def gunzip(data: bytes, name: str, limits: Limits) -> bytes:
    """Return the content of a gzip archive.

    Raises:
        TooLargeError: more than ``limits.max_bytes`` when unpacked; no more are unpacked.
        DecodeError: truncated or damaged.
    """
    parts, size = [], 0
    try:
        while data.startswith(b"\x1f\x8b"):  # an archive may have several members
            member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            parts.append(member.decompress(data, limits.max_bytes + 1 - size))
            size += len(parts[-1])
            if size > limits.max_bytes:
                raise TooLargeError(
                    f"{name}: unpacks to more than the limit of {limits.max_bytes:,} bytes; "
                    "export the slice at a smaller size"
                )
            if not member.eof:
                raise DecodeError(f"{name}: the gzip archive is truncated; copy it again")
            data = member.unused_data
    except zlib.error as error:
        raise DecodeError(
            f"{name}: the gzip archive is damaged ({error}); copy it again"
        ) from error
    return b"".join(parts)


def _by_brand(data: bytes) -> str | None:
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))]
    # avif files also name the brand mif1, which comes first in some.
    found = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    return "avif" if "avif" in found else next(iter(found), None)


def _starts_as_dicom_dataset(data: bytes) -> bool:
    if len(data) < 8:
        return False
    group, element, value_length = struct.unpack("<HHI", data[:8])
    if group not in _DICOM_FIRST_GROUPS or element > 0x0100:
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return explicit or value_length < len(data)
