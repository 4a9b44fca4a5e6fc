"""The report says what the answer says, and its outlines lie where the finding is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom import sr
from pydicom.dataset import Dataset

from tests.dicom.studies import FRAME, STUDY, answered, write_study
from tumorlens.dicom import result_datasets
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.run import SeriesRun

Runs = dict[str, SeriesRun]


def report_of(run: SeriesRun, tmp_path: Path) -> Any:
    """Return the report, written and read back by highdicom."""
    ((_, made),) = result_datasets(run, ["sr"])
    made.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    return sr.srread(tmp_path / "sr.dcm")


def comments(report: Dataset) -> str:
    return " ".join(
        str(item.TextValue) for _, item in walk(report)
        if item.get("ValueType") == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "121106"
    )  # fmt: skip


def walk(dataset: Dataset, depth: int = 0) -> Any:
    for item in dataset.get("ContentSequence", []):
        yield depth, item
        yield from walk(item, depth + 1)


def test_a_tumour_is_a_partial_unverified_report(runs: Runs, tmp_path: Path) -> None:
    run = runs["axial"]
    report = report_of(run, tmp_path)
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
    assert flags == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")
    assert report.StudyInstanceUID == STUDY
    assert report.content[0].ContentSequence[0].ConceptCodeSequence[0].CodeValue == "en-US"
    (finding,) = run.answer.findings
    series, whole = report.content.get_image_measurement_groups()
    decision, neoplasm = series.get_qualitative_evaluations()
    assert (decision.value.value, decision.value.scheme_designator) == ("tumor", "99TUMORLENS")
    assert neoplasm.value.meaning == "Detected"
    assert whole.finding_type.value == "4147007"
    measured = {each.name.value: (each.value, each.unit.value) for each in whole.get_measurements()}
    assert measured == {
        "118565006": (pytest.approx(finding.volume_ml), "ml"),
        "42798000": (pytest.approx(finding.area_mm2), "mm2"),
        "103339001": (pytest.approx(finding.diameter_mm), "mm"),
        "111012": (pytest.approx(100 * finding.prob, abs=0.05), "%"),
    }
    assert whole.finding_sites[0].laterality.meaning == "Right"
    assert "111047" not in str(report.to_json_dict())  # more than a model can know


def test_each_evidence_slice_has_its_outline_and_measurements(runs: Runs, tmp_path: Path) -> None:
    run = runs["axial"]
    (finding,) = run.answer.findings
    groups = report_of(run, tmp_path).content.get_planar_roi_measurement_groups()
    assert len(groups) == len(finding.outlines)
    for group, outline in zip(groups, finding.outlines, strict=True):
        values = {each.name.value: each.value for each in group.get_measurements()}
        assert values["42798000"] == pytest.approx(outline.area_mm2)
        assert 0 < values["103339001"] <= finding.diameter_mm + 0.1
        prob = run.answer.slices[outline.index].prob
        assert values["111012"] == pytest.approx(100 * (prob or 0), abs=0.05)
        region = group.roi
        assert region.graphic_type == sr.GraphicTypeValues.POLYLINE
        np.testing.assert_array_equal(region.value[0], region.value[-1])


PLACES: dict[str, Callable[[float, float, int, int], tuple[float, float]]] = {
    "axial": lambda x, y, w, h: (x * w, y * h),
    "coronal": lambda x, y, w, h: (x * w, y * h),
    "sagittal": lambda x, y, w, h: (x * w, y * h),
    "turned": lambda x, y, w, h: (w - x * w, h - y * h),
    "transposed": lambda x, y, w, h: (w - y * w, x * h),
}


@pytest.mark.parametrize("plane", PLACES)
def test_outlines_lie_on_the_ball_in_the_stored_image(
    bright: Predictor, tmp_path: Path, plane: str
) -> None:
    run = answered(bright, write_study(tmp_path / "study", plane=plane))
    stored = {each.SOPInstanceUID: each
              for each in map(pydicom.dcmread, (tmp_path / "study").iterdir())}  # fmt: skip
    (finding,) = run.answer.findings
    groups = report_of(run, tmp_path).content.get_planar_roi_measurement_groups()
    for group, outline in zip(groups, finding.outlines, strict=True):
        points = group.roi.value
        item = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        image = stored[item.ReferencedSOPInstanceUID]
        assert "ReferencedFrameNumber" not in item
        wanted = [PLACES[plane](x, y, image.Columns, image.Rows) for x, y in outline.polygons[0]]
        np.testing.assert_allclose(points[:-1], wanted, atol=0.01)  # pixels
        # Independent of all that: the pixels inside are bright, and the outline is round them.
        inside = image.pixel_array[tuple(np.floor(points[:-1, ::-1]).astype(int).T)]
        assert np.mean(inside == 250) > 0.8
        assert image.pixel_array[tuple(np.floor(points.mean(axis=0)[::-1]).astype(int))] == 250


def test_outlines_refer_to_the_frame_of_an_enhanced_image(runs: Runs, tmp_path: Path) -> None:
    run = runs["enhanced"]
    image = pydicom.dcmread(run.volume.files[0])
    groups = report_of(run, tmp_path).content.get_planar_roi_measurement_groups()
    assert groups
    for group in groups:
        item = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        frame = image.pixel_array[item.ReferencedFrameNumber - 1]
        column, row = np.floor(group.roi.value.mean(axis=0)).astype(int)
        assert frame[row, column] == 250


def test_slices_of_another_plane_are_outlined_in_space(runs: Runs, tmp_path: Path) -> None:
    report = report_of(runs["recut"], tmp_path)
    groups = report.content.get_planar_roi_measurement_groups()
    axial = report_of(runs["axial"], tmp_path)
    stored = {
        each.SOPInstanceUID: each for each in map(pydicom.dcmread, runs["axial"].volume.files)
    }
    flat = []
    for group in axial.content.get_planar_roi_measurement_groups():
        item = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        image = stored[item.ReferencedSOPInstanceUID]
        moved = (group.roi.value.mean(axis=0) - 0.5) * 3.0
        flat.append(np.array(image.ImagePositionPatient) + np.append(moved, 0.0))
    for group in groups:
        assert group.roi.graphic_type == sr.GraphicTypeValues3D.POLYGON
        assert group.roi.frame_of_reference_uid == FRAME
        assert np.ptp(group.roi.value[:, 0]) < 1e-3  # sagittal
    centre = np.mean([group.roi.value.mean(axis=0) for group in groups], axis=0)
    np.testing.assert_allclose(centre, np.mean(flat, axis=0), atol=8)


def test_a_healthy_series_and_a_refused_one_are_reported_too(runs: Runs, tmp_path: Path) -> None:
    healthy = report_of(runs["healthy"], tmp_path)
    (series,) = healthy.content.get_image_measurement_groups()
    assert [each.value.meaning for each in series.get_qualitative_evaluations()] == [
        "Healthy", "Not detected"
    ]  # fmt: skip
    assert not healthy.content.get_planar_roi_measurement_groups()
    assert "No finding was outlined." in comments(healthy)
    refused = report_of(runs["refused"], tmp_path)
    (series,) = refused.content.get_image_measurement_groups()
    assert [each.value.meaning for each in series.get_qualitative_evaluations()] == [
        "Uncertain", "Indeterminate"
    ]  # fmt: skip
    assert not series.get_measurements()
    assert "Not a usable series of a head's MRI: the header says" in comments(refused)
    assert "not for clinical use" in comments(refused)


def test_the_algorithm_is_identified(runs: Runs, tmp_path: Path) -> None:
    run = runs["axial"]
    report = report_of(run, tmp_path)
    texts = {}
    for _, item in walk(report):
        if item.get("ValueType") == "TEXT":
            texts.setdefault(item.ConceptNameCodeSequence[0].CodeValue, []).append(item.TextValue)
    assert texts["111001"][0] == f"TumorLens, model {run.answer.model.name}"
    assert f"model SHA-256: {run.answer.model.sha256}" in texts["111002"]
    assert "threshold of the series: 0.5" in texts["111002"]
    assert "temperature: 1" in texts["111002"]
