"""The files of a request: uploaded ones, and the members of uploaded zip archives.

Archives are untrusted: the size of the directory, the number of members and their uncompressed
sizes are limited before and while they are read, in memory, one at a time.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tumorlens.serving.problems import ProblemError
from tumorlens.serving.settings import Settings
from tumorlens.serving.uploads.form import Upload

Load = Callable[[], bytes]

_END = b"PK\x05\x06"
_END_SIZE = 22
_MAX_COMMENT = 65_535
# Limit of a directory entry, which is 46 bytes and the member's name.
_ENTRY_BYTES = 4096
# Python decompresses these in pieces, but bzip2 and LZMA at once: a few kilobytes of bzip2 may
# become gigabytes.
_BOUNDED = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


@dataclass(frozen=True)
class Member:
    """A file of a request.

    Attributes:
        name: its name in the archive, which may hold a patient's name; "" for a file of the form.
        size: bytes, unpacked.
        load: reads it; raises its problem.
    """

    name: str
    size: int
    load: Load


@dataclass
class _Allowance:
    """Uncompressed bytes that the archives of one request may still have."""

    left: int


def images(uploads: Iterable[Upload], settings: Settings) -> Iterator[Load]:
    """Yield a function for each image that reads its bytes.

    Raises the 413 problem for more images than a batch may have, and the 422 problem for an
    archive that cannot be read; problems of a member are raised by its function.
    """
    most, largest = settings.batch_max_files, settings.max_upload_bytes
    for member in files(uploads, most, largest, settings.batch_max_bytes):
        yield member.load


def files(
    uploads: Iterable[Upload], max_files: int, max_bytes: int, all_bytes: int
) -> Iterator[Member]:
    """Yield each file, in order.

    Raises as `images`.

    Args:
        uploads: the files of the form.
        max_files: most files.
        max_bytes: largest member of an archive, unpacked.
        all_bytes: largest sum of all members, unpacked.
    """
    allowance = _Allowance(all_bytes)
    count = 0
    for upload in uploads:
        for member in _members(upload, max_files, max_bytes, allowance):
            count += 1
            if count > max_files:
                raise ProblemError("too-large", f"The request has more than {max_files} files.")
            yield member


def _members(
    upload: Upload, max_files: int, max_bytes: int, allowance: _Allowance
) -> Iterable[Member]:
    data = upload.data
    if not data.startswith((b"PK\x03\x04", _END)):
        return [Member("", len(data), upload.take)]
    _check_directory(data, max_files)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = [member for member in archive.infolist() if _is_image(member)]
    except (zipfile.BadZipFile, UnicodeDecodeError, ValueError, NotImplementedError) as exc:
        raise ProblemError("not-decodable", "The zip archive is damaged.") from exc
    if not members:
        raise ProblemError("empty-file", "The zip archive holds no file.")
    return [
        Member(each.filename, each.file_size, _loader(archive, each, max_bytes, allowance))
        for each in members
    ]


def _is_image(member: zipfile.ZipInfo) -> bool:
    # File managers add hidden files, which are skipped.
    name = member.filename.rsplit("/", 1)[-1]
    return not (member.is_dir() or name.startswith(".") or "__MACOSX/" in member.filename)


def _check_directory(data: bytearray, max_files: int) -> None:
    """Refuse a directory so large that reading it would take too much memory and time."""
    start = data.rfind(_END, max(0, len(data) - _END_SIZE - _MAX_COMMENT))
    if start < 0 or len(data) < start + _END_SIZE:
        raise ProblemError("not-decodable", "The zip archive is truncated.")
    count, size = struct.unpack_from("<HI", data, start + 10)
    if (
        count == 0xFFFF
        or size > max_files * _ENTRY_BYTES
        or b"PK\x06\x07" in data[start - 20 : start]
    ):
        raise ProblemError("too-large", f"The zip archive holds more than {max_files} files.")


def _loader(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int, allowance: _Allowance
) -> Load:
    # Checked here, in the archive's order, so that the result does not depend on the threads.
    size = member.file_size
    if member.compress_type not in _BOUNDED:
        return _refuse_packing
    if size > min(max_bytes, allowance.left):
        return _refuse_large
    allowance.left -= size

    def load() -> bytes:
        try:
            with archive.open(member) as file:
                # zipfile returns at most the declared size, whatever the member holds.
                return file.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as exc:
            raise ProblemError("not-decodable", "This member of the zip is damaged.") from exc
        except (NotImplementedError, RuntimeError) as exc:
            # Encrypted members or patch data, for which zipfile has no specific exceptions.
            detail = "This member of the zip is encrypted, or of an unknown kind."
            raise ProblemError("unsupported-format", detail) from exc

    return load


def _refuse_packing() -> bytes:
    detail = "This member of the zip uses another compression than deflate."
    raise ProblemError("unsupported-format", detail)


def _refuse_large() -> bytes:
    raise ProblemError("too-large", "This member of the zip is larger, uncompressed, than allowed.")
