"""What the API answers when all is well, and which refusal each fault gets."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.models_for_tests import write_tiny_model
from tests.serving import scans
from tests.serving.conftest import MakeClient
from tumorlens.inference.overlay import heat_rgba, render_overlay
from tumorlens.inference.predictor import Predictor

PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "request_id"}


def png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_healthz_says_ok(client: TestClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readyz_names_the_model(client: TestClient, predictor: Predictor) -> None:
    assert client.get("/readyz").json() == {
        "status": "ready",
        "model": {"name": "tiny", "version": "1.0", "sha256": predictor.sha256},
        "model_refused": None,
    }


def test_the_model_is_its_card(client: TestClient, predictor: Predictor) -> None:
    answer = client.get("/model").json()
    limits = answer.pop("limits")
    assert answer.pop("sha256") == predictor.sha256
    assert answer == predictor.card.model_dump(mode="json")
    assert limits["max_upload_bytes"] == 32 * 2**20


def test_predict_agrees_with_python(client: TestClient, predictor: Predictor, scan: bytes) -> None:
    answer = client.post("/predict", files={"file": ("a.png", scan)}).json()
    expected = predictor.predict(scan).to_dict()
    assert answer.pop("prob") == pytest.approx(expected.pop("prob"), abs=1e-6)
    assert 0 < answer.pop("latency_ms") < 60_000
    assert len(answer.pop("request_id")) == 32
    expected.pop("latency_ms")
    assert answer == expected


def test_explain_agrees_with_python(client: TestClient, predictor: Predictor, scan: bytes) -> None:
    answer = client.post("/explain", files={"file": ("a.png", scan)}).json()
    expected = predictor.explain(scan)
    assert answer["prob"] == pytest.approx(expected.prediction.prob, abs=1e-6)
    assert (answer["scan"]["width"], answer["scan"]["height"]) == (256, 256)
    shown = png(base64.b64decode(answer["scan"]["png"]))
    assert np.array_equal(shown, expected.scan)
    colours = Image.open(io.BytesIO(base64.b64decode(answer["heatmap"]["png"])))
    assert np.array_equal(np.asarray(colours.convert("RGBA")), heat_rgba(expected.heatmap))
    levels = png(base64.b64decode(answer["evidence"]["png"]))
    assert np.abs(levels / 255 - expected.heatmap).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("image/png;q=0.5, application/json", "application/json"),
        ("image/png, application/json;q=0.5", "image/png"),
        ("text/html", "application/problem+json"),
    ],
)
def test_explain_follows_accept(client: TestClient, scan: bytes, accept: str, kind: str) -> None:
    answer = client.post("/explain", files={"file": ("a", scan)}, headers={"Accept": accept})
    assert answer.headers["content-type"] == kind


def test_the_overlay_takes_an_opacity(
    client: TestClient, predictor: Predictor, scan: bytes
) -> None:
    answer = client.post(
        "/explain",
        params={"opacity": 0.25},
        files={"file": ("a.png", scan)},
        headers={"Accept": "image/png"},
    )
    expected = predictor.explain(scan)
    assert np.array_equal(
        png(answer.content), render_overlay(expected.scan, expected.heatmap, 0.25)
    )


def test_a_model_without_a_map_predicts_but_does_not_explain(
    make_client: MakeClient, tmp_path: Path, scan: bytes
) -> None:
    path = write_tiny_model(tmp_path / "plain.onnx", has_map=False)
    client = make_client(using=Predictor.open(path, threads=1))
    assert client.post("/predict", files={"file": ("a", scan)}).status_code == 200
    answer = client.post("/explain", files={"file": ("a", scan)})
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/explanation-unavailable"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_every_format_is_read(client: TestClient, kind: str) -> None:
    answer = client.post("/predict", files={"file": ("a", scans.encoded(kind))})
    assert answer.status_code == 200, answer.text


FAULTS = [
    # what is uploaded, the status, the problem
    (b"%PDF-1.7 not an image", 415, "unsupported-format"),
    (b"plain text, named .jpg", 415, "unsupported-format"),
    (b"GIF89a" + bytes(64), 415, "unsupported-format"),
    (b"", 422, "empty-file"),
    (scans.truncated_jpeg(), 422, "not-decodable"),
    (scans.png_scan()[:300], 422, "not-decodable"),
    (scans.png_bomb(), 413, "too-large"),
    (scans.blank_png(), 422, "not-brain-mri"),
]


@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize(("body", "status", "problem"), FAULTS)
def test_a_bad_file_gets_its_problem(
    client: TestClient, path: str, body: bytes, status: int, problem: str
) -> None:
    answer = client.post(path, files={"file": ("Doe^Jane.jpg", body)})
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == PROBLEM_FIELDS
    assert (answer.status_code, document["type"]) == (status, f"/problems/{problem}")
    assert document["status"] == status
    assert document["instance"] == path
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "Doe" not in answer.text
    assert "upload" not in document["detail"]


@pytest.mark.parametrize(
    ("content_type", "body", "status", "problem"),
    [
        ("application/json", b"{}", 415, "unsupported-format"),
        ("text/plain", scans.png_scan(), 415, "unsupported-format"),
        ("", b"x", 415, "unsupported-format"),
        ("multipart/form-data", b"x", 400, "malformed-request"),
        (f"multipart/form-data; boundary={'b' * 71}", b"x", 400, "malformed-request"),
        ("multipart/form-data; boundary=b", b"x", 400, "malformed-request"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "malformed-request"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
            400,
            "malformed-request",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\nx\r\n--b--',
            400,
            "malformed-request",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n',
            400,
            "malformed-request",
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\n" + b"X" * 9000 + b": y\r\n\r\nx\r\n--b--\r\n",
            400,
            "malformed-request",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nx\r\n' * 20 + b"--b--\r\n",
            400,
            "malformed-request",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n' * 2
            + b"--b--\r\n",
            413,
            "too-large",
        ),
    ],
)
def test_a_bad_form_gets_its_problem(
    client: TestClient, content_type: str, body: bytes, status: int, problem: str
) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")


@pytest.mark.parametrize(
    ("method", "path", "status", "problem"),
    [
        ("GET", "/nothing-here", 404, "not-found"),
        ("GET", "/assets/../settings.py", 404, "not-found"),
        ("GET", "/problems/unheard-of", 404, "not-found"),
        ("GET", "/predict", 405, "method-not-allowed"),
        ("DELETE", "/healthz", 405, "method-not-allowed"),
        ("POST", "/explain?opacity=7", 400, "malformed-request"),
    ],
)
def test_the_framework_answers_in_our_shape(
    client: TestClient, method: str, path: str, status: int, problem: str
) -> None:
    answer = client.request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert ("allow" in answer.headers) == (status == 405)
