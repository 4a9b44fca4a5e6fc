"""How the time of audit, split and report grows from 1,000 to 1,000,000 synthetic records.

    python -m benchmarks.scaling                          # a minute up to 10,000
    python -m benchmarks.scaling --counts 1000 10000 100000 1000000 --json FILE

Each step runs on records without files, three to a group, one in a hundred an identical copy. Times
are of the process, so that other work on the machine counts little. The *exponent* is the slope of
log seconds over log count between the two largest counts: 1 is linear, 2 quadratic. Reading and
hashing the images is linear by itself and left out; the search of near-duplicates with its recall
is `benchmarks.audit_growth`. The report resamples ``--resamples`` times; its time is in proportion.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tumorlens.data.audit.audit import Audit, _overlap
from tumorlens.data.audit.duplicates import NearDuplicate, _equal_files, duplicate_groups
from tumorlens.data.audit.findings import pair_findings
from tumorlens.data.audit.image_summary import ImageSummary
from tumorlens.data.manifest import Record
from tumorlens.data.splits import grouped_folds, grouped_split, read_split, write_split
from tumorlens.metrics.summary import Predictions, summarize, summarize_by
from tumorlens.runs.predictions import read_predictions, write_predictions

SOURCES = tuple(f"source{number}" for number in range(8))
Step = Callable[[], object]


def records(count: int) -> list[Record]:
    """Return ``count`` records, three to a group."""
    return [
        Record(
            key=f"{SOURCES[at % 8]}:{at:07}.png",
            path=Path(f"{at:07}.png"),
            source=SOURCES[at % 8],
            label=at // 3 % 2,
            view=("axial", "coronal", "sagittal")[at % 3],
            group=at // 3,
            sha256=f"{at - at % 100 if at % 100 == 1 else at:064x}",
        )
        for at in range(count)
    ]


def images(count: int) -> list[ImageSummary]:
    """Return what the audit knows of ``count`` images; they share their pixels."""
    small, bits = np.zeros((64, 64), np.uint8), np.zeros((8, 4), np.uint64)
    thumbnail, zooms = np.zeros((16, 16), np.float32), np.zeros((3, 4), np.uint64)
    return [
        ImageSummary(each, str(each.sha256), 5000, "png", 256, 256, (0.0, 0.0, 0.0, 1.0), thumbnail,
                     small, small, bits, bits, zooms, ())
        for each in records(count)
    ]  # fmt: skip


def predictions(count: int) -> Predictions:
    """Return ``count`` predictions of a network that is right most of the time."""
    rng = np.random.default_rng(count)
    labels = rng.integers(0, 2, count)
    prob = np.clip(rng.normal(0.25 + 0.5 * labels, 0.2), 0, 1)
    made = records(count)
    return Predictions(
        tuple(each.key for each in made), labels, prob, np.full(count, 0.5),
        np.arange(count) // 3, tuple(each.source for each in made),
        tuple(each.view for each in made),
    )  # fmt: skip


def audit_steps(count: int) -> Iterator[tuple[str, Step]]:
    """Yield what the audit does once images are read and searched."""
    shown = images(count)
    one_file = [*shown[: count * 9 // 10]]
    one_file += [ImageSummary(**{**vars(each), "sha256": "0"}) for each in shown[count * 9 // 10 :]]
    pairs = [NearDuplicate(at, at + 1, False, 9, 0.9) for at in range(0, count - 1, 3)]
    audit = Audit(tuple(shown), (), tuple(pairs), {}, (), ())
    yield "audit: identical files", lambda: _equal_files(shown)
    yield "audit: one file in ten is the same", lambda: _equal_files(one_file)
    yield "audit: groups", lambda: duplicate_groups(count, pairs)
    yield "audit: findings", lambda: pair_findings(shown, pairs, set())
    yield "audit: overlap of sources", lambda: _overlap(shown, pairs)
    yield "audit: result as JSON", lambda: json.dumps(audit.to_dict())


def split_steps(count: int, folder: Path) -> Iterator[tuple[str, Step]]:
    """Yield what splitting does with grouped records."""
    made, path = records(count), folder / f"{count}.json"
    split = grouped_split(made, seed=0)
    yield "split: grouped", lambda: grouped_split(made, seed=0)
    yield "split: five folds", lambda: grouped_folds(made, n_folds=5, seed=0)
    yield "split: written", lambda: write_split(split, path)
    yield "split: read and checked", lambda: read_split(path, made)


def report_steps(count: int, folder: Path, resamples: int) -> Iterator[tuple[str, Step]]:
    """Yield what a report does with predictions."""
    made, path = predictions(count), folder / f"{count}.csv"
    yield "report: every metric", lambda: summarize(made, n_boot=resamples)
    by = {"n_boot": resamples}
    yield (
        "report: by source",
        lambda: summarize_by(made, made.sources, lambda rows: summarize(rows, **by)),
    )
    yield "report: predictions written", lambda: write_predictions({"test": made}, path)
    yield "report: predictions read", lambda: read_predictions(path)


def exponent(seconds: dict[int, float]) -> float:
    """Return the slope between the two largest counts that took 2 ms or more."""
    known = [(count, took) for count, took in sorted(seconds.items()) if took >= 0.002]
    if len(known) < 2:
        return math.nan
    (n0, t0), (n1, t1) = known[-2:]
    return math.log(t1 / t0) / math.log(n1 / n0)


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    seconds: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for count in given.counts:
            for steps in (audit_steps(count), split_steps(count, folder),
                          report_steps(count, folder, given.resamples)):  # fmt: skip
                for name, step in steps:
                    start = time.process_time()
                    step()
                    seconds.setdefault(name, {})[count] = time.process_time() - start
                    print(f"{count:>9,} {name}: {seconds[name][count]:.3f} s", flush=True)
    told = {
        "counts": given.counts,
        "resamples": given.resamples,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "steps": {
            name: {"exponent": round(exponent(each), 2),
                   "seconds": {str(n): round(took, 4) for n, took in each.items()}}
            for name, each in seconds.items()
        },
    }  # fmt: skip
    print("\n| step | exponent | seconds at the largest |\n|---|---|---|")
    for name, each in told["steps"].items():  # type: ignore[attr-defined]
        print(f"| {name} | {each['exponent']} | {list(each['seconds'].values())[-1]} |")
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
