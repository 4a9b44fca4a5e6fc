"""Fingerprints of many records, each computed once and cached on disk by the file's hash."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorlens.atomic import atomic_file
from tumorlens.data.manifest import Record
from tumorlens.errors import OutputError, UnreadableFileError
from tumorlens.imaging.decode import decode
from tumorlens.imaging.fingerprint import POSES, Fingerprint, fingerprint

# Part of the file's name: a changed hash must not meet bits of the old one.
_ALGORITHM = "dhash-16x16-v2"
_WORDS = 4
# What NumPy raises for a file that is no archive, an array, or an archive of something else.
_NOT_OURS = (ValueError, TypeError, KeyError)
_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Where TumorLens keeps what it can compute again.

    ``$TUMORLENS_CACHE``, else ``$XDG_CACHE_HOME/tumorlens``, else ``~/.cache/tumorlens``.
    """
    if own := os.environ.get("TUMORLENS_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tumorlens"


class FingerprintCache:
    """Bits of fingerprints by the SHA-256 of the file they were made from.

    Holds no names and no pixels. Deleting the file costs time and nothing else; a damaged one is
    replaced, and where the folder cannot be written the fingerprints are computed again next time.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """Open the cache at ``path`` (a ``.npz``), by default in `cache_dir`."""
        self.path = Path(path) if path else cache_dir() / f"fingerprints-{_ALGORITHM}.npz"
        # By digest: uint64 [2, 8, 4], the bits of the head and of the whole image.
        self._bits = self._load()
        self._stored = len(self._bits)

    def __len__(self) -> int:
        return len(self._bits)

    def get(self, raw: bytes, name: str) -> Fingerprint:
        """Return the fingerprint of a file with the content ``raw``, decoded only if new."""
        digest = hashlib.sha256(raw).hexdigest()
        bits = self._bits.get(digest)
        if bits is None:
            made = fingerprint(decode(raw, name=name))
            bits = self._bits[digest] = np.stack([made.bits, made.whole_bits])
        return Fingerprint(digest, bits[0], bits[1])

    def save(self) -> None:
        """Write what is new; a reader sees the old file or the new one, never half of one."""
        if len(self._bits) == self._stored:
            return
        # Another process may have saved since: keep its entries too.
        self._bits = {**self._load(), **self._bits}
        digests = sorted(self._bits)
        try:
            with atomic_file(self.path, parents=True) as file:
                np.savez(
                    file,
                    sha256=np.array(digests, "S64"),
                    bits=np.stack([self._bits[digest] for digest in digests]),
                )
        except OutputError as error:
            _log.warning("fingerprints are not cached for the next run: %s", error)
            return
        self._stored = len(self._bits)

    def _load(self) -> dict[str, NDArray[np.uint64]]:
        if not self.path.is_file():
            return {}
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                digests, bits = kept["sha256"], kept["bits"]
        except (OSError, EOFError, zipfile.BadZipFile, *_NOT_OURS) as error:
            _log.warning("%s: damaged, fingerprints are computed again (%s)", self.path, error)
            return {}
        if bits.dtype != np.uint64 or bits.shape != (len(digests), 2, POSES, _WORDS):
            _log.warning("%s: not a fingerprint cache, fingerprints are computed again", self.path)
            return {}
        return {d.decode(): b for d, b in zip(digests, bits, strict=True)}


def fingerprint_records(
    records: Sequence[Record], cache: FingerprintCache | None = None
) -> list[Fingerprint | None]:
    """Fingerprint each record's file; slices of volumes give None (they are grouped by patient).

    Raises:
        InputError: a file cannot be read; the audit finds all such files at once.
    """
    cache = FingerprintCache() if cache is None else cache
    found = [
        None if record.is_slice else cache.get(read_bytes(record.path), str(record.path))
        for record in records
    ]
    cache.save()
    return found


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        UnreadableFileError: it is missing or may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror})") from error
