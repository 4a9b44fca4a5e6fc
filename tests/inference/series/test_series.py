"""One answer for a volume: what is found, how large it is, and on which side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.inference.series.drawn import SHAPE, SPACING, blank_but, head, save, write_bright_model
from tests.volumes.dicom_series import Scan, write_slices
from tests.volumes.heads import CODES, reoriented
from tumorlens.errors import ConfigError, DecodeError, UnsupportedFormatError
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.answer import SeriesPrediction
from tumorlens.inference.series_batch import run_series
from tumorlens.metrics.decision import Conformal, Threshold
from tumorlens.modelfile import SeriesRule
from tumorlens.modelfile.rewrite import write_series_rule
from tumorlens.volumes.volume import Volume

RADIUS = 25.0
TUMOUR = ((30.0, 10.0, 16.0), RADIUS)  # right, in front, above the middle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return Predictor.open(model, threads=1)


def test_a_healthy_head_is_healthy(predictor: Predictor) -> None:
    answer = predictor.predict_series(head())
    assert (answer.label, answer.decision, answer.in_domain) == ("healthy", "healthy", True)
    assert answer.findings == ()
    assert answer.prob is not None
    assert answer.prob < 0.1


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_ball_is_found_with_its_place_and_size(predictor: Predictor, plane: str) -> None:
    answer = predictor.predict_series(head(TUMOUR), plane)  # type: ignore[arg-type]
    assert (answer.label, answer.plane) == ("tumor", plane)
    (finding,) = answer.findings
    assert finding.laterality == "right"
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    middle = SHAPE[axis] / 2 + TUMOUR[0][axis] / SPACING[axis]
    # A cell of the map is about 13 mm here, so that borders are known to about half of that.
    assert (finding.first + finding.last) / 2 == pytest.approx(middle, abs=2)
    assert finding.last - finding.first + 1 == pytest.approx(RADIUS, abs=4)
    assert finding.diameter_mm == pytest.approx(2 * RADIUS, abs=10)
    assert finding.area_mm2 == pytest.approx(math.pi * RADIUS**2, rel=0.35)
    assert finding.volume_ml == pytest.approx(4 / 3 * math.pi * RADIUS**3 / 1000, rel=0.45)
    assert answer.slices[finding.peak].prob == finding.prob


def test_the_outline_surrounds_the_ball(predictor: Predictor) -> None:
    (finding,) = predictor.predict_series(head(TUMOUR)).findings
    outline = next(each for each in finding.outlines if each.index == finding.peak)
    points = np.array(outline.polygons[0])
    # Radiological: the patient's right is on the image's left, the front is up.
    centre = (0.5 - 30 / (SHAPE[0] * 2), 0.5 - 10 / (SHAPE[1] * 2))
    assert points.mean(axis=0) == pytest.approx(centre, abs=0.03)
    assert outline.area_mm2 <= finding.area_mm2


@pytest.mark.parametrize(
    ("across", "side"), [(-30.0, "left"), (30.0, "right"), (0.0, "midline"), (4.0, "midline")]
)
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_laterality_in_every_plane(
    predictor: Predictor, across: float, side: str, plane: str
) -> None:
    answer = predictor.predict_series(head(((across, 0, 20), 16.0)), plane)  # type: ignore[arg-type]
    assert [each.laterality for each in answer.findings] == [side]


@pytest.mark.parametrize("codes", CODES)
def test_laterality_in_every_orientation(predictor: Predictor, tmp_path: Path, codes: str) -> None:
    import nibabel

    volume = head(TUMOUR, shape=(48, 56, 20), spacing=(4.0, 4.0, 8.0))
    image = reoriented(volume.data, volume.affine, codes)
    nibabel.save(image, tmp_path / "scan.nii")
    answer = predictor.predict_series(tmp_path / "scan.nii", "axial")
    (finding,) = answer.findings
    assert finding.laterality == "right"
    assert finding.first <= 10 + 16 / 8 <= finding.last + 1


def test_sides_are_unknown_without_an_orientation_or_a_whole_head(predictor: Predictor) -> None:
    volume = head(TUMOUR)
    unoriented = predictor.predict_series(replace(volume, oriented=False))
    assert unoriented.findings[0].laterality == "unknown"
    half = Volume.aligned(np.ascontiguousarray(volume.data[44:]), SPACING, "half")
    assert predictor.predict_series(half).findings[0].laterality == "unknown"


def test_two_balls_are_two_findings_largest_first(predictor: Predictor) -> None:
    small = ((-34.0, 20.0, 10.0), 16.0)
    answer = predictor.predict_series(head(TUMOUR, small))
    assert [each.laterality for each in answer.findings] == ["right", "left"]
    assert answer.findings[0].volume_ml > answer.findings[1].volume_ml


def test_one_false_alarm_does_not_make_a_series_positive(predictor: Predictor) -> None:
    volume = head()
    data = volume.data.copy()
    data[40:60, 40:60, 45] = 250
    answer = predictor.predict_series(replace(volume, data=data))
    assert answer.slices[45].decision == "tumor"
    assert (answer.label, answer.findings) == ("healthy", ())


def test_in_thick_slices_one_is_enough(predictor: Predictor) -> None:
    volume = head(TUMOUR, shape=(96, 112, 20), spacing=(2.0, 2.0, 8.0))
    data = head(shape=(96, 112, 20), spacing=(2.0, 2.0, 8.0)).data.copy()
    data[:, :, 12] = volume.data[:, :, 12]
    answer = predictor.predict_series(replace(volume, data=data))
    assert answer.label == "tumor"
    (finding,) = answer.findings
    assert (finding.first, finding.last) == (12, 12)


def test_slices_outside_the_head_are_set_aside(predictor: Predictor) -> None:
    keep = np.zeros(SHAPE, np.bool_)
    keep[:, :, 20:60] = True
    answer = predictor.predict_series(blank_but(head(), keep))
    aside = [each.index for each in answer.slices if each.set_aside is not None]
    assert {*range(20), *range(60, 80)} <= set(aside)
    assert all((each.prob is None) == (each.set_aside is not None) for each in answer.slices)
    assert [each.index for each in answer.slices] == list(range(80))
    assert answer.slices[1].position_mm - answer.slices[0].position_mm == pytest.approx(2.0)


def test_a_series_without_a_usable_slice_has_no_answer(predictor: Predictor) -> None:
    empty = Volume.aligned(np.zeros((24, 24, 10), np.uint8), (6.0, 6.0, 6.0), "empty")
    answer = predictor.predict_series(empty)
    assert (answer.label, answer.prob, answer.decision) == (None, None, "uncertain")
    assert not answer.in_domain
    assert answer.in_domain_reason


def test_the_header_is_asked_first(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Predictor, "infer", lambda *_: pytest.fail("the network was asked"))
    answer = predictor.predict_series(replace(head(TUMOUR), modality="CT"))
    assert not answer.in_domain
    assert answer.in_domain_reason == "the header says CT"
    assert {each.set_aside for each in answer.slices} == {"the header says CT"}


def test_rule_threshold_and_calibration_come_from_the_card(model: Path, tmp_path: Path) -> None:
    plain = Predictor.open(model, threads=1).predict_series(head(TUMOUR))
    assert "not calibrated for series" in plain.threshold_origin
    assert plain.threshold == 0.5
    rule = SeriesRule(
        name="maximum", slope=0.5, intercept=-1.0, threshold=0.93, origin="on 40 drawn series",
        conformal=Conformal(alpha=0.1, tumor=0.5, healthy=0.5, n_tumor=20, n_healthy=20), n=40,
        persons=40,
    )  # fmt: skip
    write_series_rule(model, rule, tmp_path / "series.onnx")
    fitted = Predictor.open(tmp_path / "series.onnx", threads=1)
    answer = fitted.predict_series(head(TUMOUR))
    best = max(each.prob for each in answer.slices if each.prob is not None)
    logit = math.log(best / (1 - best))
    assert answer.prob == pytest.approx(1 / (1 + math.exp(1.0 - 0.5 * logit)), abs=1e-6)
    assert (answer.threshold, answer.label) == (0.93, "healthy")
    # The slices do not contradict the series, although each alone would be a tumour.
    assert {each.decision for each in answer.slices if each.prob is not None} == {
        "healthy", "uncertain"
    }  # fmt: skip
    # The set says tumour and the threshold healthy: no decision.
    assert (answer.prediction_set, answer.decision) == (("tumor",), "uncertain")
    assert answer.threshold_origin.endswith("on 40 drawn series")


def test_a_dicom_series_is_one_answer_whatever_its_file_names(
    predictor: Predictor, tmp_path: Path
) -> None:
    volume = head(TUMOUR, shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0))
    write_slices(tmp_path / "mr", Scan(volume.data, volume.spacing_mm))
    wanted, answer = predictor.predict_series(volume), predictor.predict_series(tmp_path / "mr")
    assert [each.prob for each in answer.slices] == pytest.approx(
        [each.prob for each in wanted.slices], abs=1e-6
    )
    assert answer.findings[0].laterality == "right"
    assert answer.findings[0].volume_ml == pytest.approx(wanted.findings[0].volume_ml, rel=0.01)
    write_slices(tmp_path / "ct", Scan(volume.data, volume.spacing_mm), Modality="CT")
    refused = predictor.predict_series(tmp_path / "ct")
    assert (refused.in_domain, refused.label) == (False, None)
    assert "CT" in (refused.in_domain_reason or "")


def test_a_model_without_a_map_answers_without_findings(tmp_path: Path) -> None:
    from tests.models_for_tests import write_tiny_model

    threshold = Threshold(value=0.0, target=None, origin="drawn", n=0)
    path = write_tiny_model(tmp_path / "flat.onnx", has_map=False, threshold=threshold)
    answer = Predictor.open(path, threads=1).predict_series(head(TUMOUR))
    assert (answer.label, answer.findings) == ("tumor", ())


def test_progress_counts_every_slice(predictor: Predictor) -> None:
    seen: list[tuple[int, int]] = []
    predictor.predict_series(head(), progress=lambda *each: seen.append(each))
    assert seen[-1] == (80, 80)
    assert seen == sorted(seen)
    assert len(seen) > 5


def test_json_and_rows_round_trip(predictor: Predictor) -> None:
    answer = predictor.predict_series(head(TUMOUR))
    assert SeriesPrediction.from_dict(answer.to_dict()) == answer
    row = answer.to_row()
    assert set(SeriesPrediction.columns()) <= set(row)
    assert (row["n_slices"], row["n_findings"], row["laterality"]) == (80, 1, "right")
    assert not any(isinstance(each, dict) for each in row.values())


def test_paths_without_one_series_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64), 9, np.uint8))
    with pytest.raises(UnsupportedFormatError, match="a single picture"):
        predictor.predict_series(tmp_path / "a.png")
    for name in ("one.nii.gz", "two.nii.gz"):
        save(tmp_path / name, head())
    with pytest.raises(UnsupportedFormatError, match="2 series"):
        predictor.predict_series(tmp_path)
    with pytest.raises(ConfigError, match="give axial"):
        predictor.predict_series(head(), "oblique")  # type: ignore[arg-type]


def test_a_bad_file_does_not_stop_the_others(predictor: Predictor, tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", head(TUMOUR))
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    save(tmp_path / "c.nii.gz", head())
    results = list(run_series(predictor, [tmp_path]))
    assert [Path(each.path).name for each in results] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert isinstance(results[1].error, DecodeError)
    assert [each.series and each.series.label for each in results] == ["tumor", None, "healthy"]


def test_every_plane_is_a_result_of_its_own(predictor: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", head(TUMOUR))
    results = list(run_series(predictor, [path], planes=("axial", "coronal", "sagittal")))
    assert [each.path for each in results] == [
        f"{path}#axial", f"{path}#coronal", f"{path}#sagittal",
    ]  # fmt: skip
    assert [each.series.label for each in results if each.series] == ["tumor"] * 3


def test_pixels_are_not_kept(predictor: Predictor) -> None:
    import tracemalloc

    volume = head(TUMOUR, shape=(64, 64, 400), spacing=(3.0, 3.0, 0.5))
    run = predictor.run_series(volume)
    tracemalloc.start()
    for _ in run:
        pass
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(run.evidence) == 400
    assert kept < 400 * 8 * 1024  # a map of 16 × 16 cells and its records, no slice


def test_reading_is_bounded_ahead(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = Predictor.prepare

    def counted(self: Predictor, image: object) -> object:
        read.append(1)
        return real(self, image)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "prepare", counted)
    steps: Iterator[tuple[int, int]] = iter(predictor.run_series(head()))
    next(steps)  # outside the head
    next(steps)
    assert len(read) <= 8 + 8 + 2
