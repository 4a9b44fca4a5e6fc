"""What a job works on: files, series, rows of tables and archives, as plain values.

An item is small, says where its bytes are and what would tell that they changed, and travels to
other processes and machines as JSON. `Shard` is a run of items that are answered and written
together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from tumorlens.errors import ConfigError

Packing = Literal["file", "tar", "zip"]
# Files called like this are one image or one volume each; all others may be parts of something.
_ALONE = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".nii",
          ".nii.gz", ".mgh", ".mgz", ".nrrd", ".mha")  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileItem:
    """One file, or one member of an archive.

    Attributes:
        name: what the results call it.
        location: absolute path or URL of the file, or of the archive that it is in.
        size: bytes, unpacked.
        stamp: changes when the file does: time of modification, ETag or the like.
        packing: ``file``; ``tar``: ``size`` bytes at ``start``; ``zip``: a local header at
            ``start``, then ``stored`` bytes in the method ``method`` with the CRC-32 ``crc``.
        folder: files of one folder may be slices of one series.
    """

    name: str
    location: str
    size: int
    stamp: str
    folder: str = ""
    packing: Packing = "file"
    start: int = 0
    stored: int = 0
    method: int = 0
    crc: int = 0

    @property
    def inputs(self) -> int:
        """One."""
        return 1

    @property
    def file_name(self) -> str:
        """Path or URL that ends in the file's own name, whatever the results call it."""
        return self.location if self.packing == "file" else self.name

    @property
    def is_alone(self) -> bool:
        """Whether it is called as a picture or a volume by itself."""
        return self.file_name.lower().endswith(_ALONE)


@dataclass(frozen=True, slots=True)
class FolderItem:
    """Files of one folder that are looked at together: slices of series, pairs of files."""

    name: str
    files: tuple[FileItem, ...]

    @property
    def inputs(self) -> int:
        """Number of files."""
        return len(self.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self.files)


@dataclass(frozen=True, slots=True)
class RowsItem:
    """The images of one row group of a Parquet file, as bytes in a column.

    Attributes:
        name: what the results call the file; a row is ``name#7``, counted from 0.
        location: absolute path or URL.
        size: bytes of the row group, unpacked.
        stamp: as for a file.
        group: index of the row group.
        first: index of its first row in the file.
        inputs: number of rows.
        column: name of the column; ``image.bytes`` is a field of a column.
        id_column: column with the names of the rows, or "".
    """

    name: str
    location: str
    size: int
    stamp: str
    group: int
    first: int
    inputs: int
    column: str
    id_column: str = ""


@dataclass(frozen=True, slots=True)
class StreamItem:
    """A compressed tar archive, which can only be read from its start to its end.

    ``inputs`` counts the archive: how many files are in it is not known before.
    """

    name: str
    location: str
    size: int
    stamp: str
    inputs: int = 1


@dataclass(frozen=True, slots=True)
class BrokenItem:
    """An input that cannot be read, and why: ``error`` names a class of `tumorlens.errors`."""

    name: str
    error: str
    message: str
    inputs: int = 1
    size: int = 0


Item = FileItem | FolderItem | RowsItem | StreamItem | BrokenItem
_KINDS: dict[str, type[Any]] = {
    "file": FileItem,
    "folder": FolderItem,
    "rows": RowsItem,
    "stream": StreamItem,
    "broken": BrokenItem,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of items.

    Attributes:
        index: from 0; results of the job are in the order of the shards.
        items: at least one.
        settings: digest of the model and of all settings that answers depend on.
    """

    index: int
    items: tuple[Item, ...]
    settings: str

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return sum(each.inputs for each in self.items)

    @property
    def size(self) -> int:
        """Bytes to be read."""
        return sum(each.size for each in self.items)

    @property
    def key(self) -> str:
        """SHA-256 of the settings and of the inputs: names, sizes and stamps, not locations."""
        text = json.dumps([self.settings, [_identity(each) for each in self.items]])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def to_json(self) -> str:
        """Return everything as JSON in ASCII."""
        items = [[_NAMES[type(each)], asdict(each)] for each in self.items]
        return json.dumps([self.index, items, self.settings])

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """Read what `to_json` gave."""
        index, items, settings = json.loads(text)
        return cls(index, tuple(_item(*each) for each in items), settings)


def cut(items: Iterable[Item], size: int, settings: str) -> Iterator[Shard]:
    """Cut a stream of items into shards of ``size`` inputs, the last one of fewer.

    An item is never cut, so one of more inputs is a shard of its own; so is a compressed archive.
    Raises `ConfigError` for a size below 1.
    """
    if size < 1:
        raise ConfigError(f"{size} inputs a shard: give 1 or more")
    index, waiting, count = 0, list[Item](), 0
    for item in items:
        alone = isinstance(item, StreamItem)
        if waiting and (alone or count + item.inputs > size):
            yield Shard(index, tuple(waiting), settings)
            index, waiting, count = index + 1, [], 0
        waiting.append(item)
        count += item.inputs
        if alone or count >= size:
            yield Shard(index, tuple(waiting), settings)
            index, waiting, count = index + 1, [], 0
    if waiting:
        yield Shard(index, tuple(waiting), settings)


def _identity(item: Item) -> list[Any]:
    if isinstance(item, FolderItem):
        return [item.name, [_identity(each) for each in item.files]]
    left_out = ("location", "folder")
    return [getattr(item, each.name) for each in fields(item) if each.name not in left_out]


def _item(kind: str, values: dict[str, Any]) -> Item:
    if kind == "folder":
        values["files"] = tuple(FileItem(**each) for each in values["files"])
    item: Item = _KINDS[kind](**values)
    return item
