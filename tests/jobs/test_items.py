"""Items travel as JSON, and a shard's key changes with what the answers depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tumorlens.errors import ConfigError
from tumorlens.jobs.items import (
    BrokenItem,
    FileItem,
    FolderItem,
    Item,
    RowsItem,
    Shard,
    StreamItem,
    cut,
)

FILE = FileItem("a.png", "/scans/a.png", 10, "1")
MEMBER = FileItem("s.zip/b.dcm", "/s.zip", 20, "1", "s.zip", "zip", 30, 15, 8, 99)
FOLDER = FolderItem("/scans", (FILE, MEMBER))
ROWS = RowsItem("t.parquet", "/t.parquet", 900, "1", 2, 100, 4, "image.bytes")
STREAM = StreamItem("s.tgz", "/s.tgz", 5, "1")
BROKEN = BrokenItem("x", "UnreadableFileError", "x: no such file")


def test_a_shard_travels_as_json() -> None:
    shard = Shard(3, (FILE, MEMBER, FOLDER, ROWS, STREAM, BROKEN), "s")
    assert Shard.from_json(shard.to_json()) == shard
    assert shard.to_json().isascii()
    assert (shard.inputs, shard.size) == (1 + 1 + 2 + 4 + 1 + 1, 10 + 20 + 30 + 900 + 5)


@pytest.mark.parametrize(
    "other",
    [
        replace(FILE, name="b.png"),
        replace(FILE, size=11),
        replace(FILE, stamp="2"),
        replace(MEMBER, crc=98),
        FOLDER,
        BROKEN,
    ],
)
def test_the_key_changes_with_the_inputs(other: Item) -> None:
    assert Shard(0, (other,), "s").key != Shard(0, (FILE,), "s").key


def test_the_key_changes_with_the_settings_but_not_with_the_place() -> None:
    shard = Shard(0, (FILE,), "s")
    assert replace(shard, settings="t").key != shard.key
    moved = replace(FILE, location="/elsewhere/a.png", folder="/elsewhere")
    assert Shard(7, (moved,), "s").key == shard.key


def test_shards_hold_their_size_and_cut_no_item() -> None:
    items: list[Item] = [FILE, FILE, ROWS, FILE, STREAM, FILE, FOLDER, FILE]
    shards = list(cut(items, 3, "s"))
    assert [[type(each).__name__[0] for each in shard.items] for shard in shards] == [
        ["F", "F"], ["R"], ["F"], ["S"], ["F", "F"], ["F"],
    ]  # fmt: skip
    assert [shard.index for shard in shards] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="0 inputs a shard"):
        list(cut(items, 0, "s"))
