"""Drifted scans are sent to a service, and its metrics rise; so does the alert."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.deploy.test_descriptors import DEPLOY, run
from tests.models_for_tests import write_tiny_model
from tests.serving.conftest import MakeClient
from tests.serving.live import LiveServer
from tumorlens.drift.reference import columns, make_reference
from tumorlens.drift.statistics import observe
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.drift import LARGE
from tumorlens.modelfile.rewrite import write_drift_reference

SIZE = 96
Samples = dict[tuple[str, str], float]


def png(seed: int, *, drifted: bool = False) -> bytes:
    """Return a drawn head; drifted, as after a change of the scanner: blurred, another gamma."""
    image = draw_phantom(seed, lesion=seed % 2 == 1, size=SIZE).image
    if drifted:
        image = cv2.GaussianBlur(255 * (image / 255.0) ** 2, (0, 0), 1.5).astype(np.uint8)
    _, encoded = cv2.imencode(".png", image)
    return encoded.tobytes()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with the histograms of 200 drawn heads."""
    path = write_tiny_model(tmp_path_factory.mktemp("model") / "m.onnx")
    predictor = Predictor.open(path, threads=1)
    rows = []
    for seed in range(1000, 1200):
        ready = predictor.prepare(predictor.decode(png(seed)))
        (answer,) = predictor.predict_prepared([ready], [0.0])
        rows.append(observe(ready.tensor, answer.prob, None))
    reference = make_reference(columns(rows), np.arange(200), "drawn scans")
    write_drift_reference(path, reference, path)
    return path


@pytest.fixture(scope="module")
def predictor(watched: Path) -> Predictor:
    return Predictor.open(watched, threads=1)


def drift(text: str) -> Samples:
    return {
        (sample.name.removeprefix("tumorlens_drift_"), sample.labels["statistic"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("tumorlens_drift_")
    }


def send(client: TestClient, seeds: Iterable[int], *, drifted: bool = False) -> Samples:
    for seed in seeds:
        image = io.BytesIO(png(seed, drifted=drifted))
        assert client.post("/predict", files={"file": ("x.png", image)}).status_code == 200
    return drift(client.get("/metrics").text)


def test_the_metrics_rise_with_drifted_scans_and_fall_again(
    make_client: MakeClient, predictor: Predictor
) -> None:
    client = make_client(using=predictor, drift_window=60)
    assert send(client, ()) == {
        ("window_images", name): 0 for name in ("score", "brightness", "contrast", "sharpness")
    }
    same = send(client, range(2000, 2060))
    moved = send(client, range(2060, 2120), drifted=True)
    again = send(client, range(2120, 2180))
    for name in ("brightness", "sharpness"):
        for measure in ("psi", "ks"):
            chance = f"{measure}_by_chance"
            assert same[measure, name] < same[chance, name]
            assert moved[measure, name] > moved[chance, name]
            assert again[measure, name] < again[chance, name]
        assert moved["psi", name] > LARGE
        assert moved["window_images", name] == 60


def test_refused_images_and_a_window_of_none_are_not_watched(
    make_client: MakeClient, predictor: Predictor
) -> None:
    client = make_client(using=predictor)
    _, blank = cv2.imencode(".png", np.full((SIZE, SIZE), 90, np.uint8))
    assert client.post("/predict", files={"file": ("x.png", blank.tobytes())}).status_code == 422
    assert set(send(client, ()).values()) == {0}
    files = [("file", (f"{seed}.png", png(seed))) for seed in range(3)]
    assert client.post("/predict/batch", files=files).status_code == 200
    assert send(client, ())["window_images", "score"] == 3
    assert send(make_client(using=predictor, drift_window=0), range(3)) == {}


def test_a_model_without_a_reference_is_not_watched(
    make_client: MakeClient, tiny_model_path: Path
) -> None:
    client = make_client(using=Predictor.open(tiny_model_path, threads=1))
    assert send(client, range(3)) == {}


def test_workers_answers_are_compared_together(watched: Path) -> None:
    with LiveServer(watched, workers=2) as server:
        for seed in range(12):
            # A connection each, so that both workers answer.
            files = {"file": ("x.png", png(seed))}
            reply = httpx.post(f"{server.url}/predict", files=files, timeout=60)
            assert reply.status_code == 200
        text = httpx.get(f"{server.url}/metrics", timeout=60).text
    assert drift(text)["window_images", "score"] == 12
    assert "tumorlens_drift_bin_images" not in text


def rule_test(samples: Samples, *, fires: list[str]) -> dict[str, object]:
    """Return a test for promtool: the alert's statistics when a service shows ``samples``."""
    return {
        "interval": "1m",
        "input_series": [
            {
                "series": f'tumorlens_drift_{name}{{job="tumorlens", statistic="{statistic}"}}',
                "values": f"{value}x90",
            }
            for (name, statistic), value in samples.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (statistic) (ALERTS{alertname="TumorLensDrift", '
                'alertstate="firing"})',
                "eval_time": "80m",
                "exp_samples": [
                    {"labels": f'{{statistic="{name}"}}', "value": 1} for name in fires
                ],
            }
        ],
    }


@pytest.mark.system("promtool")
def test_the_alert_fires_for_the_drifted_scans_alone(
    make_client: MakeClient, predictor: Predictor, tmp_path: Path
) -> None:
    client = make_client(using=predictor, drift_window=60)
    same = send(client, range(3000, 3060))
    few = send(client, range(3060, 3066), drifted=True)
    moved = send(client, range(3066, 3120), drifted=True)
    fires = sorted(
        name
        for name in ("score", "brightness", "contrast", "sharpness")
        if moved["psi", name] > max(LARGE, moved["psi_by_chance", name])
    )
    assert {"brightness", "sharpness"} <= set(fires)
    tests = {
        "rule_files": [str(DEPLOY / "observability" / "alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            rule_test(same, fires=[]),
            rule_test(few, fires=[]),
            rule_test(moved, fires=fires),
        ],
    }
    file = tmp_path / "drift.test.yaml"
    file.write_text(yaml.safe_dump(tests), "utf-8")
    run("promtool", "test", "rules", str(file))
