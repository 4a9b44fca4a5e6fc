"""Run the race: ``python -m benchmarks.race [--quick] [--rounds N] [--only NAME …] [--out TO]``.

A full run takes a quarter of an hour on two idle cores and writes ``benchmarks/results/race.json``,
``docs/race.md`` and ``docs/images/race.png``. With ``--quick`` or ``--only`` these go to the folder
``race`` instead, unless ``--out`` names another. ``--page FILE`` writes the page of results again.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.race.entrants import BY_NAME, ENTRANTS, ROOT
from benchmarks.race.environment import FOLDER, rivals_python, versions
from benchmarks.race.figures import aims, busy, losses
from benchmarks.race.page import page, plot
from benchmarks.race.run import QUICK, Plan, race


def main() -> None:
    """Measure, write results and page, and print what was aimed at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, for a look")
    parser.add_argument("--rounds", type=int, help="how often each server is started")
    parser.add_argument("--only", nargs="+", choices=sorted(BY_NAME), metavar="NAME")
    parser.add_argument("--out", type=Path, help="folder for results, page and plot")
    parser.add_argument("--page", type=Path, help="write the page of these results again")
    parser.add_argument("--environment", type=Path, default=FOLDER, help="of the rivals")
    args = parser.parse_args()
    if args.page:
        _write(json.loads(args.page.read_text("utf-8")), args.out)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server is left running
    begin = time.perf_counter()
    python = rivals_python(args.environment)
    names = set(args.only or BY_NAME)
    chosen = [each for each in ENTRANTS if each.name in names]
    plan = QUICK if args.quick else Plan()
    plan = replace(plan, rounds=args.rounds or plan.rounds)

    def tell(text: str) -> None:
        print(f"{time.perf_counter() - begin:6.0f} s  {text}", flush=True)

    results = race(chosen, python, plan, tell)
    results["versions"] = versions(python)
    results["aims"] = [each.to_dict() for each in aims(results)]
    out = args.out or (Path("race") if args.quick or args.only else None)
    _write(results, out)
    for each in aims(results):
        sign = "at least" if each.at_least else "at most"
        print(f"{each.name}: {each.value:g} ({each.low:g} to {each.high:g}, n = {each.n}); "
              f"aimed at {sign} {each.wanted:g}")  # fmt: skip
    for line in losses(results):
        print(f"behind: {line}")
    print("other programs used {:.2f} cores on average, {:.2f} at most".format(*busy(results)))


def _write(results: dict[str, Any], out: Path | None) -> None:
    """Write results, page and plot into a folder, or to their places in the project."""
    if out is None:
        data, text, image = (
            ROOT / "benchmarks" / "results" / "race.json",
            ROOT / "docs" / "race.md",
            ROOT / "docs" / "images" / "race.png",
        )
    else:
        data, text, image = out / "race.json", out / "race.md", out / "images" / "race.png"
    for path in (data, text, image):
        path.parent.mkdir(parents=True, exist_ok=True)
    data.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text.write_text(page(results), encoding="utf-8")
    plot(results, image)


if __name__ == "__main__":
    main()
