"""Map, segmentation and key slices lie where the evidence is, and name the images they are from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tests.dicom.studies import FRAME, answered
from tests.models_for_tests import write_tiny_model
from tumorlens.dicom import result_datasets
from tumorlens.errors import ExplanationUnavailableError
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.evidence_map import DESCRIPTION, evidence_volume
from tumorlens.inference.series.run import SeriesRun
from tumorlens.volumes.write import write_nifti

Runs = dict[str, SeriesRun]
Results = Callable[[str], dict[str, Dataset]]
SOURCES = ("axial", "turned", "transposed", "coronal", "sagittal", "enhanced", "recut")


def reread(made: Dataset, path: Path) -> Any:
    made.save_as(path, enforce_file_format=True)
    return highdicom.imread(path)


def places(image: Any, item: Dataset) -> NDArray[np.float64]:
    """Return the patient's coordinates of each pixel's centre, ``[rows, columns, 3]``."""
    shared = image.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    origin = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
    rows, columns = np.mgrid[: image.Rows, : image.Columns]
    across = columns[..., None] * spacing[1] * axes[:3]
    return np.asarray(origin + across + rows[..., None] * spacing[0] * axes[3:])


@pytest.mark.parametrize("kind", SOURCES)
def test_the_map_lies_where_the_nifti_of_the_map_does(
    runs: Runs, results: Results, tmp_path: Path, kind: str
) -> None:
    run = runs[kind]
    with (tmp_path / "map.nii.gz").open("wb") as file:
        write_nifti(file, evidence_volume(run), run.volume.affine, DESCRIPTION)
    nifti: Any = nibabel.load(tmp_path / "map.nii.gz")
    wanted = np.asarray(nifti.dataobj)
    image = reread(results(kind)["pm.dcm"], tmp_path / "pm.dcm")
    assert int(image.NumberOfFrames) == sum(each is not None for each in run.volume.frames)
    assert image.ContentQualification == "RESEARCH"
    assert image.FrameOfReferenceUID == FRAME
    assert (image.BitsStored, image.PixelRepresentation) == (16, 0)
    seen = 0
    for frame, item in zip(image.pixel_array, image.PerFrameFunctionalGroupsSequence, strict=True):
        lps = places(image, item)
        voxels = nibabel.affines.apply_affine(np.linalg.inv(nifti.affine), lps * (-1, -1, 1))
        nearest = np.rint(voxels).astype(int)
        np.testing.assert_allclose(voxels, nearest, atol=0.01)  # far less than half a pixel
        np.testing.assert_array_equal(frame, wanted[tuple(np.moveaxis(nearest, -1, 0))])
        seen += int((frame > 50).sum())
    assert seen == int((wanted > 50).sum()) > 0


def test_values_of_the_map_are_percent(results: Results, tmp_path: Path) -> None:
    image = reread(results("axial")["pm.dcm"], tmp_path / "pm.dcm")
    shared = image.SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "%"
    transform = shared.PixelValueTransformationSequence[0]
    assert (transform.RescaleSlope, transform.RescaleIntercept) == (1, 0)
    real = image.get_frames(apply_real_world_transform=True)
    assert (real.min(), real.max()) == (0, image.pixel_array.max())
    assert 90 < real.max() <= 100


@pytest.mark.parametrize("kind", ["axial", "transposed", "enhanced"])
def test_segments_are_the_outlines_of_the_report(
    results: Results, tmp_path: Path, kind: str
) -> None:
    made = results(kind)
    image = reread(made["seg.dcm"], tmp_path / "seg.dcm")
    (segment,) = image.SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "4147007"
    assert segment.TrackingID == "Finding 1"
    report = highdicom.sr.Comprehensive3DSR.from_dataset(made["sr.dcm"])
    groups = report.content.get_planar_roi_measurement_groups()
    outlines = {}
    for group in groups:
        item = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        outlines[item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber")] = group.roi.value
    frames = image.pixel_array.reshape(-1, image.Rows, image.Columns)
    assert len(frames) == len(outlines)
    for frame, item in zip(frames, image.PerFrameFunctionalGroupsSequence, strict=True):
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        points = outlines[source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")]
        mask = np.zeros_like(frame, dtype=np.uint8)
        cv2.fillPoly(mask, [np.rint(points - 0.5).astype(np.int32)], [1])
        assert (frame & mask).sum() / (frame | mask).sum() > 0.95
    uids = {str(group.tracking_uid) for group in groups}
    assert segment.TrackingUID not in uids  # that of the finding, not of one outline
    whole = report.content.get_image_measurement_groups()[1]
    assert whole.tracking_uid == segment.TrackingUID


@pytest.mark.parametrize("kind", ["axial", "transposed", "enhanced"])
def test_each_frame_names_the_image_in_its_place(
    runs: Runs, results: Results, tmp_path: Path, kind: str
) -> None:
    stored = {each.SOPInstanceUID: each for each in map(pydicom.dcmread, runs[kind].volume.files)}
    for name in ("pm.dcm", "seg.dcm"):
        image = reread(results(kind)[name], tmp_path / name)
        listed = image.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        named = set()
        for item in image.PerFrameFunctionalGroupsSequence:
            source = item.DerivationImageSequence[0].SourceImageSequence[0]
            original = stored[source.ReferencedSOPInstanceUID]
            named.add(source.ReferencedSOPInstanceUID)
            if kind == "enhanced":
                original = original.PerFrameFunctionalGroupsSequence[
                    source.ReferencedFrameNumber - 1
                ].PlanePositionSequence[0]
            assert source.SpatialLocationsPreserved == "YES"
            np.testing.assert_allclose(
                original.ImagePositionPatient, item.PlanePositionSequence[0].ImagePositionPatient
            )
        assert {each.ReferencedSOPInstanceUID for each in listed} == named


def test_key_slices_are_those_with_an_outline(runs: Runs, results: Results) -> None:
    for kind in ("axial", "enhanced"):
        content = results(kind)["ko.dcm"].ContentSequence
        images = [each.ReferencedSOPSequence[0] for each in content if each.ValueType == "IMAGE"]
        (finding,) = runs[kind].answer.findings
        count = sum(len(np.atleast_1d(each.get("ReferencedFrameNumber", 0))) for each in images)
        assert count == len(finding.outlines)
        assert len(images) == (1 if kind == "enhanced" else count)
    assert any("not for clinical use" in each.get("TextValue", "") for each in content)


def test_what_there_is_nothing_to_say_of_is_not_written(results: Results) -> None:
    kinds = {kind: {name[:2] for name in results(kind)} for kind in ("healthy", "refused", "recut")}
    assert kinds == {"healthy": {"sr", "pm", "sc"}, "refused": {"sr", "sc"},
                     "recut": {"sr", "pm", "se", "sc"}}  # fmt: skip


def test_a_model_without_a_map_has_no_map(runs: Runs, tmp_path: Path) -> None:
    flat = Predictor.open(write_tiny_model(tmp_path / "flat.onnx", has_map=False), threads=1)
    run = answered(flat, Path(runs["axial"].volume.files[0]).parent)
    if run.answered:
        with pytest.raises(ExplanationUnavailableError, match="no class map"):
            result_datasets(run, ["pm"])
    assert {name[:2] for name, _ in result_datasets(run, ["sr", "seg", "sc", "ko"])} == {"sr", "sc"}
