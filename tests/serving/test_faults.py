"""The fault suite with the counts that every change can afford; `make faults` runs it in full."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.faults.__main__ import QUICK, scenarios

NAMES = ("schema", "mutants", "upload", "slow", "drops", "crowd", "overload", "kill", "prometheus")


PROMETHEUS = pytest.mark.system("prometheus", "promtool")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=PROMETHEUS if name == "prometheus" else ()) for name in NAMES],
)
def test_the_service_survives(name: str, tiny_model_path: Path) -> None:
    run = dict(scenarios(tiny_model_path, QUICK))[name]
    outcome = run()
    assert not outcome.failures, f"{outcome.figures}\n" + "\n".join(outcome.failures[:10])


def test_every_scenario_is_run(tiny_model_path: Path) -> None:
    assert tuple(name for name, _ in scenarios(tiny_model_path, QUICK)) == NAMES
