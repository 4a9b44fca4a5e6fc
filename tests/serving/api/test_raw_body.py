"""``/predict`` and ``/explain`` take the image itself as the body."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.imaging.dicoms import dicom
from tests.serving.conftest import MakeClient
from tumorlens.imaging.phantom import draw_phantom

TYPES = ("image/png", "image/*", "IMAGE/JPEG; q=1", "application/octet-stream")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_the_body_is_the_image_whatever_image_type_is_declared(
    client: TestClient, scan: bytes, path: str, kind: str
) -> None:
    raw = client.post(path, content=scan, headers={"Content-Type": kind})
    form = client.post(path, files={"file": ("a.png", scan)})
    assert raw.status_code == form.status_code == 200
    assert raw.json()["prob"] == form.json()["prob"]


def test_dicom_is_read_as_what_it_is(client: TestClient) -> None:
    data = dicom(draw_phantom(7, lesion=True).image)
    raw = client.post("/predict", content=data, headers={"Content-Type": "application/dicom"})
    form = client.post("/predict", files={"file": ("a", data)})
    assert raw.status_code == form.status_code == 200
    assert raw.json()["prob"] == form.json()["prob"]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("image/png", b"", 422),
        ("image/png", b"text", 415),
        ("application/dicom", bytes(2000), 413),
        ("application/json", b"{}", 415),
        ("text/plain", b"text", 415),
        ("", b"text", 415),
    ],
)
def test_other_bodies_are_refused(
    make_client: MakeClient, kind: str, body: bytes, status: int
) -> None:
    client = make_client(max_upload_bytes=1000)
    answer = client.post("/predict", content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_batch_is_always_a_form(client: TestClient, scan: bytes) -> None:
    answer = client.post("/predict/batch", content=scan, headers={"Content-Type": "image/png"})
    assert answer.status_code == 415


def test_the_document_names_the_raw_types(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    content = paths["/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "image/png", "application/dicom"} <= set(content)
    assert set(paths["/predict/batch"]["post"]["requestBody"]["content"]) == {"multipart/form-data"}
