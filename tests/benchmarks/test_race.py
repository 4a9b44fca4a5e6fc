"""The race's harness with a fake server: what counts, what is timed, what is told. No figures."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.race import run as race_run
from benchmarks.race.client import closed_loop, counts, open_loop, request_bytes
from benchmarks.race.entrants import BY_NAME, ENTRANTS, OURS, ROOT, Entrant
from benchmarks.race.figures import aims, beside_rivals, cpu_ratios, losses, ratio
from benchmarks.race.page import page, plot
from benchmarks.race.run import Plan, race, scan
from benchmarks.race.servers import (
    Running,
    ServerFailedError,
    free_port,
    process_tree,
    running,
)

FAKE = Path(__file__).with_name("fake_server.py")
RESULTS = ROOT / "benchmarks" / "results" / "race.json"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    port = free_port()
    request = request_bytes("/good", b"image")
    with running([sys.executable, str(FAKE), str(port)], port, request, {}) as found:
        yield found


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"prob": 0.5}', True),
        (201, b'{"prob": 1}', True),
        (200, b'{"prob": 1.5}', False),
        (200, b'{"prob": "0.5"}', False),
        (200, b'{"prob": 0.5', False),
        (200, b"[]", False),
        (503, b'{"prob": 0.5}', False),
    ],
)
def test_only_whole_answers_with_a_probability_count(
    status: int, body: bytes, expected: bool
) -> None:
    assert counts(status, body) is expected


@pytest.mark.parametrize("path", ["/good", "/chunked"])
def test_clients_that_wait_are_answered(server: Running, path: str) -> None:
    load = closed_loop(server.port, request_bytes(path, b"image"), 3, 0.2)
    assert load.good >= 3
    assert load.bad == 0
    assert 0 < load.p50_ms <= load.p95_ms <= load.p99_ms
    assert (load.kind, load.level) == ("closed", 3)


@pytest.mark.parametrize("path", ["/refused", "/no-json", "/no-prob", "/cut"])
def test_other_answers_never_enter_a_percentile(server: Running, path: str) -> None:
    load = closed_loop(server.port, request_bytes(path, b"image"), 2, 0.05)
    assert (load.good, load.per_second) == (0, 0)
    assert load.bad >= 2
    assert load.to_dict()["p50_ms"] is None


def test_requests_at_fixed_times_are_all_sent(server: Running) -> None:
    load = open_loop(server.port, request_bytes("/good", b"image"), 50, 0.2)
    assert (load.good, load.bad, load.kind, load.level) == (10, 0, "open", 50)


def test_a_server_is_timed_weighed_and_ended(server: Running) -> None:
    assert server.cold_start_s > 0
    assert server.resident_mib() > 1
    assert server.cpu_seconds() > 0
    port = free_port()
    command = [sys.executable, str(FAKE), str(port)]
    with running(command, port, request_bytes("/good", b"image"), {}) as other:
        assert process_tree(other.pid) == [other.pid]
    assert not Path(f"/proc/{other.pid}").exists()


def test_a_server_that_fails_is_told_with_its_words() -> None:
    command = [sys.executable, str(FAKE), "0"]
    with (
        pytest.raises(ServerFailedError, match="this server fails"),
        running(command, free_port(), request_bytes("/good", b"image"), {}),
    ):
        pass


class Fake(Entrant):
    """An entrant whose server is the fake one, asked for good answers."""

    def command(self, python: str, port: int, cores: int) -> list[str]:
        return [python, str(FAKE), "0" if self.name == "fastapi-torch" else str(port)]


def test_a_race_of_fakes_gives_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_run, "in_process", lambda *_: 100.0)
    monkeypatch.setattr(race_run, "_alternating", lambda *_: [])
    entrants = [
        Fake(name, BY_NAME[name].title, "one", path="/good")
        for name in (OURS, "fastapi-torch", "fastapi-onnx")
    ]
    plan = Plan(rounds=2, wide_rounds=1, seconds=0.05, clients=(1, 2), size=64, sizes=(96,),
                size_clients=2, rates=(20,))  # fmt: skip
    told: list[str] = []
    results = json.loads(json.dumps(race(entrants, sys.executable, plan, told.append)))
    assert [run["entrant"] for run in results["runs"]] == [
        OURS, "fastapi-torch", "fastapi-onnx", "fastapi-torch", "fastapi-onnx", OURS,
    ]  # fmt: skip
    assert "this server fails" in results["runs"][1]["failed"]
    assert len(told) == 8
    assert results["runs"][0]["closed"][0]["cpu_ms"] >= 0
    text = page(results)
    assert "fastapi-torch gave no answer in a round" in text
    assert f"| **{BY_NAME[OURS].title}** |" in text
    plot(results, tmp_path / "race.png")
    assert (tmp_path / "race.png").stat().st_size > 1000


def result(entrant: str, number: int, rate: float, **more: Any) -> dict[str, Any]:
    load = {"size": 512, "kind": "closed", "level": 8, "good": 9, "bad": 0, "per_second": rate,
            "p50_ms": 10.0, "p95_ms": 20.0, "p99_ms": 40.0,
            "cpu_ms": 1000 / rate}  # fmt: skip
    return {"entrant": entrant, "round": number, "closed": [load], "open": [], "cold_start_s": 1.0,
            "idle_mib": 100.0, "loaded_mib": 100.0, **more}  # fmt: skip


def test_ratios_stay_within_a_round_and_losses_are_told() -> None:
    turn = {"clients": 8, "/predict": {"per_second": 120.0}, "/explain": {"per_second": 100.0}}
    results = {
        "plan": {"size": 512, "size_clients": 8, "clients": [8], "sizes": []},
        "runs": [
            result(OURS, 0, 100.0, alternating=[turn]),
            result(OURS, 1, 50.0),
            result("fastapi-onnx", 0, 50.0),
            result("litserve-onnx", 0, 40.0, cold_start_s=0.5),
            result("litserve-onnx", 1, 100.0, cold_start_s=0.5),
            result("grad-cam", 0, 10.0),
        ],
        "limit": [{"round": 0, "size": 512, "per_second": 125.0}],
    }
    found = {each.name: each for each in aims(results)}
    best = found["answers beside the best rival with the same network on ONNX Runtime"]
    assert (best.value, best.low, best.high, best.n) == (1.0, 0.5, 2.0, 2)
    assert best.reached is False
    assert found["answers beside the limit in process"].value == 0.8
    assert found["time of /explain beside /predict"].reached is True
    assert found["explanations beside pytorch-grad-cam"].value == 10.0
    assert found["p99 beside p50"].reached is False
    told = losses(results)
    assert any("LitServe + ONNX Runtime gives its first answer sooner" in each for each in told)
    assert any(each.startswith("p99 beside p50: 4 (4 to 4), aimed at at most 3") for each in told)
    assert dict(cpu_ratios(results))["fastapi-onnx"].value == 2.0
    rows = dict(beside_rivals(results))
    assert rows["litserve-onnx"][0].value == pytest.approx(1.118, abs=0.001)


def test_a_ratio_of_nothing_is_none() -> None:
    assert ratio("x", []) is None
    assert ratio("x", [0.0, float("nan")]) is None
    found = ratio("x", [1.0, 4.0], 2.5)
    assert found is not None
    assert (found.value, found.low, found.high, found.reached) == (2.0, 1.0, 4.0, False)


def test_every_rival_is_in_the_list_and_its_file_is_there() -> None:
    folder = ROOT / "benchmarks" / "race" / "rivals"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "student"}
    assert {each.module for each in ENTRANTS if each.module} == files


def test_the_torch_rivals_have_the_weights_of_the_packaged_file() -> None:
    torch = pytest.importorskip("torch", reason="training is an extra")
    from benchmarks.race.rivals import student

    image = student.pixels(io.BytesIO(scan(200)))
    (logit,) = student.onnx_student().run(["logit"], {"image": image})
    with torch.inference_mode():
        found = student.torch_student()(torch.from_numpy(image)).logit
    assert float(found[0]) == pytest.approx(float(logit[0]), abs=0.02)


def test_the_page_is_that_of_the_results() -> None:
    """`python -m benchmarks.race --page benchmarks/results/race.json` writes it anew."""
    results = json.loads(RESULTS.read_text("utf-8"))
    assert (ROOT / "docs" / "race.md").read_text("utf-8") == page(results)
