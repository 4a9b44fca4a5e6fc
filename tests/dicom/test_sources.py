"""Sources of each kind: mosaics, classic multi-frame files, gaps, headers that lack something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom import sr
from pydicom.dataset import Dataset

from tests.dicom.studies import SHAPE, SPACING, TUMOUR, answered, elements
from tests.imaging.dicoms import encode
from tests.inference.series.drawn import head
from tests.volumes.dicom_series import Scan, mosaic, multi_frame, write_slices
from tumorlens.dicom import result_datasets
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.run import SeriesRun

MULTI_FRAME_GREYSCALE_WORD = "1.2.840.10008.5.1.4.1.1.7.3"


def drawn() -> Scan:
    volume = head(TUMOUR, shape=SHAPE, spacing=SPACING)
    return Scan(volume.data, volume.spacing_mm)


def write(folder: Path, made: Dataset) -> Path:
    folder.mkdir()
    for keyword, value in elements().items():
        setattr(made, keyword, value)
    (folder / "a.dcm").write_bytes(encode(made))
    return folder


def made_from_mosaic(folder: Path) -> Path:
    return write(folder, mosaic(drawn()))


def made_from_classic(folder: Path) -> Path:
    return write(
        folder,
        multi_frame(drawn(), SpacingBetweenSlices=8.0, SOPClassUID=MULTI_FRAME_GREYSCALE_WORD),
    )


def made_with_a_gap(folder: Path) -> Path:
    write_slices(folder, drawn(), skip=(11,), **elements())
    return folder


def made_without_a_frame_of_reference(folder: Path) -> Path:
    write_slices(folder, drawn(), **elements(FrameOfReferenceUID=""))
    return folder


MAKERS = (
    made_from_mosaic, made_from_classic, made_with_a_gap, made_without_a_frame_of_reference,
)  # fmt: skip


def outlines(run: SeriesRun) -> Any:
    ((_, made),) = result_datasets(run, ["sr"])
    report = sr.Comprehensive3DSR.from_dataset(made)
    for group in report.content.get_planar_roi_measurement_groups():
        yield group.roi.value, group.roi.ContentSequence[0].ReferencedSOPSequence[0]


@pytest.mark.parametrize("make", MAKERS)
def test_outlines_lie_on_the_ball_in_the_stored_picture(
    bright: Predictor, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    run = answered(bright, make(tmp_path / "study"))
    stored = {each.SOPInstanceUID: each.pixel_array
              for each in map(pydicom.dcmread, run.volume.files)}  # fmt: skip
    found = list(outlines(run))
    assert found
    for points, item in found:
        picture = stored[item.ReferencedSOPInstanceUID]
        if picture.ndim == 3:
            picture = picture[item.ReferencedFrameNumber - 1]
        else:
            assert "ReferencedFrameNumber" not in item
        column, row = np.floor(points.mean(axis=0)).astype(int)
        assert picture[row, column] == 250


def test_a_mosaic_is_named_as_a_whole(bright: Predictor, tmp_path: Path) -> None:
    run = answered(bright, made_from_mosaic(tmp_path / "study"))
    made = dict(result_datasets(run, ["pm", "ko"]))
    for item in made["pm.dcm"].PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.SpatialLocationsPreserved == "NO"
    assert (made["pm.dcm"].Rows, made["pm.dcm"].Columns) == (SHAPE[1], SHAPE[0])


def test_a_missing_slice_has_no_frame(bright: Predictor, tmp_path: Path) -> None:
    run = answered(bright, made_with_a_gap(tmp_path / "study"))
    made = dict(result_datasets(run, ["pm"]))["pm.dcm"]
    assert made.NumberOfFrames == SHAPE[2] - 1
    heights = sorted(float(each.PlanePositionSequence[0].ImagePositionPatient[2])
                     for each in made.PerFrameFunctionalGroupsSequence)  # fmt: skip
    assert sorted(set(np.diff(heights))) == [8.0, 16.0]


def test_a_frame_of_reference_of_our_own_is_stable(bright: Predictor, tmp_path: Path) -> None:
    study = made_without_a_frame_of_reference(tmp_path / "study")
    first, again = (dict(result_datasets(answered(bright, study), ["pm", "seg"])) for _ in "12")
    uids = {each.FrameOfReferenceUID for made in (first, again) for each in made.values()}
    assert len(uids) == 1
    assert uids.pop().startswith("2.25.")
