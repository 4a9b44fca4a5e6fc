"""DICOM: the same head in one file a slice, in many frames and in a mosaic; series stay apart."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from tests.imaging.dicoms import SECRET, dataset, encode
from tests.volumes.dicom_series import (
    SERIES,
    Scan,
    enhanced,
    mosaic,
    multi_frame,
    one_slice,
    write_slices,
)
from tests.volumes.heads import AFFINE, SPACING, head, save
from tumorlens.errors import DecodeError, InputError, UnsupportedFormatError
from tumorlens.imaging.image import Limits
from tumorlens.volumes.discover import discover, load_volume
from tumorlens.volumes.entries import Picture, SeriesInput, Unreadable, VolumeInput
from tumorlens.volumes.slices import cut
from tumorlens.volumes.volume import VOLUME_LIMITS, Volume


def only(*paths: Path) -> SeriesInput:
    (entry,) = discover(paths)
    assert isinstance(entry, SeriesInput)
    return entry


def check_head(volume: Volume, plane: str = "axial") -> None:
    np.testing.assert_array_equal(volume.data, head())
    np.testing.assert_allclose(volume.spacing_mm, SPACING)
    assert (volume.plane, volume.modality, volume.sequence) == (plane, "MR", "T1")
    assert volume.oriented


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_classic_series_is_sorted_by_position(plane: str, tmp_path: Path) -> None:
    scan = Scan(head(), SPACING, plane)
    write_slices(tmp_path / "study", scan)
    entry = only(tmp_path)
    assert entry.name == str(tmp_path / "study")
    assert entry.n_slices == len(scan.slices) == len(entry.files) == len(entry.pictures)
    assert not entry.set_aside
    assert not entry.remarks
    assert entry.header.refusal is None
    volume = entry.load()
    check_head(volume, plane)
    assert volume.files == entry.files
    # The corner voxel lies where the first slice's first pixel does.
    same = load_volume(save(tmp_path / "v.nii", head()))
    for plane_cut in ("axial", "coronal", "sagittal"):
        for one, other in zip(cut(volume, plane_cut), cut(same, plane_cut), strict=True):
            np.testing.assert_array_equal(one.pixels(), other.pixels())
    first = next(k for k in range(len(scan.slices)) if (scan.slices[k] > 50).any())
    lps = scan.positions[first]
    where = np.linalg.solve(volume.affine, [-lps[0], -lps[1], lps[2], 1])[:3].round(3)
    assert volume.data[tuple(where.astype(int))] == scan.slices[first][0, 0]


def test_an_oblique_series_keeps_its_own_plane(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    angle = np.deg2rad(25)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)],
                     [0, np.sin(angle), np.cos(angle)]])  # fmt: skip
    scan.axes = tuple(turn @ axis for axis in scan.axes)
    scan.positions = [turn @ position for position in scan.positions]
    write_slices(tmp_path, scan)
    volume = only(tmp_path).load()
    check_head(volume)
    slices = list(cut(volume))
    np.testing.assert_allclose(np.diff([each.position_mm for each in slices]), SPACING[2])
    assert abs(volume.affine[1, 2]) > 1


def test_an_isotropic_series_is_cut_in_its_own_plane_like_a_thick_one(tmp_path: Path) -> None:
    write_slices(tmp_path, Scan(head(), (7.0, 7.0, 7.0), "sagittal"))
    assert only(tmp_path).load().plane == "sagittal"


@pytest.mark.parametrize("packed", [False, True])
def test_enhanced_mr_with_its_frames_in_any_order(packed: bool, tmp_path: Path) -> None:
    scan = Scan(head(), SPACING, "coronal")
    order = [int(k) for k in np.random.default_rng(1).permutation(len(scan.slices))]
    made = enhanced(scan, order)
    path = tmp_path / "e.dcm"
    path.write_bytes(encode(made))
    if packed:
        kept = dcmread(path)
        kept.compress(RLELossless, encoding_plugin="pydicom")
        kept.save_as(path)
    entry = only(path)
    assert entry.name == str(path)
    assert entry.n_slices == len(scan.slices)
    assert not entry.pictures
    check_head(entry.load(), "coronal")
    assert load_volume(path).name == str(path)


def test_gzip_of_dicom_is_read(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    (tmp_path / "e.dcm.gz").write_bytes(gzip.compress(encode(enhanced(scan))))
    check_head(only(tmp_path / "e.dcm.gz").load())
    for path in write_slices(tmp_path / "s", scan):
        path.write_bytes(gzip.compress(path.read_bytes()))
    check_head(only(tmp_path / "s").load())


def test_enhanced_mr_with_a_scale_for_each_frame(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    slopes = np.linspace(1, 2, len(scan.slices))
    (tmp_path / "e.dcm").write_bytes(encode(enhanced(scan, slopes=slopes)))
    volume = only(tmp_path / "e.dcm").load()
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, head() * slopes[None, None, :], rtol=1e-5)


def test_classic_multi_frame_needs_a_position_and_a_distance(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    path = tmp_path / "m.dcm"
    path.write_bytes(encode(multi_frame(scan, SpacingBetweenSlices=SPACING[2])))
    check_head(only(path).load())
    path.write_bytes(encode(multi_frame(scan)))
    (entry,) = discover([path])
    assert isinstance(entry, Unreadable)
    assert isinstance(entry.error, UnsupportedFormatError)
    assert f"has {len(scan.slices)} frames without positions" in str(entry.error)


# Without the vendor's own header the direction of the slices is that of the normal.
@pytest.mark.parametrize(("csa", "descending"), [(True, False), (True, True), (False, False)])
def test_a_mosaic_is_unpacked(csa: bool, descending: bool, tmp_path: Path) -> None:
    path = tmp_path / "m.dcm"
    scan = Scan(head(), SPACING)
    path.write_bytes(encode(mosaic(scan, descending=descending, csa=csa)))
    entry = only(path)
    assert entry.n_slices == len(scan.slices)
    assert entry.header.refusal is None
    volume = entry.load()
    check_head(volume)
    separate = Scan(head(), SPACING)
    write_slices(tmp_path / "s", separate)
    np.testing.assert_allclose(volume.affine, only(tmp_path / "s").load().affine, atol=1e-4)


def test_several_series_in_a_folder_stay_apart(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    write_slices(tmp_path, scan, "a", SeriesNumber=2)
    other = Scan(255 - head(), SPACING)
    uids = {"SeriesInstanceUID": f"{SERIES}.9", "SeriesNumber": 7}
    for k, path in enumerate(write_slices(tmp_path, other, "b", **uids)):
        path.write_bytes(encode(one_slice(other, k, SOPInstanceUID=f"9.{k}", **uids)))
    first, second = discover([tmp_path])
    assert isinstance(first, SeriesInput)
    assert isinstance(second, SeriesInput)
    assert (first.name, second.name) == (f"{tmp_path}#2", f"{tmp_path}#7")
    np.testing.assert_array_equal(first.load().data, head())
    np.testing.assert_array_equal(second.load().data, 255 - head())


def test_echoes_and_repetitions_of_one_series_are_stacks(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    for echo in (1, 2):
        for k, path in enumerate(write_slices(tmp_path / "echoes", scan, f"{echo}-")):
            made = one_slice(scan, k, EchoTime=10.0 * echo, SOPInstanceUID=f"1.{echo}.{k}")
            path.write_bytes(encode(made))
    names = [each.name for each in discover([tmp_path / "echoes"])]
    assert names == [f"{tmp_path}/echoes#1", f"{tmp_path}/echoes#2"]
    for time in (1, 2, 3):
        changed = Scan(head() // time, SPACING)
        for k, path in enumerate(write_slices(tmp_path / "times", changed, f"{time}-")):
            number = (time - 1) * len(changed.slices) + k
            made = one_slice(changed, k, InstanceNumber=number, SOPInstanceUID=f"2.{time}.{k}")
            path.write_bytes(encode(made))
    entries = discover([tmp_path / "times"])
    assert len(entries) == 3
    for time, entry in enumerate(entries, 1):
        assert isinstance(entry, SeriesInput)
        np.testing.assert_array_equal(entry.load().data, head() // time)


def test_copies_gaps_and_strangers_are_told(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    paths = write_slices(tmp_path, scan, skip=(7, 8))
    (tmp_path / "copy.dcm").write_bytes(paths[0].read_bytes())
    small = dataset(scan.slices[0][:8, :8], SeriesInstanceUID=SERIES, SOPInstanceUID="5",
                    PixelSpacing=[1, 1], ImageOrientationPatient=scan.orientation,
                    ImagePositionPatient=[0, 0, 0], Modality="MR")  # fmt: skip
    (tmp_path / "small.dcm").write_bytes(encode(small))
    scout = one_slice(scan, 3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SOPInstanceUID="6")
    (tmp_path / "scout.dcm").write_bytes(encode(scout))
    (tmp_path / "bare.dcm").write_bytes(
        encode(dataset(scan.slices[0], SeriesInstanceUID=SERIES, SOPInstanceUID="7"))
    )
    entry = only(tmp_path)
    reasons = {Path(name).name: reason for name, reason in entry.set_aside}
    assert set(reasons) == {max(paths[0].name, "copy.dcm"), "small.dcm", "scout.dcm", "bare.dcm"}
    assert "the same image as" in reasons[max(paths[0].name, "copy.dcm")]
    assert "8 × 8 pixels, where the series has 32 × 32" in reasons["small.dcm"]
    assert "localizer" in reasons["scout.dcm"]
    assert "no position" in reasons["bare.dcm"]
    assert entry.remarks == ("2 missing after slice 6: left blank",)
    volume = entry.load()
    expected = head().copy()
    expected[:, :, 7:9] = 0
    np.testing.assert_array_equal(volume.data, expected)
    np.testing.assert_allclose(volume.spacing_mm, SPACING)


def test_files_that_share_an_identifier_are_not_lost(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    for k in range(3):
        bare = dataset(scan.slices[k], SeriesInstanceUID=SERIES, SOPInstanceUID="7")
        (tmp_path / f"{k}.dcm").write_bytes(encode(bare))
    assert [Path(each.name).name for each in discover([tmp_path])] == ["0.dcm", "1.dcm", "2.dcm"]
    write_slices(tmp_path / "same", scan, SOPInstanceUID="8")
    check_head(only(tmp_path / "same").load())


def test_a_large_gap_parts_two_stacks(tmp_path: Path) -> None:
    write_slices(tmp_path, Scan(head(), SPACING), skip=tuple(range(5, 13)))
    low, high = discover([tmp_path])
    assert isinstance(low, SeriesInput)
    assert isinstance(high, SeriesInput)
    np.testing.assert_array_equal(low.load().data, head()[:, :, :5])
    np.testing.assert_array_equal(high.load().data, head()[:, :, 13:])


def test_slices_without_a_distance_of_their_own_are_pictures(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    for k, shift in enumerate((0.0, 2.1, 6.4, 9.0, 15.7, 16.1)):
        made = one_slice(scan, k, ImagePositionPatient=[0, 0, shift])
        (tmp_path / f"{k}.dcm").write_bytes(encode(made))
    entries = discover([tmp_path])
    assert [type(each) for each in entries] == [Picture] * 6
    assert [type(each) for each in discover([tmp_path / "0.dcm", tmp_path / "1.dcm"])] == [
        Picture, Picture]  # fmt: skip


def test_without_grouping_each_file_is_a_picture_in_its_place(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    write_slices(tmp_path, scan)
    save(tmp_path / "005a.nii", head())
    (tmp_path / "frames.dcm").write_bytes(encode(enhanced(scan)))
    entries = discover([tmp_path], group_slices=False)
    assert [Path(each.name).name for each in entries] == sorted(
        path.name for path in tmp_path.iterdir()
    )
    kinds = {Path(each.name).name: type(each) for each in entries}
    assert kinds.pop("005a.nii") is VolumeInput
    assert kinds.pop("frames.dcm") is SeriesInput
    assert set(kinds.values()) == {Picture}


def test_a_zip_of_dicom_with_its_index(tmp_path: Path) -> None:
    from pydicom.uid import MediaStorageDirectoryStorage

    paths = write_slices(tmp_path / "s", Scan(head(), SPACING))
    index = dataset(None, SOPClassUID=MediaStorageDirectoryStorage)
    report = dataset(None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr("DICOMDIR", encode(index))
        archive.writestr("zz-report.dcm", encode(report))
        for path in paths:
            archive.write(path, f"IMG/{path.name}")
    series, unread = discover([tmp_path / "study.zip"])
    assert isinstance(series, SeriesInput)
    assert series.name == str(tmp_path / "study.zip" / "IMG")
    check_head(series.load())
    assert isinstance(unread, Unreadable)
    assert "no pixel data" in str(unread.error)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "CT"),
     ({"BodyPartExamined": "KNEE"}, "knee"),
     ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer")],
)  # fmt: skip
def test_the_header_says_why_a_series_is_none(
    elements: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    write_slices(tmp_path, Scan(head(), SPACING), **elements)
    entry = only(tmp_path)
    assert entry.header.refusal is not None
    assert reason in entry.header.refusal


def test_white_is_zero_signed_and_padding(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    scan.slices = (255 - scan.slices).astype(np.uint16)
    write_slices(tmp_path / "white", scan, PhotometricInterpretation="MONOCHROME1")
    volume = only(tmp_path / "white").load()
    np.testing.assert_array_equal(volume.data - int(volume.data.min()), head())
    padded = Scan(head(), SPACING)
    padded.slices[:, :3] = 4000
    write_slices(tmp_path / "padded", padded, PixelPaddingValue=4000)
    assert only(tmp_path / "padded").load().data.max() == head().max()


def test_damaged_slices_are_named_and_nothing_is_quoted(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    paths = write_slices(tmp_path, scan)
    paths[4].write_bytes(paths[4].read_bytes()[:-400])
    entry = only(tmp_path)
    with pytest.raises(DecodeError) as raised:
        entry.load()
    assert paths[4].name in str(raised.value)
    assert SECRET not in str(raised.value)
    paths[5].write_bytes(paths[5].read_bytes()[:140])
    (series, unread) = sorted(discover([tmp_path]), key=lambda each: type(each).__name__)
    assert isinstance(series, SeriesInput)
    assert isinstance(unread, Unreadable)
    assert unread.name == str(paths[5])


def test_sizes_are_bounded_before_anything_is_read(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"NumberOfFrames": 9000}, "9,000 frames"),
        ({"NumberOfFrames": 4000, "Rows": 60000, "Columns": 60000}, "over the limit"),
        ({"SpacingBetweenSlices": 900.0}, "900 mm"),
    ]
    for changes, match in cases:
        made = multi_frame(scan)
        for keyword, value in changes.items():
            setattr(made, keyword, value)
        path = tmp_path / "m.dcm"
        path.write_bytes(encode(made))
        with pytest.raises(InputError, match=match):
            load_volume(path)
    path = tmp_path / "plain.dcm"
    path.write_bytes(encode(one_slice(scan, 0)))
    (large,) = discover([path], limits=Limits(max_bytes=50, max_pixels=VOLUME_LIMITS.max_pixels))
    assert isinstance(large, Unreadable)


def test_the_same_affine_as_nifti(tmp_path: Path) -> None:
    scan = Scan(head(), SPACING, "sagittal")
    write_slices(tmp_path / "s", scan)
    volume = only(tmp_path / "s").load()
    assert np.linalg.det(volume.affine[:3, :3]) > 0
    np.testing.assert_allclose(np.diag(volume.affine)[:3], SPACING)
    assert AFFINE.shape == volume.affine.shape
