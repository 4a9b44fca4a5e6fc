"""Files that are recognised and not read: each is named, with what to do."""

from __future__ import annotations

import pytest

from tumorlens.errors import UnsupportedFormatError
from tumorlens.imaging.decode import decode


def container(major: bytes, *brands: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(brands)
    return (4 + len(body)).to_bytes(4, "big") + body + bytes(200)


@pytest.mark.parametrize(
    ("data", "named", "do"),
    [
        (container(b"heic", b"mif1", b"heic"), "HEIC", "PNG"),
        (container(b"mif1", b"mif1", b"heic"), "HEIC", "PNG"),
        (container(b"avif", b"avif", b"mif1"), "AVIF", "PNG"),
        (container(b"mif1", b"mif1", b"avif"), "AVIF", "PNG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "JPEG 2000", "PNG"),
        (b"\xff\x4f\xff\x51" + bytes(99), "JPEG 2000", "PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL", "PNG"),
        (b"\xff\x0a" + bytes(99), "JPEG XL", "PNG"),
        (b"II\xbc\x01" + bytes(99), "JPEG XR", "PNG"),
        (b"GIF89a" + bytes(99), "GIF", "PNG"),
        (b"%PDF-1.7" + bytes(99), "PDF", "DICOM or PNG"),
        (b"PK\x03\x04" + bytes(99), "zip", "unpack"),
        (b"BZh9" + bytes(99), "archive", "unpack"),
        (b"NRRD0005\n" + bytes(99), "NRRD", "NIfTI"),
        (b"ObjectType = Image\n" + bytes(99), "MetaImage", "NIfTI"),
        (bytes(344) + b"n+1\0" + bytes(99), "NIfTI", ".nii.gz"),
        (bytes(4) + b"n+2\0" + bytes(99), "NIfTI", ".nii.gz"),
        (b"an ordinary text", "not a JPEG", "PNG"),
        (container(b"isom", b"mp42"), "not a JPEG", "PNG"),
    ],
)
def test_the_refusal_names_the_format_and_what_to_do(data: bytes, named: str, do: str) -> None:
    with pytest.raises(UnsupportedFormatError, match=rf"^scan: .*{named}.*{do}"):
        decode(data, name="scan")
