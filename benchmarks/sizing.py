"""What a million scans cost, measured on jobs of several sizes, and what that says for a billion.

    python -m benchmarks.sizing FOLDER                      # 1,000, 3,000 and 10,000 scans
    python -m benchmarks.sizing FOLDER --counts 1000 10000 100000 --json FILE

Draws the scans into FOLDER (once). For each count ``tumorlens predict --out`` runs in processes of
its own; told are seconds of all its processors (so other work on the machine counts little), wall
seconds, the largest memory of a process and the bytes written. Model: processor seconds are
``start + each * count``, fitted to the smaller counts by relative error and checked against the
largest; then fitted to all and extrapolated.

The *limit* is the same work in this process without a job: decode, prepare and the network's best
batch, on bytes in memory and one thread, by turns with parts of a job; told is limit / job in
processor seconds a scan, so 1 means that reading, writing and planning cost nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_scans import contents, write_scans
from tumorlens.inference.predictor import Predictor
from tumorlens.jobs.answer import answer_shard
from tumorlens.jobs.inputs import Reading, job_items
from tumorlens.jobs.items import cut
from tumorlens.jobs.run import make_settings

_BATCHES = (1, 4, 8, 16)
_BILLION = 10**9


def run_job(folder: Path, count: int, workers: int, shard_size: int) -> dict[str, float]:
    """Answer a folder by the command line; return what it took."""
    out = folder / "answers"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "tumorlens", "predict", str(folder / "scans"), "--out",
               str(out), "--workers", str(workers), "--shard-size", str(shard_size), "--format",
               "parquet"]  # fmt: skip
    start = monotonic()
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(run.pid, 0)  # with the processes that it has waited for
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise SystemExit(f"tumorlens predict ended with {run.returncode}")
    sizes = [each.stat().st_size for each in out.rglob("*") if each.is_file()]
    return {
        "count": count,
        "processor_seconds": round(used.ru_utime + used.ru_stime, 2),
        "wall_seconds": round(monotonic() - start, 2),
        "peak_mib": used.ru_maxrss // 1024,
        "bytes_written": sum(sizes),
    }


def fit(rows: list[dict[str, float]]) -> NDArray[np.float64]:
    """Return start and seconds a scan, by least squares of the relative error."""
    counts = np.array([row["count"] for row in rows], dtype=np.float64)
    seconds = np.array([row["processor_seconds"] for row in rows])
    design = np.stack([np.ones_like(counts), counts], axis=1) / seconds[:, None]
    found, *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    return np.asarray(found)


def share_of_limit(folder: Path, size: int, repeats: int, images: int) -> dict[str, Any]:
    """Return how near a job's processor time a scan is to the limit, by turns in this process."""
    cv2.setNumThreads(1)
    model, settings = make_settings(None, output="parquet", shard_size=images)
    predictor = Predictor.open(model, threads=1)
    small = folder / "small"
    write_scans(small, images, distinct=images, size=size)
    drawn = contents(images, size)
    (shard,) = cut(job_items([str(small / "scans")], Reading()), images, settings.digest)
    answer_shard(predictor, shard, settings)  # what is loaded late is loaded now
    batch = min(_BATCHES, key=lambda each: limit(predictor, drawn, each))
    pairs = []
    for _ in range(repeats):
        alone = limit(predictor, drawn, batch)
        start = process_time()
        result = answer_shard(predictor, shard, settings)
        pairs.append((alone, process_time() - start))
        assert result.answered == images
    ratios = [alone / job for alone, job in pairs]
    return {
        "limit_batch": batch,
        "limit_ms": round(statistics.median(a for a, _ in pairs) / images * 1000, 3),
        "job_ms": round(statistics.median(b for _, b in pairs) / images * 1000, 3),
        "share_of_limit": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
        "repeats": repeats,
        "images": images,
    }


def limit(predictor: Predictor, drawn: list[bytes], batch: int) -> float:
    """Return the processor seconds of decode, prepare and network alone."""
    start = process_time()
    for first in range(0, len(drawn), batch):
        images = [predictor.decode(each) for each in drawn[first : first + batch]]
        predictor.infer(np.stack([predictor.prepare(each).tensor for each in images]))
    return process_time() - start


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing")
    parser.add_argument("folder", type=Path, help="for the scans and the results")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5, help="of the limit")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    told: dict[str, Any] = {"size": given.size, "workers": given.workers}
    told["limit"] = share_of_limit(given.folder, given.size, given.repeats, 256)
    print(json.dumps(told["limit"]), flush=True)
    rows = told["jobs"] = []
    for count in sorted(given.counts):
        place = given.folder / str(count)
        write_scans(place, count, size=given.size)
        rows.append(run_job(place, count, given.workers, given.shard_size))
        print(json.dumps(rows[-1]), flush=True)
        if len(rows) > 2:
            start, each = fit(rows[:-1])
            told["largest_predicted"] = round((start + each * count) / rows[-1]
                                              ["processor_seconds"], 3)  # fmt: skip
        if len(rows) > 1:
            start, each = fit(rows)
            written = rows[-1]["bytes_written"] / count
            told |= {
                "start_seconds": round(float(start), 2),
                "milliseconds_each": round(float(each) * 1000, 3),
                "core_hours_a_million": round(float(each) * 1e6 / 3600, 2),
                "core_hours_a_billion": round(float(start + each * _BILLION) / 3600),
                "bytes_each": round(written, 1),
            }
        if given.json:  # after each, because the largest takes longest
            given.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    print(json.dumps({name: value for name, value in told.items() if name != "jobs"}, indent=1))


if __name__ == "__main__":
    main()
