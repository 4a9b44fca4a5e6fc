"""What an object is, read from the beginning of its file: no other element is looked at."""

from __future__ import annotations

import io
from dataclasses import dataclass

from tumorlens.imaging.foreign import foreign

HEADER_BYTES = 2**20  # in which the UIDs must be found
_LAST = 0x0020000E  # Series Instance UID


@dataclass(frozen=True)
class Identity:
    """UIDs of an object; empty where it has none."""

    sop_class: str
    sop_instance: str
    study: str
    series: str


def read_identity(content: bytes) -> Identity:
    """Read the UIDs of a file with preamble; raises `DecodeError`."""
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag

    names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    with foreign("object", "cannot be understood"):
        found = read_partial(
            io.BytesIO(content[:HEADER_BYTES]),
            stop_when=lambda tag, vr, length: tag > _LAST,
            specific_tags=[Tag(name) for name in names],
        )
        return Identity(*(str(found.get(name, "")).strip(" \0") for name in names))
