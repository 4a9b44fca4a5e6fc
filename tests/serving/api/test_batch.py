"""Many images at once: files, zips, hostile zips; one line each, none lost."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serving import scans
from tests.serving.conftest import MakeClient
from tumorlens.inference.predictor import Predictor


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def ask(client: TestClient, *bodies: bytes) -> Any:
    files = [("file", (f"{n}.bin", body)) for n, body in enumerate(bodies)]
    return client.post("/predict/batch", files=files)


def lines(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def outcomes(answer: Any) -> list[str]:
    return [
        line["prediction"]["label"]
        if line["prediction"]
        else line["problem"]["type"].removeprefix("/problems/")
        for line in lines(answer)
    ]


def test_every_file_gets_its_line_in_order(client: TestClient, predictor: Predictor) -> None:
    bodies = [scans.png_scan(seed=seed, lesion=seed % 2 == 0) for seed in range(6)]
    found = lines(ask(client, *bodies))
    assert [line["index"] for line in found] == list(range(6))
    expected = [predictor.predict(body).prob for body in bodies]
    assert [line["prediction"]["prob"] for line in found] == pytest.approx(expected, abs=1e-6)


def test_a_bad_file_is_a_problem_of_its_own(client: TestClient) -> None:
    good = scans.png_scan()
    found = outcomes(ask(client, good, b"", b"text", scans.png_bomb(), scans.blank_png(), good))
    assert found == [
        "tumor",
        "empty-file",
        "unsupported-format",
        "too-large",
        "not-brain-mri",
        "tumor",
    ]


def test_a_zip_counts_as_its_members(client: TestClient) -> None:
    good = scans.png_scan()
    archive = zipped(
        {"a/": b"", "a/Doe.png": good, "__MACOSX/._a": b"x", ".DS_Store": b"x", "b.txt": b"text"}
    )
    answer = ask(client, good, archive)
    assert outcomes(answer) == ["tumor", "tumor", "unsupported-format"]
    assert "Doe" not in answer.text


def test_a_zip_in_a_zip_is_not_opened(client: TestClient) -> None:
    inner = zipped({"a.png": scans.png_scan()})
    assert outcomes(ask(client, zipped({"inner.zip": inner}))) == ["unsupported-format"]


def test_what_a_zip_unpacks_to_is_bounded(make_client: MakeClient) -> None:
    client = make_client(max_upload_bytes=2**20, batch_max_bytes=3 * 2**20)
    bomb = zipped({f"{n}.png": bytes(2**20) for n in range(5)} | {"huge.png": bytes(8 * 2**20)})
    assert len(bomb) < 50_000
    found = outcomes(ask(client, bomb))
    assert found[:3] == ["unsupported-format"] * 3
    assert found[3:] == ["too-large"] * 3


def lying_size(archive: bytes) -> bytes:
    """Return the archive with every announced unpacked size set to 10."""
    changed = bytearray(archive)
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = changed.find(signature)
        while place >= 0:
            struct.pack_into("<I", changed, place + offset, 10)
            place = changed.find(signature, place + 4)
    return bytes(changed)


def encrypted(archive: bytes) -> bytes:
    changed = bytearray(archive)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = changed.find(signature)
        changed[place + offset] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lying_size(zipped({"a.png": scans.png_scan()})), ["not-decodable"]),
        (encrypted(zipped({"a.png": scans.png_scan()})), ["unsupported-format"]),
        (zipped({"a.png": scans.png_scan()}, zipfile.ZIP_STORED), ["tumor"]),
        (zipped({"a.png": bytes(10**7)}, zipfile.ZIP_BZIP2), ["unsupported-format"]),
        (zipped({"a.png": scans.png_scan()}, zipfile.ZIP_LZMA), ["unsupported-format"]),
    ],
)
def test_a_damaged_member_is_a_problem_of_its_own(
    client: TestClient, body: bytes, expected: list[str]
) -> None:
    assert outcomes(ask(client, body)) == expected


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        (zipped({"a.png": scans.png_scan()})[:-30], 422, "not-decodable"),
        (b"PK\x03\x04" + bytes(100), 422, "not-decodable"),
        (zipped({}), 422, "empty-file"),
        (zipped({f"{n}.png": b"x" for n in range(65)}), 413, "too-large"),
        (zipped({f"{n}.png": b"x" for n in range(5000)}), 413, "too-large"),
    ],
)
def test_a_damaged_archive_refuses_the_batch(
    client: TestClient, body: bytes, status: int, problem: str
) -> None:
    answer = ask(client, body)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")


def test_too_many_files_are_refused(make_client: MakeClient) -> None:
    client = make_client(batch_max_files=2)
    answer = ask(client, b"a", b"b", b"c")
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")


def test_a_batch_waits_its_turn_instead_of_being_shed(make_client: MakeClient) -> None:
    client = make_client(inference_threads=1, max_wait_s=0)
    assert outcomes(ask(client, *[scans.png_scan()] * 5)) == ["tumor"] * 5
