"""The Open Inference Protocol: the documented objects, errors, access rules, and both encodings."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.serving import scans
from tests.serving.conftest import MakeClient
from tumorlens import __version__
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.processing.pool import Pool

INFER = "/v2/models/tiny/infer"
OUTPUTS = ["label", "prob", "decision", "in_domain", "reason"]


def in_json(*images: bytes, **more: Any) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    entry = {"name": "image", "shape": [len(images)], "datatype": "BYTES", "data": data}
    return {"inputs": [entry], **more}


def in_binary(head: dict[str, Any], *parts: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(head).encode()
    headers = {
        "Inference-Header-Content-Length": str(len(text)),
        "Content-Type": "application/octet-stream",
    }
    return text + b"".join(parts), headers


def element(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def values(answer: dict[str, Any], name: str) -> Any:
    return next(output["data"] for output in answer["outputs"] if output["name"] == name)


def test_health_and_metadata_have_the_documented_objects(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json() == {
        "name": "tumorlens",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }
    assert client.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    model = client.get("/v2/models/tiny").json()
    assert model == client.get("/v2/models/tiny/versions/1.0").json()
    assert (model["name"], model["versions"]) == ("tiny", ["1.0"])
    assert model["platform"] == "onnxruntime_onnx"
    assert model["inputs"][0] == {"name": "image", "datatype": "BYTES", "shape": [-1]}
    assert [output["name"] for output in model["outputs"]] == [*OUTPUTS, "logit", "map"]


def test_an_image_in_json_is_answered_as_by_predict(client: TestClient, scan: bytes) -> None:
    expected = client.post("/predict", files={"file": ("a", scan)}).json()
    answer = client.post(INFER, json=in_json(scan, id="42")).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "1.0", "42")
    assert [(each["name"], each["datatype"], each["shape"]) for each in answer["outputs"]] == [
        ("label", "BYTES", [1]), ("prob", "FP32", [1]), ("decision", "BYTES", [1]),
        ("in_domain", "BOOL", [1]), ("reason", "BYTES", [1]),
    ]  # fmt: skip
    assert values(answer, "prob")[0] == pytest.approx(expected["prob"], abs=1e-6)
    assert values(answer, "label") == [expected["label"]]
    assert values(answer, "decision") == [expected["decision"]]
    assert (values(answer, "in_domain"), values(answer, "reason")) == ([True], [""])


def test_several_images_one_of_them_no_scan(client: TestClient, scan: bytes) -> None:
    answer = client.post(INFER, json=in_json(scan, scans.blank_png(), scan)).json()
    assert "id" not in answer
    assert values(answer, "in_domain") == [True, False, True]
    assert values(answer, "decision")[1] == "uncertain"
    assert values(answer, "reason")[1].startswith("blank")
    metrics = client.get("/metrics").text
    assert 'tumorlens_predictions_total{decision="uncertain"} 1.0' in metrics


def test_only_the_outputs_that_are_asked_for(client: TestClient, scan: bytes) -> None:
    body = in_json(scan, outputs=[{"name": "logit"}, {"name": "map"}])
    answer = client.post(INFER, json=body).json()
    logit, evidence = answer["outputs"]
    assert (logit["name"], logit["shape"], evidence["name"]) == ("logit", [1], "map")
    assert len(evidence["data"]) == np.prod(evidence["shape"])


def test_a_prepared_tensor_is_answered_as_its_image(
    client: TestClient, predictor: Predictor, scan: bytes
) -> None:
    tensor = predictor.prepare(predictor.decode(scan)).tensor[None]
    entry = {"name": "tensor", "shape": list(tensor.shape), "datatype": "FP32"}
    flat = client.post(INFER, json={"inputs": [{**entry, "data": tensor.ravel().tolist()}]})
    nested = client.post(INFER, json={"inputs": [{**entry, "data": tensor.tolist()}]})
    expected = predictor.predict(scan).prob
    assert values(flat.json(), "prob")[0] == pytest.approx(expected, abs=1e-6)
    assert flat.json() == nested.json()
    head = {"inputs": [{**entry, "parameters": {"binary_data_size": tensor.nbytes}}]}
    body, headers = in_binary(head, tensor.astype("<f4").tobytes())
    assert client.post(INFER, content=body, headers=headers).json() == flat.json()


def test_images_and_outputs_in_binary(client: TestClient, scan: bytes) -> None:
    parts = element(scan) + element(scans.blank_png())
    entry = {"name": "image", "shape": [2, 1], "datatype": "BYTES",
             "parameters": {"binary_data_size": len(parts)}}  # fmt: skip
    head = {"inputs": [entry], "parameters": {"binary_data_output": True}, "id": "7"}
    body, headers = in_binary(head, parts)
    answer = client.post(INFER, content=body, headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    described = json.loads(answer.content[:length])
    rest = answer.content[length:]
    found = {}
    for output in described["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found[output["name"]], rest = rest[:size], rest[size:]
    assert rest == b""
    expected = client.post(INFER, json=in_json(scan, scans.blank_png())).json()
    assert np.frombuffer(found["prob"], "<f4").tolist() == values(expected, "prob")
    assert found["in_domain"] == b"\x01\x00"
    assert found["label"] == b"".join(element(each.encode()) for each in values(expected, "label"))
    mixed = {**head, "outputs": [{"name": "prob", "parameters": {"binary_data": False}},
                                 {"name": "label"}]}  # fmt: skip
    body, headers = in_binary(mixed, parts)
    answer = client.post(INFER, content=body, headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    prob, label = json.loads(answer.content[:length])["outputs"]
    assert prob["data"] == values(expected, "prob")
    assert "data" not in label


IMAGE = {"name": "image", "shape": [1], "datatype": "BYTES"}
TENSOR = {"name": "tensor", "datatype": "FP32", "data": [0.5]}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ("no json", 400, "Invalid JSON"),
        ("[" * 100_000, 400, "recursion"),
        ({}, 400, "inputs"),
        ({"inputs": []}, 400, "give one"),
        ({"inputs": [{**IMAGE, "data": ["*"]}]}, 400, "base64"),
        ({"inputs": [{**IMAGE, "data": [1]}]}, 400, "base64"),
        ({"inputs": [{**IMAGE, "data": ["AAAA", "AAAA"]}]}, 400, "the shape holds 1"),
        ({"inputs": [{**IMAGE, "shape": [0], "data": []}]}, 400, "below 1"),
        ({"inputs": [{**IMAGE, "shape": [2**62, 4], "data": []}]}, 413, "more than 64 images"),
        ({"inputs": [{**IMAGE, "datatype": "UINT8", "data": [1]}]}, 400, "image of BYTES"),
        ({"inputs": [{**IMAGE, "data": ["AAAA"]}]}, 415, "Image 0: Not a JPEG"),
        ({"inputs": [{**IMAGE, "data": [""]}]}, 422, "Image 0: The file is empty"),
        ({"inputs": [{**IMAGE, "parameters": {"binary_data_size": 5}}]}, 400, "does not fit"),
        ({"inputs": [{**TENSOR, "shape": [1, 1, 2, 2]}]}, 400, "the shape must be"),
        (in_json(b"x", outputs=[{"name": "speed"}]), 400, "outputs: name each"),
        (in_json(b"x", outputs=[{"name": "prob"}] * 2), 400, "at most once"),
    ],
)
def test_errors_have_the_protocols_form_and_quote_nothing(
    client: TestClient, body: Any, status: int, says: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = client.post(INFER, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    assert says.lower() in answer.json()["error"].lower()


def test_values_that_are_no_input_of_the_network_are_refused(
    client: TestClient, predictor: Predictor
) -> None:
    spec = predictor.card.preprocess
    shape = [1, spec.channels, spec.size, spec.size]
    for data in ([7.0], ["a"], [None], [float("nan")]):
        entry = {"name": "tensor", "shape": shape, "datatype": "FP32"}
        values = data * int(np.prod(shape))
        content = json.dumps({"inputs": [{**entry, "data": values}]})
        answer = client.post(INFER, content=content)
        assert (answer.status_code, set(answer.json())) == (400, {"error"})


@pytest.mark.parametrize("length", ["x", "-1", "1000000", "3"])
def test_a_wrong_header_length_is_refused(client: TestClient, scan: bytes, length: str) -> None:
    body = json.dumps(in_json(scan)).encode()
    answer = client.post(INFER, content=body, headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400


def test_a_compressed_body_is_refused(client: TestClient, scan: bytes) -> None:
    headers = {"Content-Encoding": "gzip"}
    assert client.post(INFER, json=in_json(scan), headers=headers).status_code == 415


def test_other_models_versions_and_paths_are_not_found(client: TestClient) -> None:
    for path in ("/v2/models/other", "/v2/models/tiny/versions/9", "/v2/models/other/ready",
                 "/v2/nothing"):  # fmt: skip
        answer = client.get(path)
        assert (answer.status_code, set(answer.json())) == (404, {"error"})
    assert client.post("/v2/models/other/infer", json={}).status_code == 404
    assert client.get("/v2x").headers["content-type"] == "application/problem+json"


def test_keys_and_rates_hold_but_probes_are_open(make_client: MakeClient, scan: bytes) -> None:
    client = make_client(api_keys="k" * 32, rate_limit=1)
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200
    refused = client.post(INFER, json=in_json(scan))
    assert (refused.status_code, set(refused.json())) == (401, {"error"})
    key = {"X-API-Key": "k" * 32}
    assert client.post(INFER, json=in_json(scan), headers=key).status_code == 200
    again = client.post(INFER, json=in_json(scan), headers=key)
    assert again.status_code == 429
    assert int(again.headers["retry-after"]) >= 1


def test_limits_hold(make_client: MakeClient, scan: bytes) -> None:
    small = make_client(max_upload_bytes=1000)
    answer = small.post(INFER, json=in_json(scan))
    assert (answer.status_code, set(answer.json())) == (413, {"error"})
    few = make_client(batch_max_files=2)
    assert few.post(INFER, json=in_json(scan, scan)).status_code == 200
    assert few.post(INFER, json=in_json(scan, scan, scan)).status_code == 413


def test_a_full_service_sheds_and_says_not_ready(
    client: TestClient, scan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "is_full", lambda *_: True)
    answer = client.post(INFER, json=in_json(scan))
    assert (answer.status_code, set(answer.json())) == (503, {"error"})
    assert int(answer.headers["retry-after"]) >= 1
    for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
        assert client.get(path).status_code == 503
    assert client.get("/v2/health/live").status_code == 200
