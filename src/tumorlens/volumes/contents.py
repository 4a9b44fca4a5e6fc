"""What a file is, told from its content; the suffix only helps where there is no magic number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from tumorlens.errors import DecodeError, UnsupportedFormatError
from tumorlens.imaging.decode import detect_format
from tumorlens.imaging.foreign import foreign
from tumorlens.volumes.source import HEAD, Source, unpacked

HeaderKind = Literal["nifti1", "nifti1_pair", "nifti2", "nifti2_pair", "analyze", "mgh"]
Kind = Literal["volume", "itk", "dicom", "zip", "picture", "half"]

# Magic number → what it is and what to do.
_FOREIGN = (
    (b"CDF\x01", "a MINC or netCDF file; convert it to NIfTI (mnc2nii)"),
    (b"CDF\x02", "a MINC or netCDF file; convert it to NIfTI (mnc2nii)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 or MINC-2 file; convert it to NIfTI (mnc2nii)"),
)  # fmt: skip
_ITK_MAGIC = (b"NRRD000",)
_META_KEYS = (b"objecttype", b"ndims", b"comment", b"id ")
_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz", ".mgh", ".mgz",
                    ".mha", ".mhd", ".nrrd", ".nhdr")  # fmt: skip
_MGH_TYPES = (0, 1, 3, 4, 10)
_TAR_MAGIC = b"ustar"


@dataclass(frozen=True)
class Content:
    """What `look_at` found.

    Attributes:
        kind: ``volume`` (a header that nibabel parses), ``itk`` (MetaImage or NRRD), ``dicom``,
            ``zip``, ``half`` (named ``.img``, without a header in it) or ``picture`` (all else).
        head: first bytes, decompressed.
        packed: whether the file is compressed as a whole, by gzip.
        header: for ``volume``, the kind of header.
    """

    kind: Kind
    head: bytes
    header: HeaderKind | None = None
    packed: bool = False


def look_at(source: Source) -> Content:
    """Read a file's first bytes and tell its kind.

    Raises:
        UnsupportedFormatError: a format or archive that is not read; named as a volume, but none.
        Exception: what opening it raises; call it inside `foreign`.
    """
    with source.open() as stream:
        packed_head = stream.read(HEAD)
        stream.seek(0)
        try:
            with foreign(source.name, "damaged"):
                head = unpacked(stream).read(HEAD)
        except DecodeError:
            head = packed_head  # a damaged archive is told by whoever reads all of it
    _refuse_foreign(head, source.name)
    suffix = suffix_of(source.name)
    header = header_kind(head, named_hdr=suffix in (".hdr", ".hdr.gz"))
    if header is not None:
        return Content("volume", head, header)
    if head.startswith(_ITK_MAGIC) or _is_meta(head):
        return Content("itk", head)
    if packed_head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return Content("zip", packed_head)
    found = detect_format(packed_head)
    if found == "dicom" or head[128:132] == b"DICM":
        return Content("dicom", head, packed=packed_head[:2] == b"\x1f\x8b")
    if suffix in (".img", ".img.gz") and found in (None, "gzip"):
        return Content("half", head)
    if suffix and found is None and len(packed_head):
        raise UnsupportedFormatError(
            f"{source.name}: named {suffix}, but not a NIfTI, Analyze, MGH, MetaImage or NRRD "
            "volume; export it as .nii.gz"
        )
    return Content("picture", packed_head)


def header_kind(head: bytes, *, named_hdr: bool) -> HeaderKind | None:
    """Return the kind of header from a file's first (decompressed) bytes.

    Analyze has no magic number, so it is only recognised in a file that is ``named_hdr``.
    """
    if head[344:348] == b"n+1\0":
        return "nifti1"
    if head[344:348] == b"ni1\0":
        return "nifti1_pair"
    if head[4:8] == b"n+2\0":
        return "nifti2"
    if head[4:8] == b"ni2\0":
        return "nifti2_pair"
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and named_hdr and len(head) >= 348:
        return "analyze"
    if len(head) >= 90 and head[:4] == b"\0\0\0\x01":
        *dims, kind = (int.from_bytes(head[at : at + 4], "big") for at in range(4, 24, 4))
        if kind in _MGH_TYPES and all(0 < side < 2**24 for side in dims):
            return "mgh"
    return None


def suffix_of(name: str) -> str:
    """Return the longest suffix of a volume that ``name`` ends with, in lower case, or ""."""
    lower = PurePath(name).name.lower()
    return max((each for each in _VOLUME_SUFFIXES if lower.endswith(each)), key=len, default="")


def _refuse_foreign(head: bytes, name: str) -> None:
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise UnsupportedFormatError(f"{name}: {what}")
    if head[257:262] == _TAR_MAGIC:
        raise UnsupportedFormatError(f"{name}: a tar archive; unpack it, or make a zip archive")


def _is_meta(head: bytes) -> bool:
    """Whether ``head`` is a MetaImage header: lines of ``Key = value``, ``NDims`` among them."""
    lines = head[:2048].lower().split(b"\n")
    keys = [line.partition(b"=")[0].strip() for line in lines if b"=" in line]
    return bool(keys) and lines[0].startswith(_META_KEYS) and b"ndims" in keys
