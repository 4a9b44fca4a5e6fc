"""NIfTI, Analyze and MGH: the same head however it is stored; wrong headers are told."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.volumes.heads import AFFINE, CODES, SPACING, head, reoriented, save, set_fields
from tumorlens.errors import (
    DecodeError,
    EmptyInputError,
    InputError,
    TooLargeError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.image import Limits
from tumorlens.volumes.discover import discover, load_volume
from tumorlens.volumes.entries import Unreadable, VolumeInput
from tumorlens.volumes.slices import cut


@pytest.mark.parametrize("codes", CODES)
def test_every_orientation_gives_the_same_upright_slices(codes: str, tmp_path: Path) -> None:
    nibabel.save(reoriented(head(), AFFINE, codes), tmp_path / "v.nii.gz")
    volume = load_volume(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(volume.data, head())
    assert volume.spacing_mm == SPACING
    assert volume.plane == "axial"
    np.testing.assert_allclose(volume.affine, AFFINE)
    straight = load_volume(save(tmp_path / "straight.nii", head()))
    for plane in ("axial", "coronal", "sagittal"):
        for one, other in zip(cut(volume, plane), cut(straight, plane), strict=True):
            np.testing.assert_array_equal(one.pixels(), other.pixels())
            assert one.position_mm == pytest.approx(other.position_mm)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "V.NII.GZ", "V.Nii", "scan", "v.dat"])
def test_the_content_decides_not_the_name(name: str, tmp_path: Path) -> None:
    plain = save(tmp_path / "plain.nii", head())
    content = plain.read_bytes()
    plain.unlink()
    (tmp_path / name).write_bytes(gzip.compress(content) if "gz" in name.lower() else content)
    np.testing.assert_array_equal(load_volume(tmp_path / name).data, head())
    # Packed without the suffix, or with it and not packed.
    (tmp_path / name).write_bytes(content if "gz" in name.lower() else gzip.compress(content))
    np.testing.assert_array_equal(load_volume(tmp_path / name).data, head())


def test_a_pair_is_one_volume_named_by_its_header(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(head(), AFFINE), tmp_path / "v.hdr")
    (tmp_path / "v.img").rename(tmp_path / "v.IMG")
    for paths in ([tmp_path], [tmp_path / "v.hdr"], [tmp_path / "v.IMG"],
                  [tmp_path / "v.IMG", tmp_path / "v.hdr"]):  # fmt: skip
        (entry,) = discover(paths)
        assert isinstance(entry, VolumeInput)
        assert entry.name == str(tmp_path / "v.hdr")
        np.testing.assert_array_equal(entry.load().data, head())
        assert entry.load().files == (str(tmp_path / "v.hdr"), str(tmp_path / "v.IMG"))


def test_half_a_pair_names_the_missing_half(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(head(), AFFINE), tmp_path / "v.hdr")
    voxels = (tmp_path / "v.img").read_bytes()
    (tmp_path / "v.img").unlink()
    with pytest.raises(DecodeError, match=r"v\.hdr: a pair .* v\.img is missing"):
        load_volume(tmp_path / "v.hdr")
    (tmp_path / "v.hdr").unlink()
    (tmp_path / "v.img").write_bytes(voxels)
    with pytest.raises(DecodeError, match=r"v\.img: a pair .* v\.hdr is missing"):
        load_volume(tmp_path / "v.img")


def test_analyze_is_read_without_an_orientation(tmp_path: Path) -> None:
    image = nibabel.AnalyzeImage(head().astype(np.int16), None)
    image.header.set_zooms(SPACING)
    nibabel.save(image, tmp_path / "v.img")
    volume = load_volume(tmp_path / "v.img")
    assert not volume.oriented
    assert volume.spacing_mm == SPACING
    # The format's default: the first axis runs from right to left.
    np.testing.assert_array_equal(volume.data, head()[::-1])


@pytest.mark.parametrize("name", ["v.mgz", "v.mgh"])
def test_mgh_is_read(name: str, tmp_path: Path) -> None:
    nibabel.save(nibabel.MGHImage(head().astype(np.int16), AFFINE), tmp_path / name)
    volume = load_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.data, head())
    assert volume.spacing_mm == SPACING
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)


def test_nifti_2_and_big_endian(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(head(), AFFINE), tmp_path / "two.nii")
    np.testing.assert_array_equal(load_volume(tmp_path / "two.nii").data, head())
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nibabel.Nifti1Image(head().astype(">i2"), AFFINE, header)
    nibabel.save(image, tmp_path / "big.nii")
    volume = load_volume(tmp_path / "big.nii")
    np.testing.assert_array_equal(volume.data, head())
    assert volume.data.dtype == np.dtype("=i2")


def test_several_volumes_are_named(tmp_path: Path) -> None:
    run = np.stack([head(), 255 - head(), head() // 2], -1)
    path = save(tmp_path / "run.nii.gz", run)
    entries = [each for each in discover([path]) if isinstance(each, VolumeInput)]
    assert [each.name for each in entries] == [f"{path}#{number}" for number in (1, 2, 3)]
    for index, each in enumerate(entries):
        volume = each.load()
        assert volume.name == each.name
        np.testing.assert_array_equal(volume.data, run[..., index])
    with pytest.raises(UnsupportedFormatError, match=r"3 volumes \(.*#1, …, .*#3\)"):
        load_volume(path)
    single = save(tmp_path / "one.nii", head()[..., None])
    assert load_volume(single).name == str(single)


def test_colour_becomes_grey(tmp_path: Path) -> None:
    names = ("R", "G", "B")
    colour = np.zeros(head().shape, [(name, "u1") for name in names])
    for name in names:
        colour[name] = head()
    np.testing.assert_allclose(
        load_volume(save(tmp_path / "rgb.nii", colour)).data, head(), atol=1e-3
    )
    colour["G"] = colour["B"] = 0
    np.testing.assert_allclose(
        load_volume(save(tmp_path / "red.nii", colour)).data, 0.299 * head(), atol=1e-3
    )


def test_grey_levels(tmp_path: Path) -> None:
    values = head().astype(np.float32)
    values[0, 0, :4] = [np.nan, np.inf, -np.inf, 2e38]
    loaded = load_volume(save(tmp_path / "v.nii", values)).data
    np.testing.assert_array_equal(loaded, np.where(np.abs(values) < 1e30, values, 0))
    assert loaded.dtype == np.float32
    scaled = save(tmp_path / "s.nii", head().astype(np.int16), scl_slope=2, scl_inter=1)
    np.testing.assert_array_equal(load_volume(scaled).data, head().astype(np.float32) * 2 + 1)
    double = save(tmp_path / "d.nii", np.where(head() > 9, head() * 1e200, 1.0))
    assert np.isfinite(load_volume(double).data).all()


@pytest.mark.parametrize("intercept", [np.nan, np.inf])
def test_an_intercept_that_is_no_number_is_told(intercept: float, tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii", head(), scl_slope=1, scl_inter=intercept)
    volume = load_volume(path)
    np.testing.assert_array_equal(volume.data, head())
    assert "not a number" in volume.remarks[0]


def sizes(*spacing: float) -> list[float]:
    """Return ``pixdim`` of voxels of this size."""
    return [1, *spacing, 0, 0, 0, 0]


BAD = np.array([np.nan, 0, 0, 0])
ORIENTATIONS: dict[str, tuple[dict[str, Any], bool]] = {
    # Header fields, and whether an orientation is left.
    "sform with NaN": ({"srow_x": BAD}, False),
    "sform of zeros": ({"srow_x": 0, "srow_y": 0, "srow_z": 0}, False),
    "sform with equal axes": ({"srow_x": [6, 6, 0, 0], "srow_y": [6, 6, 0, 0]}, False),
    "sform with infinite axes": ({"srow_z": [0, 0, 3e38, 0]}, False),
    "sform with NaN, good qform": (
        {"srow_x": BAD, "qform_code": 1, "pixdim": sizes(*SPACING)}, True
    ),
    "qfac of 7": ({"sform_code": 0, "qform_code": 1, "pixdim": [7, *SPACING, 0, 0, 0, 0]}, True),
    "qform longer than 1": ({"sform_code": 0, "qform_code": 1, "quatern_b": 3.0}, False),
    "no form": ({"sform_code": 0, "qform_code": 0}, False),
}  # fmt: skip


@pytest.mark.parametrize("kind", ORIENTATIONS)
def test_odd_orientations_are_passed_over(kind: str, tmp_path: Path) -> None:
    fields, oriented = ORIENTATIONS[kind]
    volume = load_volume(save(tmp_path / "v.nii", head(), **fields))
    assert volume.oriented == oriented
    assert volume.spacing_mm == SPACING
    # Without an orientation, the first axis runs from right to left.
    np.testing.assert_array_equal(volume.data, head() if oriented else head()[::-1])
    assert bool(volume.remarks) == ("sform with" in kind or "sform of" in kind or "longer" in kind)


def test_voxel_sizes_of_a_scanner_transform_that_differs(tmp_path: Path) -> None:
    ones = {"pixdim": [1, 1, 1, 1, 0, 0, 0, 0]}
    told = load_volume(save(tmp_path / "scanner.nii", head(), sform_code=1, **ones))
    assert told.spacing_mm == SPACING
    assert "differ from pixdim" in told.remarks[0]
    # A template's coordinates may be scaled: there pixdim is right.
    template = load_volume(save(tmp_path / "template.nii", head(), sform_code=4, **ones))
    assert template.spacing_mm == (1.0, 1.0, 1.0)
    micro = {"xyzt_units": 3, "sform_code": 4, "pixdim": [1, 600, 700, 1200, 0, 0, 0, 0]}
    small = load_volume(save(tmp_path / "micro.nii", head(), **micro))
    np.testing.assert_allclose(small.spacing_mm, (0.6, 0.7, 1.2))


@pytest.mark.parametrize(
    ("spacing", "dim_info", "plane"),
    [((1, 1, 5), 0, "axial"), ((9.6, 0.9, 1.8), 0, "sagittal"), ((1, 3, 1), 0x30, "coronal"),
     ((1, 1, 1), 0, "axial"), ((1, 1, 1), 0x10, "sagittal"), ((1, 1, 1.1), 0x20, "coronal")],
)  # fmt: skip
def test_the_plane_of_acquisition(
    spacing: tuple[float, float, float], dim_info: int, plane: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "v.nii", head(), np.diag([*spacing, 1.0]), dim_info=dim_info)
    volume = load_volume(path)
    assert volume.plane == plane
    assert {each.plane for each in cut(volume)} == {plane}


def unoriented(*spacing: float) -> dict[str, Any]:
    return {"sform_code": 0, "pixdim": sizes(*spacing)}


REFUSED: dict[str, tuple[dict[str, Any], type[InputError], str]] = {
    "900 mm": (unoriented(900, 1, 5), UnsupportedFormatError, "900 × 1 × 5 mm"),
    "1 µm": (unoriented(0.001, 1, 5), UnsupportedFormatError, "0.001 × 1 × 5 mm"),
    "NaN mm": (unoriented(np.nan, 1, 5), DecodeError, "not positive"),
    "0 mm": (unoriented(0, 1, 5), DecodeError, "not positive"),
    "matrix": ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, TooLargeError, "over the limit of"),
    "long": ({"dim": [3, 30000, 2, 2, 1, 1, 1, 1]}, UnsupportedFormatError, "not the extent"),
    "many": ({"dim": [4, 10, 10, 10, 3000, 1, 1, 1]}, TooLargeError, "3,000 volumes"),
    "negative": ({"dim": [3, -4, 5, 6, 1, 1, 1, 1]}, DecodeError, "damaged"),
    "no dimension": ({"dim": [0, 4, 5, 6, 1, 1, 1, 1]}, DecodeError, "damaged"),
    "vectors": ({"dim": [5, 8, 8, 8, 1, 3, 1, 1]}, UnsupportedFormatError, "5 dimensions"),
    "intent": ({"intent_code": 1007}, UnsupportedFormatError, "a vector field, not a scan"),
    "complex": ({"datatype": 32, "bitpix": 64}, UnsupportedFormatError, "export the magnitude"),
    "type": ({"datatype": 77}, DecodeError, "damaged"),
    "offset": ({"vox_offset": np.nan}, DecodeError, "offset"),
    "far": ({"vox_offset": 1e8}, DecodeError, "truncated"),
    "cut": ({"dim": [3, 64, 64, 64, 1, 1, 1, 1]}, DecodeError, "truncated"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_wrong_headers_are_refused_with_the_cause(kind: str, tmp_path: Path) -> None:
    fields, error, match = REFUSED[kind]
    path = save(tmp_path / "v.nii", head(), **fields)
    with pytest.raises(error, match=match) as raised:
        load_volume(path)
    assert str(path) in str(raised.value)


def test_files_that_are_no_volume_are_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.nii", head()).read_bytes()
    packed = gzip.compress(whole)
    files: dict[str, tuple[bytes, type[InputError]]] = {
        "empty.nii": (b"", EmptyInputError),
        "text.nii": (b"hello " * 100, UnsupportedFormatError),
        "cut.nii": (whole[:500], DecodeError),
        "head.nii": (whole[:100], UnsupportedFormatError),
        "cut.nii.gz": (packed[: len(packed) // 2], DecodeError),
        "noisy.nii.gz": (b"\x1f\x8b" + bytes(range(256)), UnsupportedFormatError),
        "minc.mnc": (b"CDF\x01" + bytes(64), UnsupportedFormatError),
    }
    for name, (content, error) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=name):
            load_volume(tmp_path / name)
    for path in (tmp_path / "gone.nii", tmp_path):
        with pytest.raises(UnreadableFileError, match=path.name):
            load_volume(path)
    with pytest.raises(TooLargeError):
        load_volume(tmp_path / "whole.nii", limits=Limits(max_bytes=100))
    with pytest.raises(TooLargeError, match="32 × 32 × 18 voxels"):
        load_volume(tmp_path / "whole.nii", limits=Limits(max_pixels=119))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_refused_file_takes_little_memory(tmp_path: Path) -> None:
    bomb = save(tmp_path / "v.nii", head(), dim=[3, 512, 512, 300, 1, 1, 1, 1], datatype=64,
                sform_code=0, pixdim=[1, 1, 1, 1, 0, 0, 0, 0])  # fmt: skip
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(bomb.read_bytes() + bytes(2**24)))
    for each in (bomb, path):
        # VmHWM, as the maximum that getrusage gives includes the parent's at the fork.
        code = (
            "import re, sys\n"
            "from pathlib import Path\n"
            "from tumorlens.errors import DecodeError\n"
            "from tumorlens.volumes.discover import load_volume\n"
            "try: load_volume(sys.argv[1])\n"
            "except DecodeError:\n"
            "    status = Path('/proc/self/status').read_text()\n"
            "    print(re.search(r'VmHWM:\\s+(\\d+)', status)[1])"
        )
        done = subprocess.run([sys.executable, "-c", code, str(each)], env=dict(os.environ),
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert 0 < int(done.stdout) < 400_000  # kB


def test_one_bad_file_takes_no_other_down(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", head())
    save(tmp_path / "b.nii", head(), dim=[3, 0, 0, 0, 0, 0, 0, 0])
    set_fields(save(tmp_path / "c.nii", head()), srow_x=BAD)
    kinds = [type(each) for each in discover([tmp_path])]
    assert kinds == [VolumeInput, Unreadable, VolumeInput]
