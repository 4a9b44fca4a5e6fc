"""Slices stand upright with square pixels, and know where they are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tumorlens.errors import MissingExtraError
from tumorlens.imaging.anatomy import Plane
from tumorlens.volumes.discover import load_volume
from tumorlens.volumes.slices import cut, head_extent, take_slice
from tumorlens.volumes.volume import Volume

PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
# RAS: one marked voxel each at the patient's right, front and top.
DATA = np.zeros((4, 5, 6), np.float32)
DATA[3, 2, 3], DATA[1, 4, 3], DATA[1, 2, 5] = 10, 20, 30  # right, front, top


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
    shown = take_slice(Volume.aligned(DATA, (1, 1, 1), "v"), plane, index)
    assert shown[row, column] == value


@pytest.mark.parametrize(
    ("plane", "shape"), [("axial", (5, 4)), ("coronal", (18, 4)), ("sagittal", (18, 5))]
)
def test_pixels_are_made_square(plane: Plane, shape: tuple[int, int]) -> None:
    assert take_slice(Volume.aligned(DATA, (1.0, 1.0, 3.0), "v"), plane, 0).shape == shape
    assert take_slice(Volume.aligned(DATA, (0.5, 0.5, 1.5), "v"), plane, 0).shape == shape


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
    volume = Volume.aligned((places @ slope).astype(np.float32), (1.0, 1.0, 2.0), "ramp")
    shown = take_slice(volume, "axial", 9, tilt)
    steps = np.arange(21) - 10
    middle = slope @ [10.0, 10.0, 18.0]
    expected = middle + steps[:, None] * (slope @ below) + steps[None, :] * (slope @ right)
    inner = (slice(4, -4), slice(4, -4))
    assert shown.shape == (21, 21)
    np.testing.assert_allclose(shown[inner], expected[inner], atol=0.02)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_minimal_tilt_gives_the_untilted_slice(plane: Plane) -> None:
    volume = Volume.aligned(DATA, (1.0, 1.0, 1.0), "v")
    tilted = take_slice(volume, plane, 2, (1e-6, -1e-6))
    np.testing.assert_allclose(tilted, take_slice(volume, plane, 2), atol=1e-3)


def test_outside_the_volume_a_tilted_slice_is_dark() -> None:
    volume = Volume.aligned(np.full((9, 9, 3), 7, np.float32), (1.0, 1.0, 1.0), "v")
    volume.data[0, 0, 0] = -5
    shown = take_slice(volume, "axial", 1, (45, 0))
    assert shown[0, 4] == shown[-1, 4] == -5
    assert shown[4, 4] == 7


def test_a_tilted_slice_without_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(MissingExtraError, match=r"a tilted slice needs the 'train' extra"):
        take_slice(Volume.aligned(DATA, (1.0, 1.0, 1.0), "v"), "axial", 2, (5, 0))


def test_a_slice_outside_the_volume_is_an_index_error() -> None:
    for index in (-1, 6):
        with pytest.raises(IndexError, match="0 … 5"):
            take_slice(Volume.aligned(DATA, (1, 1, 1), "v"), "axial", index)


def test_head_extent() -> None:
    data = np.full((20, 20, 20), -5, np.float32)
    data[4:12, 6:18, 3:16] = 100
    data[0, 0, 0] = 100  # a speck is no head
    volume = Volume.aligned(data, (1, 1, 1), "v")
    assert head_extent(volume, "sagittal") == (4, 11)
    assert head_extent(volume, "coronal") == (6, 17)
    assert head_extent(volume, "axial") == (3, 15)
    assert head_extent(
        Volume.aligned(np.zeros((3, 4, 5), np.float32), (1, 1, 1), "v"), "axial"
    ) == (0, 4)


def test_a_whole_number_volume_is_cut_to_float32() -> None:
    whole = Volume.aligned(DATA.astype(np.int16), (1.0, 1.0, 3.0), "v")
    for plane in PLANES:
        shown = take_slice(whole, plane, 1)
        assert shown.dtype == np.float32
        expected = take_slice(Volume.aligned(DATA, (1.0, 1.0, 3.0), "v"), plane, 1)
        np.testing.assert_array_equal(shown, expected)
        tilted = take_slice(whole, plane, 1, (10, 0))
        assert tilted.dtype == np.float32


def test_slices_of_an_oblique_stack_know_their_place() -> None:
    angle = np.deg2rad(30)
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = rotation @ affine
    affine[:3, 3] = rotation[:3, :3] @ [7.0, 8.0, 100.0]
    volume = Volume(DATA, (1.0, 1.0, 5.0), "v", affine)
    slices = list(cut(volume))
    assert [each.index for each in slices] == [0, 1, 2, 3, 4, 5]
    assert {each.plane for each in slices} == {"axial"}
    np.testing.assert_allclose([s.position_mm for s in slices], 100 + 5 * np.arange(6))
    assert {(each.thickness_mm, each.pixel_mm) for each in slices} == {(5.0, 1.0)}
    assert slices[3].name == "v#axial:3"
    np.testing.assert_array_equal(slices[3].pixels(), take_slice(volume, "axial", 3))


def test_slices_of_another_plane_on_request() -> None:
    volume = Volume.aligned(DATA, (1.0, 2.0, 5.0), "v")
    sagittal = list(cut(volume, "sagittal"))
    np.testing.assert_allclose([each.position_mm for each in sagittal], [0, 1, 2, 3])
    assert {(each.thickness_mm, each.pixel_mm) for each in sagittal} == {(1.0, 2.0)}


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_map_of_a_slice_returns_to_its_voxels(plane: Plane) -> None:
    volume = Volume.aligned(DATA, (1.0, 2.0, 3.0), "v")
    ramp = np.indices(DATA.shape).sum(axis=0).astype(np.float32)
    smooth = Volume.aligned(ramp, (1.0, 2.0, 3.0), "v")
    for each, again in zip(cut(smooth, plane), cut(volume, plane), strict=True):
        back = again.to_grid(each.pixels())
        expected = np.take(ramp, each.index, axis=PLANES.index(plane))
        assert back.shape == expected.shape
        # Linear interpolation of a ramp is exact except at the border.
        np.testing.assert_allclose(back[1:-1, 1:-1], expected[1:-1, 1:-1], atol=0.3)


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


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_places_in_a_slice_are_voxels_of_the_volume(plane: str) -> None:
    data = np.zeros((10, 12, 8), np.float32)
    data[7, 2, 5] = 1
    volume = Volume.aligned(data, (1.0, 2.0, 3.0), "drawn")
    index = {"sagittal": 7, "coronal": 2, "axial": 5}[plane]
    slice_ = list(cut(volume, plane))[index]  # type: ignore[arg-type]
    pixels = slice_.pixels()
    height, width = pixels.shape
    rows, columns = np.nonzero(pixels == pixels.max())
    point = ((columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height)
    np.testing.assert_allclose(slice_.to_voxels([point]), [[7, 2, 5]], atol=0.3)
    corners = slice_.to_voxels([(0.0, 0.0), (1.0, 1.0)])
    assert corners.min() == -0.5
    assert {float(each) for each in corners.max(axis=0)} <= {9.5, 11.5, 7.5, float(index)}
