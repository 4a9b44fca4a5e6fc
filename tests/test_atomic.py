"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tumorlens.atomic import atomic_file
from tumorlens.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_file_is_created_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with atomic_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_content_and_nothing_else(
    stop: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise stop

    with pytest.raises(stop):
        write_half()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.txt"]


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "out"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_directly() -> None:
    with atomic_file(Path(os.devnull)) as file:
        file.write(b"gone")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("absent/out", "No such file or directory"),
        ("file/out", "Not a directory"),
        (".", "is a folder"),
    ],
)
def test_an_unwritable_path_is_an_output_error(place: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=reason), atomic_file(tmp_path / place):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["file"]
