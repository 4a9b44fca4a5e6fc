"""MetaImage and NRRD through SimpleITK (extra formats)."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.volumes.heads import SPACING, head
from tumorlens.errors import DecodeError, InputError, UnsupportedFormatError
from tumorlens.volumes.discover import discover, load_volume
from tumorlens.volumes.entries import Unreadable, VolumeInput

sitk: Any = pytest.importorskip("SimpleITK")


def write(path: Path, values: Any = None, *, vector: bool = False, packed: bool = False) -> Path:
    """Write the head in LPS order: the first axis runs to the left, the second to the back."""
    stored = head()[::-1, ::-1].transpose(2, 1, 0) if values is None else values
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored), isVector=vector)
    image.SetSpacing(SPACING + (1.0,) * (image.GetDimension() - 3))
    sitk.WriteImage(image, str(path), packed)
    return path


@pytest.mark.parametrize("name", ["v.mha", "v.mhd", "v.nrrd", "v.nhdr"])
@pytest.mark.parametrize("packed", [False, True])
def test_each_format_gives_the_head(name: str, packed: bool, tmp_path: Path) -> None:
    write(tmp_path / name, packed=packed)
    (entry,) = discover([tmp_path])  # the file of the voxels is part of the volume
    assert isinstance(entry, VolumeInput)
    volume = entry.load()
    np.testing.assert_array_equal(volume.data, head())
    assert volume.spacing_mm == SPACING
    assert volume.plane == "axial"
    assert volume.oriented
    assert load_volume(tmp_path / name).name == str(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for part in entry.files:
            archive.write(part, Path(part).name)
    (zipped,) = discover([tmp_path / "a.zip"])
    assert isinstance(zipped, VolumeInput)
    np.testing.assert_array_equal(zipped.load().data, head())


def test_several_volumes_and_colour(tmp_path: Path) -> None:
    stored = head()[::-1, ::-1].transpose(2, 1, 0)
    write(tmp_path / "run.mha", np.stack([stored, stored // 2]))
    first, second = discover([tmp_path / "run.mha"])
    assert isinstance(first, VolumeInput)
    assert isinstance(second, VolumeInput)
    assert (first.name[-2:], second.name[-2:]) == ("#1", "#2")
    np.testing.assert_array_equal(first.load().data, head())
    np.testing.assert_array_equal(second.load().data, head() // 2)
    write(tmp_path / "rgb.mha", np.stack([stored] * 3, -1), vector=True)
    np.testing.assert_allclose(load_volume(tmp_path / "rgb.mha").data, head(), atol=1e-3)
    write(tmp_path / "vectors.mha", np.stack([stored] * 6, -1), vector=True)
    with pytest.raises(UnsupportedFormatError, match="6 values per voxel"):
        load_volume(tmp_path / "vectors.mha")


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "v.mha").read_bytes()
    header = write(tmp_path / "v.mhd").read_text()
    cases: dict[str, tuple[bytes, str]] = {
        "cut.mha": (whole[:800], "truncated or damaged"),
        "large.mha": (whole.replace(b"DimSize = 32", b"DimSize = 32000000"), "over the limit"),
        "wide.mha": (whole.replace(b"ElementSpacing = 6", b"ElementSpacing = 900"), "900 ×"),
        "gone.mhd": (header.replace("v.raw", "w.raw").encode(), r"w\.raw, is missing"),
        "away.mhd": (header.replace("v.raw", "../v.raw").encode(), "not in one file beside it"),
        "abs.mhd": (header.replace("v.raw", "/etc/passwd").encode(), "not in one file beside it"),
        "list.mhd": (header.replace("v.raw", "LIST").encode(), "not in one file beside it"),
        "open.mhd": (header.replace("ElementDataFile", "Comment").encode(), "truncated"),
    }
    for name, (content, match) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=match) as raised:
            load_volume(tmp_path / name)
        assert name in str(raised.value)


def test_without_the_extra_the_refusal_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "v.mha")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    (entry,) = discover([path])
    assert isinstance(entry, Unreadable)
    assert "v.mha" in str(entry.error)
    assert "pip install 'tumorlens[formats]'" in str(entry.error)
    assert not isinstance(entry.error, DecodeError)
