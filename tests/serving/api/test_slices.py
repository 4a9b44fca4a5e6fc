"""Slices of a series over HTTP: their scale, their evidence, and the same answer as without."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from tests.imaging.dicoms import dicom
from tests.inference.series.drawn import head, save, write_bright_model
from tests.serving import scans
from tests.serving.conftest import MakeClient
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.predictor import Predictor
from tumorlens.volumes.volume import Volume

TUMOUR = ((30.0, 10.0, 16.0), 25.0)
SHAPE, SPACING = (64, 72, 20), (3.0, 3.0, 8.0)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    return Predictor.open(path, threads=1)


@pytest.fixture(scope="module")
def volume() -> Volume:
    return head(TUMOUR, shape=SHAPE, spacing=SPACING)


@pytest.fixture(scope="module")
def tumour(tmp_path_factory: pytest.TempPathFactory, volume: Volume) -> bytes:
    return save(tmp_path_factory.mktemp("volumes") / "Doe.nii.gz", volume).read_bytes()


@pytest.fixture
def client(make_client: MakeClient, bright: Predictor) -> TestClient:
    return make_client(using=bright)


def ask(client: TestClient, *bodies: bytes, **params: str) -> list[dict[str, Any]]:
    files = [("file", ("Doe.bin", body)) for body in bodies]
    answer = client.post("/explain/series", files=files, params=params)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def pixels(encoded: str) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


def test_every_slice_comes_with_its_own_grey_levels_and_its_evidence(
    client: TestClient, bright: Predictor, volume: Volume, tumour: bytes
) -> None:
    first, *rest, last = ask(client, tumour)
    view = first["view"]
    assert (view["plane"], view["slices"], view["oriented"]) == ("axial", 20, True)
    assert (view["width"], view["height"], view["pixel_mm"], view["slice_mm"]) == (64, 72, 3.0, 8.0)
    slices = {line["slice"]["index"]: line["slice"] for line in rest if "slice" in line}
    assert sorted(slices) == list(range(20))
    assert [line["done"] for line in rest if "done" in line][-1] == 20
    for index, each in slices.items():
        shown = pixels(each["scan"]) * view["slope"] + view["intercept"]
        assert np.array_equal(shown, volume.data[::-1, ::-1, index].T)
    prediction = last["prediction"]
    answered = [each["index"] for each in prediction["slices"] if each["set_aside"] is None]
    assert [index for index, each in slices.items() if each["evidence"]] == answered
    (finding,) = prediction["findings"]
    heat = pixels(slices[finding["peak"]]["evidence"])
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    # 30 mm to the right is on the image's left: column 64 / 2 - 30 / 3.
    assert [int(column), int(row)] == pytest.approx([22, 33], abs=8)
    wanted = bright.predict_series(volume)
    assert prediction["prob"] == pytest.approx(wanted.prob)
    assert view["slice_threshold"] == pytest.approx(0.5)


def test_wide_grey_levels_take_sixteen_bits(client: TestClient, tmp_path: Path) -> None:
    wide = head(TUMOUR, shape=SHAPE, spacing=SPACING)
    data = (wide.data.astype(np.int16) * 13) - 500
    body = save(tmp_path / "a.nii.gz", Volume.aligned(data, SPACING, "wide")).read_bytes()
    first, *rest = ask(client, body)
    view = first["view"]
    middle = next(line["slice"] for line in rest if line.get("slice", {}).get("index") == 10)
    shown = pixels(middle["scan"]).astype(np.int64)
    assert shown.max() > 255
    assert np.array_equal(shown * view["slope"] + view["intercept"], data[::-1, ::-1, 10].T)
    low, high = view["window"]
    assert -500 <= low < high <= data.max()


def test_large_slices_are_sent_smaller(client: TestClient, tumour: bytes) -> None:
    first, *rest = ask(client, tumour, size="64", plane="sagittal")
    view = first["view"]
    # 72 × 3 mm across, 20 × 8 mm down, in square pixels of 3 mm.
    assert (view["width"], view["height"]) == (64, 47)
    assert view["pixel_mm"] == pytest.approx(72 * 3 / 64)
    sizes = {pixels(line["slice"]["scan"]).shape for line in rest if "slice" in line}
    assert sizes == {(47, 64)}


def test_a_problem_ends_its_series_and_not_the_others(client: TestClient, tumour: bytes) -> None:
    empty = Volume.aligned(np.zeros((64, 64, 12), np.uint8), (3.0, 3.0, 8.0), "empty")
    from tumorlens.volumes.write import write_nifti

    file = io.BytesIO()
    write_nifti(file, empty.data, empty.affine, "empty")
    lines = ask(client, file.getvalue(), scans.png_scan(), tumour)
    ends = [line for line in lines if "prediction" in line]
    types = [end["problem"] and end["problem"]["type"].rsplit("/")[-1] for end in ends]
    assert types == ["not-brain-mri", "unsupported-format", None]


def test_a_model_without_a_map_gives_slices_alone(
    make_client: MakeClient, tumour: bytes, tmp_path: Path
) -> None:
    from tests.models_for_tests import write_tiny_model

    path = write_tiny_model(tmp_path / "plain.onnx", has_map=False)
    client = make_client(using=Predictor.open(path, threads=1))
    lines = ask(client, tumour)
    assert {line["slice"]["evidence"] for line in lines if "slice" in line} == {None}


@pytest.mark.parametrize("size", ["0", "63", "1025", "many"])
def test_another_size_is_refused(client: TestClient, tumour: bytes, size: str) -> None:
    answer = client.post("/explain/series", files=[("file", ("a", tumour))], params={"size": size})
    assert answer.status_code == 400


def test_a_single_dicom_picture_tells_its_pixels_size(client: TestClient) -> None:
    body = dicom(draw_phantom(7, lesion=True).image, PixelSpacing=[0.75, 0.75])
    answer = client.post("/explain", files={"file": ("a", body)}).json()
    assert answer["pixel_mm"] == 0.75
    scan = client.post("/explain", files={"file": ("a", scans.png_scan())}).json()
    assert scan["pixel_mm"] is None
    heat, grey = (pixels(scan[name]["png"]) for name in ("heatmap", "evidence"))
    assert grey.shape == heat.shape[:2]
    assert np.array_equal(grey > 255 * 0.7 + 1, (heat[..., 3] == 255) & (grey > 255 * 0.7 + 1))
