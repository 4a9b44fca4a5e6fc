"""The report of a series: all of the answer on one page, and nothing that names a patient."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.dicom.studies import ELSEWHERE, REQUIRED, STUDY, answered, write_study
from tests.inference.series.drawn import head, save, write_bright_model
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.run import SeriesRun
from tumorlens.seriesreport import series_report
from tumorlens.seriesreport.figures import probability_curve, slice_figures
from tumorlens.volumes.dicom.headers import read_identifiers

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    return Predictor.open(path, threads=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "CANARY-FOLDER")


@pytest.fixture(scope="module")
def run(bright: Predictor, study: Path) -> SeriesRun:
    return answered(bright, study)


class Seen(HTMLParser):
    """Tags with their attributes, and the text of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_says_what_the_answer_says(run: SeriesRun) -> None:
    seen = Seen(series_report(run, now=NOW))
    (finding,) = run.answer.findings
    assert seen.text.count("not for clinical use") >= 3  # both banners, and each printed page
    for words in (
        "Tumour suspected", f"{run.answer.prob:.3f}", f"{finding.first} to {finding.last}",
        f"{finding.diameter_mm:.1f} mm", f"{finding.volume_ml:.2f} ml", "right", "64 × 72 × 20",
        "3 × 3 × 8 mm", "T1", "too little of the head", run.answer.model.sha256,
        "knows brightness only", "2026-03-04T05:06+00:00",
    ):  # fmt: skip
        assert words in seen.text, words
    assert len(seen.all("polygon")) == len(finding.outlines)
    answered_slices = sum(each.set_aside is None for each in run.answer.slices)
    assert len(seen.all("circle")) == answered_slices


def test_the_page_needs_nothing_outside_of_itself(run: SeriesRun) -> None:
    page = series_report(run)
    seen = Seen(page)
    assert {tag for tag, _ in seen.tags} & {"script", "link", "iframe", "object", "form"} == set()
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r"base64,[\w+/=]+", "", page))
    assert "default-src 'none'" in str(seen.all("meta"))
    assert not [attrs for _, attrs in seen.tags if any(name.startswith("on") for name in attrs)]
    assert "@media print" in page
    for image in seen.all("image"):
        assert str(image["href"]).startswith("data:image/png;base64,")


def test_no_patient_no_file_and_no_identifier_unless_asked_for(run: SeriesRun, study: Path) -> None:
    page = series_report(run)
    for canary in (*REQUIRED.values(), *ELSEWHERE.values(), "CANARY", STUDY, str(study)):
        if len(canary) > 1:  # "F" is a letter
            assert canary not in page
    named = Seen(series_report(run, identifiers=read_identifiers(run.volume))).text
    for shown in ("CANARY-NAME^JANE", "CANARY-ID", "19610203", "CANARY-ACCESS", STUDY):
        assert shown in named
    assert "CANARY-FOLDER" not in named


def test_files_that_were_left_out_are_counted_without_their_names(
    bright: Predictor, tmp_path: Path
) -> None:
    folder = write_study(tmp_path / "study")
    copy = next(folder.iterdir())
    (folder / "CANARY-COPY.dcm").write_bytes(copy.read_bytes())
    run = answered(bright, folder)
    assert any("CANARY-COPY" in each for each in run.answer.remarks)
    text = Seen(series_report(run)).text
    assert "CANARY" not in text
    assert "1 images left out: the same image as another" in text


def test_healthy_and_refused_series_have_a_page_too(bright: Predictor, tmp_path: Path) -> None:
    healthy = Seen(series_report(answered(bright, save(tmp_path / "a.nii.gz", head()))))
    assert "No tumour found" in healthy.text
    assert "No finding was outlined." in healthy.text
    assert not healthy.all("polygon")
    knee = answered(bright, write_study(tmp_path / "knee", BodyPartExamined="KNEE"))
    refused = Seen(series_report(knee))
    assert "Not answered" in refused.text
    assert "This is no usable series of a head's MRI: the header says" in refused.text
    assert read_identifiers(answered(bright, tmp_path / "a.nii.gz").volume) == {}


def test_outlines_lie_on_the_picture_they_belong_to(run: SeriesRun) -> None:
    figures = [each for each in slice_figures(run) if each.outlines]
    assert figures
    for each in figures:
        scan = cv2.imdecode(np.frombuffer(each.scan, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert scan.shape == (each.height, each.width)
        points = np.array([pair.split(",") for pair in each.outlines[0].split()], float)
        column, row = points.mean(axis=0).astype(int)
        assert scan[row, column] == scan.max()
        assert column < each.width / 2  # the patient's right is on the left
        assert each.letters == "RLAP"
        assert each.heat is not None
    page = series_report(run)
    assert base64.b64encode(figures[0].scan).decode() in page


def test_the_curve_leaves_gaps_and_marks_findings(run: SeriesRun) -> None:
    curve = probability_curve(run.answer, run.slice_threshold)
    (finding,) = run.answer.findings
    ((left, width),) = curve.bands
    inside = [x for x, _, _ in curve.dots if left < x < left + width]
    assert len(inside) == finding.last - finding.first + 1
    over = [x for x, y, _ in curve.dots if y < curve.threshold]
    assert over == inside
    slices = list(run.answer.slices)
    slices[10] = slices[10].model_copy(update={"prob": None, "set_aside": "drawn"})
    gap = probability_curve(run.answer.model_copy(update={"slices": tuple(slices)}), 0.5)
    assert (len(curve.lines), len(gap.lines)) == (1, 2)
