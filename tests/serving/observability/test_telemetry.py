"""What the outside sees: one log line, ids, counts; and what it must never see."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from tests.serving import scans
from tests.serving.conftest import MakeClient
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.processing import jobs

SECRETS = ("Quixote^Alonso", "MRN-4471-LAMANCHA", "19470929")


def samples(client: TestClient) -> dict[str, float]:
    text = client.get("/metrics").text
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def lines(logs: list[Any], event: str = "request") -> list[dict[str, Any]]:
    return [line for line in logs if line["event"] == event]


def test_one_line_a_request(client: TestClient, predictor: Predictor, scan: bytes) -> None:
    with capture_logs() as logs:
        answer = client.post("/predict", files={"file": ("Jane_Doe.png", scan)})
    (line,) = lines(logs)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/predict", 200)
    assert (line["decision"], line["model"]) == ("tumor", predictor.sha256)
    assert set(line["stages"]) == {"read", "queue", "decode", "preprocess", "forward"}
    assert line["bytes_in"] > len(scan)
    assert line["duration_ms"] > 0
    assert "Jane" not in json.dumps(logs, default=str)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abc-123_X.y", True),
        ("a" * 65, False),
        ("short", False),
        ("new\tline--", False),
        ("", False),
    ],
)
def test_a_request_id_is_kept_when_it_is_harmless(
    client: TestClient, sent: str, kept: bool
) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": sent})
    assert (answer.headers["x-request-id"] == sent) is kept
    assert len(answer.headers["x-request-id"]) >= 8


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("parent", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("garbage", None),
    ],
)
def test_traceparent_is_followed(client: TestClient, parent: str, trace: str | None) -> None:
    with capture_logs() as logs:
        client.get("/model", headers={"traceparent": parent})
    (line,) = lines(logs)
    assert (line["trace_id"] == trace) is (trace is not None)
    assert len(line["trace_id"]) == 32


def test_the_log_names_the_route_and_not_the_path(client: TestClient) -> None:
    with capture_logs() as logs:
        client.get("/problems/Jane-Doe")
        client.get("/patients/Jane-Doe?name=Jane")
    assert [line["route"] for line in lines(logs)] == ["/problems/{slug}", "unmatched"]
    assert "Jane" not in json.dumps(logs, default=str)


def test_a_refusal_before_routing_names_the_route_too(make_client: MakeClient) -> None:
    with capture_logs() as logs:
        make_client(api_keys="k" * 32).post("/predict")
    (line,) = lines(logs)
    assert (line["route"], line["status"]) == ("/predict", 401)


def test_the_counts_add_up(client: TestClient, scan: bytes) -> None:
    for _ in range(3):
        client.post("/predict", files={"file": ("a", scan)})
    client.post("/predict", files={"file": ("a", b"no image")})
    client.get("/nowhere")
    found = samples(client)

    def value(name: str, **labels: str) -> float:
        return found[name + json.dumps(labels, sort_keys=True)]

    total = "tumorlens_http_requests_total"
    assert value(total, route="/predict", method="POST", status="200") == 3
    assert value(total, route="/predict", method="POST", status="415") == 1
    assert value(total, route="unmatched", method="GET", status="404") == 1
    assert value("tumorlens_problems_total", problem="unsupported-format") == 1
    assert value("tumorlens_predictions_total", decision="tumor") == 3
    assert value("tumorlens_score_count") == 3
    assert value("tumorlens_input_format_total", format="png") == 3
    assert value("tumorlens_input_pixels_sum") == 3 * 256 * 256
    assert value("tumorlens_stage_duration_seconds_count", stage="forward") == 3
    assert value("tumorlens_stage_duration_seconds_count", stage="decode") == 4
    assert value("tumorlens_http_requests_in_flight") == 1  # the question for the metrics
    assert value("tumorlens_queue_depth") == 0
    assert value("tumorlens_ready_workers") == 1


def test_names_follow_the_rules_of_prometheus(client: TestClient) -> None:
    text = client.get("/metrics").text
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("tumorlens_")
        assert family.documentation
        if family.type == "histogram" and family.name != "tumorlens_score":
            assert family.name.rsplit("_", 1)[1] in ("seconds", "bytes", "pixels", "ratio")


def dicom(damage: str = "") -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
    file.PatientName, file.PatientID, file.PatientBirthDate = SECRETS
    file.SOPClassUID, file.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    pixels = draw_phantom(7, lesion=True).image
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    if damage == "window":
        file.add_new(0x00281050, "LO", SECRETS[0])
    file.PixelData = pixels.tobytes() if damage != "short" else pixels.tobytes()[:99]
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    whole = buffer.getvalue()
    return whole[: len(whole) // 3] if damage == "cut" else whole


@pytest.mark.parametrize("damage", ["", "window", "short", "cut"])
def test_a_patient_s_name_appears_nowhere(
    client: TestClient,
    damage: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    body = dicom(damage)
    assert SECRETS[0].encode() in body
    with capture_logs() as logs:
        answers = [
            client.post(path, files={"file": (f"{SECRETS[0]}.dcm", body)})
            for path in ("/predict", "/explain", "/predict/batch", "/predict/series")
        ]
    if not damage:
        assert [answer.status_code for answer in answers] == [200, 200, 200, 415]
    assert all(answer.status_code < 500 for answer in answers)
    printed = capfd.readouterr()
    seen = [json.dumps(logs, default=str), caplog.text, client.get("/metrics").text]
    seen += [printed.out, printed.err, *(answer.text for answer in answers)]
    seen += [str(answer.headers) for answer in answers]
    for secret in SECRETS:
        assert not [text for text in seen if secret in text]
    assert list(tmp_path.iterdir()) == []


def test_a_fault_answers_500_and_keeps_its_message(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, scan: bytes
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"cannot handle {SECRETS[0]}")

    monkeypatch.setattr(jobs.Predictor, "prepare", broken)
    client = make_client()
    with capture_logs() as logs:
        answer = client.post("/predict", files={"file": ("a", scan)})
    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/internal-error"
    (fault,) = lines(logs, "fault")
    assert fault["error"] == "RuntimeError"
    assert fault["request_id"] == answer.json()["request_id"]
    assert any("jobs.py" in place for place in fault["at"])
    assert SECRETS[0] not in json.dumps(logs, default=str) + answer.text
    monkeypatch.undo()
    assert client.post("/predict", files={"file": ("a", scans.png_scan())}).status_code == 200
