"""Volumes over HTTP: progress, one answer each, and the bounds of a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.inference.series.drawn import head, save, write_bright_model
from tests.serving import scans
from tests.serving.api.test_batch import zipped
from tests.serving.conftest import MakeClient
from tests.serving.live import LiveServer
from tests.volumes.dicom_series import Scan, write_slices
from tumorlens.client import Client
from tumorlens.errors import ServiceError
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.settings import Settings
from tumorlens.serving.uploads.form import Upload
from tumorlens.serving.uploads.study import study_sources

TUMOUR = ((30.0, 10.0, 16.0), 25.0)
SMALL = ((64, 72, 20), (3.0, 3.0, 8.0))


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    return Predictor.open(path, threads=1)


@pytest.fixture(scope="module")
def tumour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    return save(folder / "Doe.nii.gz", head(TUMOUR, shape=SMALL[0], spacing=SMALL[1]))


@pytest.fixture
def client(make_client: MakeClient, bright: Predictor) -> TestClient:
    return make_client(using=bright)


def ask(client: TestClient, *bodies: bytes, **params: str) -> Any:
    files = [("file", (f"Doe{n}.bin", body)) for n, body in enumerate(bodies)]
    return client.post("/predict/series", files=files, params=params)


def lines(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_volume_gives_progress_and_then_its_answer(
    client: TestClient, bright: Predictor, tumour: Path
) -> None:
    *steps, last = lines(ask(client, tumour.read_bytes()))
    assert all(set(step) == {"index", "done", "of"} for step in steps)
    assert [step["done"] for step in steps] == sorted({step["done"] for step in steps})
    assert (steps[-1]["done"], steps[-1]["of"]) == (20, 20)
    wanted = bright.predict_series(tumour).to_dict()
    found = last["prediction"]
    assert found.pop("request_id")
    for volatile in (found, wanted):
        volatile.pop("latency_ms")
    assert (last["index"], last["problem"], found) == (0, None, wanted)
    assert found["findings"][0]["laterality"] == "right"


def test_a_zip_of_a_dicom_series_is_one_answer(client: TestClient, tmp_path: Path) -> None:
    volume = head(TUMOUR, shape=SMALL[0], spacing=SMALL[1])
    write_slices(tmp_path, Scan(volume.data, volume.spacing_mm))
    files = sorted(each for each in tmp_path.rglob("*") if each.is_file())
    body = zipped({f"Doe/{each.name}": each.read_bytes() for each in files})
    answer = ask(client, body)
    ends = [line for line in lines(answer) if "done" not in line]
    assert [end["prediction"]["label"] for end in ends] == ["tumor"]
    assert len(ends[0]["prediction"]["slices"]) == 20
    assert "Doe" not in answer.text
    # The same files one by one.
    ends = [line for line in lines(ask(client, *[each.read_bytes() for each in files]))
            if "done" not in line]  # fmt: skip
    assert [end["prediction"]["label"] for end in ends] == ["tumor"]


def test_a_plane_is_chosen(client: TestClient, tumour: Path) -> None:
    last = lines(ask(client, tumour.read_bytes(), plane="sagittal"))[-1]
    assert last["prediction"]["plane"] == "sagittal"
    assert len(last["prediction"]["slices"]) == 64
    assert ask(client, tumour.read_bytes(), plane="oblique").status_code == 400


def test_a_bad_file_is_a_problem_of_its_own(client: TestClient, tumour: Path) -> None:
    good = tumour.read_bytes()
    answer = ask(client, good[: len(good) // 2], scans.png_scan(), zipped({"Doe.nii.gz": good}))
    ends = [line for line in lines(answer) if "done" not in line]
    problems = [end["problem"] and end["problem"]["type"] for end in ends]
    assert problems == ["/problems/not-decodable", "/problems/unsupported-format", None]
    assert ends[2]["prediction"]["label"] == "tumor"
    assert "Doe" not in answer.text


def test_what_is_no_head_is_refused(client: TestClient, tmp_path: Path) -> None:
    import numpy as np

    from tumorlens.volumes.volume import Volume

    empty = Volume.aligned(np.zeros((64, 64, 12), np.uint8), (3.0, 3.0, 8.0), "empty")
    last = lines(ask(client, save(tmp_path / "a.nii.gz", empty).read_bytes()))[-1]
    assert last["problem"]["type"] == "/problems/not-brain-mri"


@pytest.mark.parametrize(
    ("body", "status"),
    [(scans.png_scan(), 415), (b"text", 415), (b"", 422), (b"PK\x03\x04 no zip", 422),
     (zipped({}), 422)],
)  # fmt: skip
def test_a_request_without_a_series_is_refused(
    client: TestClient, body: bytes, status: int
) -> None:
    assert ask(client, body).status_code == status


def test_sizes_are_bounded(make_client: MakeClient, bright: Predictor, tumour: Path) -> None:
    content = tumour.read_bytes()
    few = make_client(using=bright, series_max_files=2)
    assert ask(few, b"a", b"b", b"c").status_code == 413
    assert ask(few, zipped({f"{n}.dcm": b"x" for n in range(3)})).status_code == 413
    small = make_client(using=bright, series_max_voxels=1000)
    assert ask(small, content).status_code == 413
    short = make_client(using=bright, batch_max_bytes=1000, max_upload_bytes=1000)
    assert ask(short, content).status_code == 413
    bomb = zipped({"a.nii": bytes(3 * 2**20)})
    tight = make_client(using=bright, batch_max_bytes=2**20)
    assert ask(tight, bomb).status_code == 413


def test_single_images_are_answered_with_one_thread(
    make_client: MakeClient, bright: Predictor, tumour: Path
) -> None:
    client = make_client(using=bright, inference_threads=1, max_wait_s=0)
    assert lines(ask(client, tumour.read_bytes()))[-1]["prediction"]["label"] == "tumor"


def test_names_are_numbers_and_pairs_stay_together() -> None:
    archive = zipped({"Doe/scan.hdr": b"h", "Doe/scan.img": b"i", "Roe/scan.img": b"j"})
    sources = study_sources([Upload(bytearray(archive)), Upload(bytearray(b"x"))], Settings())
    assert [each.name for each in sources] == [
        "upload/1.hdr", "upload/1.img", "upload/2.img", "upload/3",
    ]  # fmt: skip
    for _ in range(2):
        assert [each.open().read() for each in sources] == [b"h", b"i", b"j", b"x"]


def test_the_client_sends_folders_and_tells_progress(
    live: LiveServer, tumour: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.nii.gz").write_bytes(tumour.read_bytes())
    (tmp_path / ".hidden").write_bytes(b"x")
    seen: list[tuple[int, int]] = []
    with Client(live.url) as client:
        given = client.predict_series(tmp_path, progress=lambda *each: seen.append(each))
        (line,) = given
        assert line.prediction is not None
        assert line.prediction.plane == "axial"
        assert seen[-1] == (20, 20)
        with pytest.raises(ServiceError) as caught:
            list(client.predict_series(scans.png_scan()))
        assert caught.value.status == 415
