"""Fingerprints of records, cached on disk by the file's hash."""

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

# Part of the file's name: caches of different algorithms are incompatible.
_ALGORITHM = "dhash-16x16-v3"
_WORDS = 4
# Raised by NumPy for other files: not an archive, a single array, or other members.
_LOAD_ERRORS = (ValueError, TypeError, KeyError)
_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Return the folder of cached results.

    ``$TUMORLENS_CACHE``, else ``$XDG_CACHE_HOME/tumorlens``, else ``~/.cache/tumorlens``.
    """
    if folder := os.environ.get("TUMORLENS_CACHE"):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tumorlens"


class FingerprintCache:
    """Fingerprints by the SHA-256 of their file, without names and pixels.

    The cache file may be deleted at any time; a damaged one is replaced, and one that cannot be
    written is not an error.
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
            new = fingerprint(decode(raw, name=name))
            bits = self._bits[digest] = np.stack([new.bits, new.whole_bits])
        return Fingerprint(digest, bits[0], bits[1])

    def save(self) -> None:
        """Write new entries, atomically."""
        if len(self._bits) == self._stored:
            return
        # Merge entries that another process has saved in the meantime.
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
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                digests, bits = stored["sha256"], stored["bits"]
        except (OSError, EOFError, zipfile.BadZipFile, *_LOAD_ERRORS) as error:
            _log.warning("%s: damaged, fingerprints are computed again (%s)", self.path, error)
            return {}
        if bits.dtype != np.uint64 or bits.shape != (len(digests), 2, POSES, _WORDS):
            _log.warning("%s: not a fingerprint cache, fingerprints are computed again", self.path)
            return {}
        return {d.decode(): b for d, b in zip(digests, bits, strict=True)}


def fingerprint_records(
    records: Sequence[Record], cache: FingerprintCache | None = None
) -> list[Fingerprint | None]:
    """Fingerprint each record's file; None for slices of volumes, which are grouped by patient.

    Raises:
        InputError: a file cannot be read (the audit lists all such files).
    """
    cache = FingerprintCache() if cache is None else cache
    prints = [
        None if record.is_slice else cache.get(read_bytes(record.path), str(record.path))
        for record in records
    ]
    cache.save()
    return prints


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        UnreadableFileError: missing file or no permission.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror})") from error
