"""Folders, lists, archives, tables and URLs → items: all of them, in order, with their places."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.jobs.drawn import draw, picture
from tumorlens.errors import ConfigError
from tumorlens.jobs import inputs
from tumorlens.jobs.inputs import Reading, job_items
from tumorlens.jobs.items import BrokenItem, FileItem, FolderItem, Item, RowsItem, StreamItem


def found(*paths: object, **reading: object) -> list[Item]:
    return list(job_items(map(str, paths), Reading(**reading)))  # type: ignore[arg-type]


def names(items: list[Item], root: Path) -> list[str]:
    return [each.name.replace(f"{root}/", "") for each in items]


def test_a_folder_gives_its_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    draw(tmp_path / "s" / "sub", 2)
    draw(tmp_path / "s", 2)
    (tmp_path / "s" / ".hidden.png").touch()
    (tmp_path / "s" / "loop").symlink_to(tmp_path / "s")
    (tmp_path / "s" / "gone.png").symlink_to(tmp_path / "nowhere")
    items = found(tmp_path / "s")
    assert names(items, tmp_path) == ["s/00.png", "s/01.png", "s/gone.png", "s/sub/00.png",
                                      "s/sub/01.png"]  # fmt: skip
    first, broken = items[0], items[2]
    assert isinstance(first, FileItem)
    assert first.size == (tmp_path / "s" / "00.png").stat().st_size
    assert first.stamp == str((tmp_path / "s" / "00.png").stat().st_mtime_ns)
    assert isinstance(broken, BrokenItem)
    assert broken.error == "UnreadableFileError"


def test_files_that_may_be_slices_are_kept_together(tmp_path: Path) -> None:
    draw(tmp_path, 1)
    for name in ("1.dcm", "2.dcm", "IM3", "sub/4.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    single, together, below = found(tmp_path)
    assert isinstance(together, FolderItem)
    assert names(list(together.files), tmp_path) == ["1.dcm", "2.dcm", "IM3"]
    assert names([single, below], tmp_path) == ["00.png", "sub/4.dcm"]
    assert all(isinstance(each, FileItem) for each in found(tmp_path, slices=True))


def test_too_many_files_that_may_be_slices_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_MOST_TOGETHER", 2)
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(b"x")
    with pytest.raises(ConfigError, match="answer each by itself with --slices"):
        found(tmp_path)
    assert len(found(tmp_path, slices=True)) == 3


def test_a_list_names_files_folders_and_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "s", 2)
    monkeypatch.chdir(tmp_path)
    url = f"file://{tmp_path}/s/00.png"
    (tmp_path / "all.txt").write_text(f"# scans\ns\n\ns/01.png\n{url}\nmissing.png\n")
    items = found("all.txt")
    assert names(items, tmp_path) == [
        "s/00.png", "s/01.png", "s/01.png", url.replace(f"{tmp_path}/", ""), "missing.png"
    ]  # fmt: skip
    assert [type(each) for each in items[-2:]] == [FileItem, BrokenItem]
    assert items[-2].size == items[0].size


def test_a_url_of_a_folder_is_walked(tmp_path: Path) -> None:
    draw(tmp_path / "s" / "sub", 1)
    draw(tmp_path / "s", 2)
    items = found(f"file://{tmp_path}/s")
    assert [each.name for each in items] == [
        f"file://{tmp_path}/s/{name}" for name in ("00.png", "01.png", "sub/00.png")
    ]
    assert all(isinstance(each, FileItem) and each.stamp for each in items)


def test_an_unknown_protocol_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        found("nonsense://bucket/a.png")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_of_an_archive_have_their_places(kind: str, tmp_path: Path) -> None:
    draw(tmp_path / "s", 2)
    (tmp_path / "s" / "1.dcm").write_bytes(b"abc")
    (tmp_path / "s" / "2.dcm").write_bytes(b"defg")
    (tmp_path / "s" / ".DS_Store").write_bytes(b"x")
    path = tmp_path / f"all.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in sorted((tmp_path / "s").iterdir()):
                archive.write(each, f"s/{each.name}")
    else:
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "s", "s")
    items = found(path)
    assert sorted(names([each for each in items if isinstance(each, FileItem)], tmp_path)) == [
        f"all.{kind}/s/00.png", f"all.{kind}/s/01.png",
    ]  # fmt: skip
    (together,) = (each for each in items if isinstance(each, FolderItem))
    assert sorted(each.size for each in together.files) == [3, 4]


def test_a_compressed_tar_is_one_item_and_a_damaged_archive_an_error(tmp_path: Path) -> None:
    draw(tmp_path / "s", 3)
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.add(tmp_path / "s", "s")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.add(tmp_path / "s", "s")
    cut = (tmp_path / "b.tar").read_bytes()[:6000]
    (tmp_path / "b.tar").write_bytes(cut)
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "d.tar").write_bytes(b"")
    stream, *members, damaged, empty = found(tmp_path / "a.tgz", tmp_path / "b.tar",
                                             tmp_path / "c.zip")  # fmt: skip
    assert isinstance(stream, StreamItem)
    assert members
    assert all(isinstance(each, FileItem) for each in members)
    assert isinstance(damaged, BrokenItem)
    assert isinstance(empty, BrokenItem)
    assert "truncated or damaged" in damaged.message


def test_a_table_of_bytes_gives_its_row_groups(tmp_path: Path) -> None:
    rows = [{"bytes": picture(seed), "path": f"{seed}.png"} for seed in range(5)]
    table = pa.table({"image": rows, "label": [0, 1, 0, 1, 0]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    items = found(tmp_path / "t.parquet")
    assert [(each.group, each.first, each.inputs) for each in items if isinstance(each, RowsItem)
            ] == [(0, 0, 2), (1, 2, 2), (2, 4, 1)]  # fmt: skip
    assert {each.column for each in items if isinstance(each, RowsItem)} == {"image.bytes"}


def test_a_table_of_paths_gives_files_by_their_ids(tmp_path: Path) -> None:
    draw(tmp_path / "s", 2)
    paths = [f"{tmp_path}/s/00.png", f"{tmp_path}/s/01.png", None]
    table = pa.table({"scan": ["p1", "p2", "p3"], "where": paths})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="Name it with --column: scan, where"):
        found(tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="no column other; its columns are scan, where"):
        found(tmp_path / "t.parquet", column="other")
    items = found(tmp_path / "t.parquet", column="where", id_column="scan")
    assert [each.name for each in items] == ["p1", "p2", "p3"]
    assert [type(each) for each in items] == [FileItem, FileItem, BrokenItem]


def test_paths_of_any_bytes_are_taken(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff.png")
    (tmp_path / odd).write_bytes(picture(0))
    (item,) = found(tmp_path)
    assert isinstance(item, FileItem)
    assert item.location == str(tmp_path / odd)
