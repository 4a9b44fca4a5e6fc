"""Hostile requests: cases made from our own OpenAPI document, mutated images, bombs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import httpx

from benchmarks.faults.mutants import bombs, mutants
from benchmarks.faults.outcome import Outcome
from tests.serving.live import LiveServer
from tests.serving.scans import png_scan

INTENDED = frozenset({200, 400, 413, 415, 422})
FLAT_MIB, PEAK_MIB = 50, 500


def schema_cases(server: LiveServer, examples: int, seed: int = 1) -> Outcome:
    """Run schemathesis with ``examples`` cases for each operation that takes data."""
    outcome = Outcome("schemathesis, all checks")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
    command += ["--checks", "all", "--phases", "coverage,fuzzing", "--no-color"]
    # Random bytes fit the schema of a file and are still no image: 415 is the right answer.
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += ["--max-examples", str(examples), "--seed", str(seed)]
    command += ["--generation-database", "none", "--suppress-health-check", "all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=server.folder)
    found = re.search(r"(\d+) generated", done.stdout)
    outcome.figures["cases"] = int(found[1]) if found else 0
    outcome.require(done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:])
    outcome.require(outcome.figures["cases"] > 0, "no case was generated")
    _still_healthy(server, outcome)
    return outcome


def mutated_images(server: LiveServer, count: int, seed: int = 1) -> Outcome:
    """Post ``count`` mutants and the bombs; memory must stay flat after the first tenth."""
    outcome = Outcome("mutated images and bombs")
    statuses: Counter[int] = Counter()
    warm = 0.0
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for index, (name, body) in enumerate(mutants(count, seed)):
            _post(http, name, body, index, statuses, outcome)
            if index == count // 10:
                warm = server.rss_mib()
        flat = server.rss_mib()
        for name, body in bombs():
            for path_index in range(3):
                _post(http, name, body, path_index, statuses, outcome)
    outcome.figures |= {
        "requests": sum(statuses.values()),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "rss_after_a_tenth_mib": round(warm),
        "rss_after_mutants_mib": round(flat),
        "rss_after_bombs_mib": round(server.rss_mib()),
        "rss_peak_mib": round(server.rss_mib("VmHWM")),
    }
    outcome.require(flat - warm <= FLAT_MIB, f"memory grew by {flat - warm:.0f} MiB")
    outcome.require(server.rss_mib("VmHWM") < PEAK_MIB, "memory peaked over the limit")
    _still_healthy(server, outcome)
    return outcome


def _post(
    http: httpx.Client,
    name: str,
    body: bytes,
    index: int,
    statuses: Counter[int],
    outcome: Outcome,
) -> None:
    zipped = name.startswith("zip")
    path = "/predict/batch" if zipped else ("/predict", "/explain", "/predict/batch")[index % 3]
    answer = http.post(path, files={"file": (name, body)})
    statuses[answer.status_code] += 1
    outcome.require(answer.status_code in INTENDED, f"{name} at {path}: {answer.status_code}")
    if path == "/predict/batch" and answer.status_code == 200:
        faults = [line for line in answer.text.splitlines() if "internal-error" in line]
        outcome.require(not faults, f"{name} at {path}: {faults}")


def _still_healthy(server: LiveServer, outcome: Outcome) -> None:
    answer = httpx.post(f"{server.url}/predict", files={"file": ("a", png_scan())}, timeout=30)
    outcome.require(answer.status_code == 200, "the server no longer answers")
    faults = server.log_lines("fault")
    outcome.require(not faults, f"faults in the log: {faults[:3]}")
