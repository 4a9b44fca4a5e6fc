"""The other file of a pair: header beside voxels, voxels beside header."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from tumorlens.errors import DecodeError
from tumorlens.volumes.contents import suffix_of
from tumorlens.volumes.source import Source, file_source

_PARTNERS = {
    ".hdr": (".img", ".img.gz"), ".hdr.gz": (".img.gz", ".img"),
    ".img": (".hdr", ".hdr.gz"), ".img.gz": (".hdr.gz", ".hdr"),
}  # fmt: skip


class Neighbours:
    """Finds files beside others: among those given, and on the disk; in any case of letters."""

    def __init__(self, given: Iterable[Source]) -> None:
        self._given = {each.name: each for each in given}
        self._lower = {name.lower(): each for name, each in self._given.items()}

    def is_given(self, source: Source) -> bool:
        """Whether ``source`` is among the files to be read."""
        return source.name in self._given

    def beside(self, source: Source, file_name: str) -> Source | None:
        """Return the file called ``file_name`` in the folder of ``source``, or None."""
        wanted = str(PurePath(source.name).with_name(file_name))
        found = self._given.get(wanted) or self._lower.get(wanted.lower())
        if found is not None or source.path is None:
            return found
        try:
            here = {each.name: each for each in source.path.parent.iterdir()}
        except OSError:
            return None
        lower = {name.lower(): path for name, path in here.items()}
        path = here.get(file_name) or lower.get(file_name.lower())
        if path is None or not path.is_file():
            return None
        return file_source(path, str(PurePath(source.name).with_name(path.name)))

    def partner(self, source: Source, missing: str) -> Source:
        """Return the other file of a NIfTI or Analyze pair.

        Raises `DecodeError` that says what is ``missing`` and how it would be called.
        """
        name, suffix = PurePath(source.name).name, suffix_of(source.name)
        stem = name[: len(name) - len(suffix)] if suffix else name
        suffixes = _PARTNERS.get(suffix, (".img", ".img.gz"))
        for each in suffixes:
            found = self.beside(source, stem + each)
            if found is not None:
                return found
        raise DecodeError(
            f"{source.name}: a pair of .hdr and .img without its {missing}: "
            f"{stem}{suffixes[0]} is missing beside it"
        )
