"""A job of many scans that is killed again and again: is anything lost or twice, does memory grow?

    python -m benchmarks.job_endurance FOLDER --count 100000 --kills 5 --json FILE

Draws the scans into FOLDER (once), runs ``tumorlens predict --out`` over them, kills the command
with SIGKILL at moments drawn by a seed, starts it again each time, and counts the answers. Once a
second the resident memory of the command and of its processes is read from ``/proc``. *Growth* is
the largest value of a process less the smallest, from the first shard that this start finished on.
Exit status 1 where an answer is missing or twice, or memory grows by more than 50 MB.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, sleep

from benchmarks.drawn_scans import scan_names, write_scans

_ALLOWED_MB = 50.0
_MB = 2**20


@dataclass(frozen=True)
class Life:
    """One start of the command to its end.

    ``peak_mb`` and ``growth_mb`` are of the command and of its processes, the largest of those.
    """

    seconds: float
    killed: bool
    done_before: int
    done_after: int
    peak_mb: tuple[float, float]
    growth_mb: tuple[float, float]


def live(command: list[str], out: Path, kill_at: int | None) -> Life:
    """Run the command to its end, or until ``kill_at`` inputs are done and then some."""
    before, start = done(out), monotonic()
    memory: dict[int, list[float]] = {}
    patience = random.Random(kill_at).uniform(0, 3)  # so that the kill is anywhere in a shard
    reached: float | None = None
    started = False
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            started = started or done(out) > before
            for pid in (run.pid, *children(run.pid)):
                if started and (size := resident_mb(pid)) is not None:
                    memory.setdefault(pid, []).append(size)
            if kill_at is not None and reached is None and done(out) >= kill_at:
                reached = monotonic()
            if reached is not None and monotonic() - reached > patience:
                os.kill(run.pid, signal.SIGKILL)
                break
            sleep(1)
    own = memory.pop(run.pid, [0.0])
    others = list(memory.values()) or [[0.0]]
    return Life(
        round(monotonic() - start, 1), run.returncode == -signal.SIGKILL, before, done(out),
        (max(own), max(max(each) for each in others)),
        (growth(own), max(growth(each) for each in others)),
    )  # fmt: skip


def growth(sizes: list[float]) -> float:
    """Return by how much memory grew, in MB."""
    return round(max(sizes) - min(sizes), 1)


def done(out: Path) -> int:
    """Return the inputs in finished shards."""
    try:
        lines = (out / "manifest.jsonl").read_text().splitlines()
    except OSError:
        return 0
    total = 0
    for line in lines:
        try:
            total += json.loads(line)["inputs"]
        except ValueError:  # being written
            continue
    return total


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident_mb(pid: int) -> float | None:
    """Return the resident memory of a process in MB."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / _MB, 1)


def answers(out: Path) -> Counter[str]:
    """Count the answers and errors by path."""
    counted: Counter[str] = Counter()
    for part in [*out.glob("results/part-*.csv"), *out.glob("errors/part-*.csv")]:
        with part.open(newline="") as file:
            counted.update(row["path"] for row in csv.DictReader(file))
    return counted


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.job_endurance")
    parser.add_argument("folder", type=Path, help="for the scans and the results")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    write_scans(given.folder, given.count, size=given.size)
    out = given.folder / "answers"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "tumorlens", "predict", str(given.folder / "scans"), "--out",
               str(out), "--workers", str(given.workers), "--shard-size",
               str(given.shard_size)]  # fmt: skip
    draw = random.Random(given.seed)
    moments = sorted(draw.uniform(0.02, 0.9) for _ in range(given.kills))
    lives = []
    for at in (*(int(given.count * each) for each in moments), None):
        lives.append(live(command, out, at))
        print(lives[-1], flush=True)
    found = answers(out)
    wanted = {f"{given.folder / 'scans'}/{name}" for name in scan_names(given.count)}
    told = {
        "count": given.count,
        "workers": given.workers,
        "shard_size": given.shard_size,
        "kills": sum(each.killed for each in lives),
        "lost": len(wanted - set(found)),
        "twice": sum(number > 1 for number in found.values()),
        "foreign": len(set(found) - wanted),
        "peak_mb": max(max(each.peak_mb) for each in lives),
        "growth_mb": max(max(each.growth_mb) for each in lives),
        "lives": [asdict(each) for each in lives],
    }
    print(json.dumps({name: value for name, value in told.items() if name != "lives"}, indent=1))
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    whole = not (told["lost"] or told["twice"] or told["foreign"])
    sys.exit(0 if whole and float(str(told["growth_mb"])) <= _ALLOWED_MB else 1)


if __name__ == "__main__":
    main()
