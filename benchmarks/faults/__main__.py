"""Run the scenarios one after the other and print, or write, what they found."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults import crowds, hostile, operations
from benchmarks.faults.outcome import Outcome
from tests.serving.live import LiveServer
from tumorlens.inference.default_model import find_model

MAX_WAIT_S = 2.0  # the default of TUMORLENS_MAX_WAIT_S
# Counts of the full run, and of the quick one that CI can afford.
FULL = {"examples": 900, "mutants": 2100, "megabytes": 1024, "slow": 200, "slow_s": 45.0}
FULL |= {"drops": 500, "crowd_s": 10.0, "overload_s": 60.0, "kill_s": 15.0, "scraped": 200}
QUICK = {"examples": 25, "mutants": 336, "megabytes": 128, "slow": 40, "slow_s": 6.0}
QUICK |= {"drops": 100, "crowd_s": 3.0, "overload_s": 5.0, "kill_s": 6.0, "scraped": 40}


def scenarios(model: Path, scale: dict[str, float]) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Yield each scenario's name and the function that runs it on a server of its own."""

    def alone(play: Callable[[LiveServer], Outcome], **settings: object) -> Callable[[], Outcome]:
        def run() -> Outcome:
            with LiveServer(model, log_level="info", **settings) as server:
                return play(server)

        return run

    n = {name: int(value) for name, value in scale.items()}
    patience = {"header_timeout": scale["slow_s"] / 3, "body_timeout": scale["slow_s"] / 2}
    yield "schema", alone(lambda server: hostile.schema_cases(server, n["examples"]))
    yield "mutants", alone(lambda server: hostile.mutated_images(server, n["mutants"]))
    yield (
        "upload",
        alone(lambda server: asyncio.run(crowds.endless_upload(server, n["megabytes"]))),
    )
    yield (
        "slow",
        alone(
            lambda server: asyncio.run(crowds.slow_clients(server, n["slow"], scale["slow_s"])),
            **patience,
        ),
    )
    yield "drops", alone(lambda server: asyncio.run(crowds.dropped_connections(server, n["drops"])))
    yield "crowd", alone(lambda server: asyncio.run(crowds.crowd(server, scale["crowd_s"])))
    # A machine that tests many things at once may be late; the full run must not be.
    budget = MAX_WAIT_S if scale is FULL else None
    yield (
        "overload",
        alone(lambda server: asyncio.run(crowds.overload(server, scale["overload_s"], budget))),
    )
    yield "kill", lambda: asyncio.run(operations.killed_worker(model, scale["kill_s"]))
    yield "prometheus", lambda: operations.prometheus(model, n["scraped"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="scenarios to run; all without any")
    parser.add_argument("--quick", action="store_true", help="the counts of CI")
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--output", type=Path, default=None, help="write the figures as JSON")
    chosen = parser.parse_args()
    outcomes = []
    for name, run in scenarios(find_model(chosen.model), QUICK if chosen.quick else FULL):
        if chosen.only and name not in chosen.only:
            continue
        begin = time.monotonic()
        outcome = run()
        outcome.figures["seconds"] = round(time.monotonic() - begin)
        outcomes.append(outcome)
        print(f"{'FAILED' if outcome.failures else 'ok':7}{outcome.name}: {outcome.figures}")
        for failure in outcome.failures[:5]:
            print(f"       {failure}")
    if chosen.output is not None:
        text = json.dumps([asdict(outcome) for outcome in outcomes], indent=2)
        chosen.output.write_text(text + "\n", "utf-8")
    return 1 if any(outcome.failures for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
