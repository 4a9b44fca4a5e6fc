"""NIfTI volumes: axes end up right, slices stand upright, wrong files are refused clearly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.errors import (
    DecodeError,
    EmptyInputError,
    InputError,
    MissingExtraError,
    TooLargeError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.image import Limits
from tumorlens.imaging.volume import Volume, head_extent, load_volume, take_slice

# RAS: one marked voxel each at the patient's right, front and top.
DATA = np.zeros((4, 5, 6), np.float32)
DATA[3, 2, 3], DATA[1, 4, 3], DATA[1, 2, 5] = 10, 20, 30  # right, front, top


def save(path: Path, data: NDArray[Any], spacing: tuple[float, float, float] = (2, 2, 2)) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, np.diag([*spacing, 1.0])), path)
    return path


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA", "AIL"])
def test_any_storage_order_is_converted_to_ras(codes: str, tmp_path: Path) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    stored = nibabel.Nifti1Image(DATA, affine).as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
        )
    )
    nibabel.save(stored, tmp_path / "v.nii.gz")
    volume = load_volume(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(volume.data, DATA)
    assert volume.data.dtype == np.float32
    assert volume.spacing_mm == (1.0, 2.0, 3.0)
    assert volume.name == "v.nii.gz"


@pytest.mark.parametrize(
    ("plane", "index", "row", "column", "value"),
    [
        # Patient's right on the picture's left; front, or top, in row 0; the face looks left.
        ("axial", 3, 2, 0, 10), ("axial", 3, 0, 2, 20),
        ("coronal", 2, 2, 0, 10), ("coronal", 2, 0, 2, 30),
        ("sagittal", 1, 2, 0, 20), ("sagittal", 1, 0, 2, 30),
    ],
)  # fmt: skip
def test_slices_have_radiological_orientation(
    plane: Plane, index: int, row: int, column: int, value: float
) -> None:
    shown = take_slice(Volume(DATA, (1, 1, 1), "v"), plane, index)
    assert shown[row, column] == value


@pytest.mark.parametrize(
    ("plane", "shape"), [("axial", (5, 4)), ("coronal", (18, 4)), ("sagittal", (18, 5))]
)
def test_pixels_are_made_square(plane: Plane, shape: tuple[int, int]) -> None:
    assert take_slice(Volume(DATA, (1.0, 1.0, 3.0), "v"), plane, 0).shape == shape
    assert take_slice(Volume(DATA, (0.5, 0.5, 1.5), "v"), plane, 0).shape == shape


@pytest.mark.parametrize(
    ("tilt", "right", "below"),
    # What a step of one pixel adds, in millimetres along X, Y, Z: half and root of three quarters.
    [((30, 0), (-1, 0, 0), (0, -0.8660, -0.5)), ((0, -30), (-0.8660, 0, 0.5), (0, -1, 0)),
     ((30, 30), (-0.8660, 0.25, -0.4330), (0, -0.8660, -0.5))],
)  # fmt: skip
def test_a_tilted_slice_of_a_ramp(
    tilt: tuple[float, float], right: tuple[float, ...], below: tuple[float, ...]
) -> None:
    spacing, slope = np.array([1.0, 1.0, 2.0]), np.array([3.0, 5.0, 11.0])
    places = np.moveaxis(np.indices((21, 21, 21)), 0, -1) * spacing
    volume = Volume((places @ slope).astype(np.float32), (1.0, 1.0, 2.0), "ramp")
    shown = take_slice(volume, "axial", 9, tilt)
    steps = np.arange(21) - 10
    middle = slope @ [10.0, 10.0, 18.0]
    expected = middle + steps[:, None] * (slope @ below) + steps[None, :] * (slope @ right)
    inner = (slice(4, -4), slice(4, -4))
    assert shown.shape == (21, 21)
    np.testing.assert_allclose(shown[inner], expected[inner], atol=0.02)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_minimal_tilt_gives_the_untilted_slice(plane: Plane) -> None:
    volume = Volume(DATA, (1.0, 1.0, 1.0), "v")
    tilted = take_slice(volume, plane, 2, (1e-6, -1e-6))
    np.testing.assert_allclose(tilted, take_slice(volume, plane, 2), atol=1e-3)


def test_outside_the_volume_a_tilted_slice_is_dark() -> None:
    volume = Volume(np.full((9, 9, 3), 7, np.float32), (1.0, 1.0, 1.0), "v")
    volume.data[0, 0, 0] = -5
    shown = take_slice(volume, "axial", 1, (45, 0))
    assert shown[0, 4] == shown[-1, 4] == -5
    assert shown[4, 4] == 7


def test_a_tilted_slice_without_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(MissingExtraError, match=r"a tilted slice needs the 'train' extra"):
        take_slice(Volume(DATA, (1.0, 1.0, 1.0), "v"), "axial", 2, (5, 0))


def test_a_slice_outside_the_volume_is_an_index_error() -> None:
    for index in (-1, 6):
        with pytest.raises(IndexError, match="0 … 5"):
            take_slice(Volume(DATA, (1, 1, 1), "v"), "axial", index)


def test_head_extent() -> None:
    data = np.full((20, 20, 20), -5, np.float32)
    data[4:12, 6:18, 3:16] = 100
    data[0, 0, 0] = 100  # a speck is no head
    volume = Volume(data, (1, 1, 1), "v")
    assert head_extent(volume, "sagittal") == (4, 11)
    assert head_extent(volume, "coronal") == (6, 17)
    assert head_extent(volume, "axial") == (3, 15)
    assert head_extent(Volume(np.zeros((3, 4, 5), np.float32), (1, 1, 1), "v"), "axial") == (0, 4)


def test_scaling_trailing_axes_and_nan(tmp_path: Path) -> None:
    data = DATA.copy()
    data[0, 0, 0] = np.nan
    loaded = load_volume(save(tmp_path / "v.nii", data[..., None]))
    np.testing.assert_array_equal(loaded.data, DATA)
    image = nibabel.Nifti1Image(DATA.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(2, 1)
    nibabel.save(image, tmp_path / "scaled.nii")
    np.testing.assert_array_equal(load_volume(tmp_path / "scaled.nii").data, DATA * 2 + 1)


def refused(tmp_path: Path) -> list[tuple[Path, type[InputError]]]:
    whole = save(tmp_path / "whole.nii", DATA).read_bytes()
    noise = np.random.default_rng(0).standard_normal((20, 20, 20)).astype(np.float32)
    packed = save(tmp_path / "noise.nii.gz", noise).read_bytes()
    lying = bytearray(whole)
    lying[42:48] = np.array([30000] * 3, "<i2").tobytes()
    files: dict[str, tuple[bytes, type[InputError]]] = {
        "empty.nii": (b"", EmptyInputError),
        "text.nii": (b"hello " * 100, UnsupportedFormatError),
        "cut.nii": (whole[:500], DecodeError),
        "cut.nii.gz": (packed[: len(packed) // 2], DecodeError),
        "lying.nii": (bytes(lying), TooLargeError),
        "noisy.nii.gz": (b"\x1f\x8b" + bytes(range(256)), InputError),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    save(tmp_path / "time.nii", np.stack([DATA, DATA], -1))
    rgb = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(tmp_path / "rgb.nii", rgb)
    return [
        *((tmp_path / name, error) for name, (_, error) in files.items()),
        (tmp_path / "time.nii", UnsupportedFormatError),
        (tmp_path / "rgb.nii", UnsupportedFormatError),
        (tmp_path / "gone.nii", UnreadableFileError),
        (tmp_path, UnreadableFileError),
    ]


def test_invalid_files_are_refused(tmp_path: Path) -> None:
    for path, error in refused(tmp_path):
        with pytest.raises(error, match=path.name):
            load_volume(path)
    with pytest.raises(TooLargeError):
        load_volume(tmp_path / "whole.nii", limits=Limits(max_bytes=100))
    with pytest.raises(TooLargeError, match="4 × 5 × 6 voxels"):
        load_volume(tmp_path / "whole.nii", limits=Limits(max_pixels=119))


@pytest.mark.real
def test_real_heads_are_wider_above_and_symmetric(data_root: Path) -> None:
    for name in ("healthy_01_T1", "healthy_07_T1", "healthy_07_FL"):
        volume = load_volume(data_root / "volumes" / f"{name}.nii.gz")
        first, last = head_extent(volume, "coronal")
        coronal = take_slice(volume, "coronal", (first + last) // 2)
        # The top row of the head is empty air on both sides; the neck or jaw fills the bottom.
        bright = coronal > 0.15 * np.percentile(volume.data, 99)
        assert bright[:6].mean() < bright[-12:].mean(), name
        mirrored = np.corrcoef(coronal.ravel(), coronal[:, ::-1].ravel())[0, 1]
        upside_down = np.corrcoef(coronal.ravel(), coronal[::-1].ravel())[0, 1]
        assert mirrored > upside_down, name
