"""Unique identifiers that a rerun repeats."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# PS3.5, B.2: below 2.25 stands an integer of 128 bits.
_ROOT = "2.25."
_VERSION, _VARIANT = 8, 0b10  # RFC 9562: a UUID of version 8 has bits of one's own


@dataclass(frozen=True)
class UidSource:
    """Makes the identifiers of the results of one series.

    The same images, model and plane give the same identifiers, and anything else gives others, so
    that an identifier never names two contents.

    Attributes:
        seed: SHA-256 in hexadecimal, from `uid_source`.
    """

    seed: str

    def uid(self, *parts: str | int) -> str:
        """Return the identifier of what ``parts`` name, such as ``("sr", "instance", 1)``."""
        text = "\0".join((self.seed, *map(str, parts)))
        value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
        value = value & ~(0xF << 76) | _VERSION << 76
        value = value & ~(0b11 << 62) | _VARIANT << 62
        return f"{_ROOT}{value}"


def uid_source(
    series_uid: str, images: tuple[str, ...], model_sha256: str, plane: str
) -> UidSource:
    """Return the source of identifiers for the results of one series.

    Args:
        series_uid: Series Instance UID.
        images: SOP Instance UIDs with the numbers of frames, in any order: a series may hold
            several stacks, and may be sent in parts.
        model_sha256: hash of the model file.
        plane: plane of the slices that were answered.
    """
    text = "\0".join((series_uid, model_sha256, plane, *sorted(images)))
    return UidSource(hashlib.sha256(text.encode()).hexdigest())
