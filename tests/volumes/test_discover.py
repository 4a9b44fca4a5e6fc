"""Files, folders and archives: each file is read or named, none takes another down."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.volumes.heads import head, save
from tumorlens.errors import DecodeError, TooLargeError, UnsupportedFormatError
from tumorlens.imaging.image import Limits
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.volumes import source as source_module
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Picture, Unreadable, VolumeInput
from tumorlens.volumes.source import bytes_source


def draw(path: Path) -> Path:
    assert cv2.imwrite(str(path), draw_phantom(1, lesion=True).image)
    return path


def test_what_a_folder_holds_in_order(tmp_path: Path) -> None:
    save(tmp_path / "b.nii.gz", head())
    draw(tmp_path / "a.png")
    (tmp_path / "c.txt").write_text("notes")
    entries = discover([tmp_path, tmp_path / "gone.png", "nul\0"])
    assert [Path(each.name).name for each in entries] == [
        "a.png", "b.nii.gz", "c.txt", "gone.png", "nul\0"]  # fmt: skip
    assert [type(each) for each in entries] == [
        Picture, VolumeInput, Picture, Unreadable, Unreadable]  # fmt: skip
    assert isinstance(entries[0], Picture)
    assert entries[0].decode(Limits()).pixels.shape == (256, 256)


def test_a_zip_is_read_in_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(draw(tmp_path / "a.png"), "pictures/a.png")
        archive.write(save(tmp_path / "b.nii.gz", head()), "b.nii.gz")
        archive.writestr("__MACOSX/b.nii.gz", b"fork")
        archive.writestr(".hidden", b"")
        archive.writestr("inner.zip", b"PK\x03\x04")
    for given in (tmp_path / "study.zip",
                  bytes_source("study.zip", (tmp_path / "study.zip").read_bytes())):  # fmt: skip
        volume, inner, picture = discover([given])
        assert isinstance(volume, VolumeInput)
        assert volume.name.endswith("study.zip/b.nii.gz")
        np.testing.assert_array_equal(volume.load().data, head())
        assert isinstance(inner, Unreadable)
        assert "an archive in an archive" in str(inner.error)
        assert isinstance(picture, Picture)
        assert picture.decode(Limits()).pixels.shape == (256, 256)


def test_a_pair_in_a_zip(tmp_path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Pair(head(), np.eye(4) * 2), tmp_path / "v.img")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for name in ("v.hdr", "v.img"):
            archive.write(tmp_path / name, f"deep/{name.upper()}")
    (entry,) = discover([tmp_path / "study.zip"])
    assert isinstance(entry, VolumeInput)
    np.testing.assert_array_equal(entry.load().data, head())


def test_bad_zips_are_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(100_000))
        archive.writestr("b", bytes(100_000))
    whole = (tmp_path / "a.zip").read_bytes()

    def only(content: bytes) -> Unreadable:
        (entry,) = discover([bytes_source("a.zip", content)])
        assert isinstance(entry, Unreadable)
        return entry

    assert isinstance(only(whole[:100]).error, DecodeError)
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty, "w"):
        pass
    assert isinstance(only(empty.read_bytes()).error, UnsupportedFormatError)
    locked = bytearray(whole)
    at = whole.index(b"PK\x01\x02")
    locked[at + 8] |= 1
    assert "password" in str(only(bytes(locked)).error)
    monkeypatch.setattr(source_module, "_MAX_UNPACKED", 150_000)
    assert isinstance(only(whole).error, TooLargeError)


def test_a_damaged_member_is_its_own_error(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii", head())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "1.nii")
        archive.write(path, "2.nii")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[2000] ^= 255  # in the first member's voxels: its checksum is wrong
    first, second = discover([bytes_source("a.zip", bytes(content))])
    assert isinstance(first, VolumeInput)
    with pytest.raises(DecodeError, match=r"a\.zip/1\.nii"):
        first.load()
    assert isinstance(second, VolumeInput)
    np.testing.assert_array_equal(second.load().data, head())
