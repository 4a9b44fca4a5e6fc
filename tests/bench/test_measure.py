from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tumorlens.bench.measure import Measurements, Plan, measure
from tumorlens.bench.service import running
from tumorlens.cli.bench import render
from tumorlens.errors import ConfigError, UnreadableFileError
from tumorlens.inference.cores import usable_cores


@pytest.fixture(scope="module")
def measured(tiny_model_path: Path) -> Measurements:
    return measure(Plan(model=tiny_model_path, clients=(1, 2), requests=10, seconds=2))


def test_every_measurement_is_made(measured: Measurements) -> None:
    names = [timing.name for timing in measured.service]
    assert names == [
        f"POST {path}, {clients}"
        for path in ("/predict", "/explain")
        for clients in ("1 client", "2 clients")
    ]
    for timing in [*measured.service, *measured.in_process, *measured.forward]:
        assert timing.n == 10
        assert 0 < timing.p50_ms <= timing.p95_ms <= timing.p99_ms


def test_forward_is_measured_on_one_core_and_on_all(measured: Measurements) -> None:
    found = [timing.name for timing in measured.forward if timing.name.startswith("ONNX Runtime")]
    assert found[0] == "ONNX Runtime, batch 1, 1 thread"
    assert len(found) == (1 if usable_cores() == 1 else 2)


def test_the_measurements_are_json_and_read_as_a_table(measured: Measurements) -> None:
    assert json.loads(json.dumps(measured.to_dict()))["service"][0]["n"] == 10
    rows = [line for line in render(measured).splitlines() if line.startswith("| POST /predict, 1")]
    first = measured.service[0]
    assert rows == [
        f"| POST /predict, 1 client | 10 | {first.p50_ms:.2f} | {first.p95_ms:.2f} "
        f"| {first.p99_ms:.2f} | {first.per_second:.1f} |"
    ]


def test_a_missing_image_is_reported(tiny_model_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"none\.png: No such file"):
        measure(Plan(model=tiny_model_path, image=Path("none.png")))


def test_the_service_is_measured_and_stopped(tiny_model_path: Path) -> None:
    begin = time.perf_counter()
    with running(tiny_model_path) as service:
        assert 0 < service.cold_start_s <= time.perf_counter() - begin
        if Path("/proc/self/status").exists():
            resident = service.resident_bytes()
            assert resident is not None
            assert 20 * 2**20 < resident < 500 * 2**20
    with pytest.raises(ProcessLookupError):
        os.kill(service.pid, 0)


def test_the_log_of_a_failed_start_is_reported(tmp_path: Path) -> None:
    missing = tmp_path / "none.onnx"
    with pytest.raises(ConfigError, match=r"did not start: .*none\.onnx"), running(missing):
        pass
