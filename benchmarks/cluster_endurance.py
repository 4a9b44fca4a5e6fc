"""Two Ray nodes on this machine, one killed in the middle: complete, and the local run's bytes?

    python -m benchmarks.cluster_endurance FOLDER --count 2000 --repeats 3 --json FILE

Draws the scans into FOLDER (once) and answers them by local processes and on the cluster by turns,
with as many processes as the two nodes have cores; told is the ratio of their inputs a second,
counted from the first to the last finished shard, so without starting either. Then a node is killed
when a third of the shards are finished. Exit status 1 where a byte differs or an input is missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.drawn_scans import write_scans
from tumorlens.jobs.run import Job, Progress, make_settings, run_job

_STORE = 200 * 2**20  # bytes of each node's object store


def start_nodes(cores: int) -> Any:
    """Start two nodes of ``cores`` each; ``second`` is the one that may be killed."""
    import os

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": cores, "object_store_memory": _STORE, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.second = nodes.add_node(num_cpus=cores, object_store_memory=_STORE)
    return nodes


def rate(job: Job) -> float:
    """Run a job and return its inputs a second between its first and last finished shard."""
    shutil.rmtree(job.out, ignore_errors=True)
    seen: list[tuple[float, int]] = []
    run_job(job, lambda progress: seen.append((monotonic(), progress.worked)))
    (first, before), (last, after) = seen[1], seen[-1]
    return (after - before) / (last - first)


def contents(out: Path) -> dict[str, bytes]:
    """Return the bytes of all results and errors."""
    return {
        f"{kind}/{part.name}": part.read_bytes()
        for kind in ("results", "errors") for part in (out / kind).iterdir()
    }  # fmt: skip


def killer(nodes: Any, shards: float) -> Callable[[Progress], None]:
    """Return what kills the second node when that many shards are finished."""
    calls = 0

    def report(progress: Progress) -> None:
        nonlocal calls
        calls += 1
        if calls > shards and nodes.second is not None:
            nodes.remove_node(nodes.second, allow_graceful=False)
            nodes.second = None

    return report


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster_endurance")
    parser.add_argument("folder", type=Path, help="for the scans and the results")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--shard-size", type=int, default=50)
    parser.add_argument("--cores", type=int, default=1, help="of each node")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    write_scans(given.folder, given.count, size=given.size)
    model, settings = make_settings(None, output="jsonl", shard_size=given.shard_size)
    local = Job((str(given.folder / "scans"),), given.folder / "local", settings, model,
                2 * given.cores)  # fmt: skip
    nodes = start_nodes(given.cores)
    remote = replace(local, out=given.folder / "cluster", engine="ray", workers=None,
                     address=nodes.address)  # fmt: skip
    pairs = []
    for _ in range(given.repeats):
        pairs.append((rate(local), rate(remote)))
        print("local, cluster:", *(round(each, 1) for each in pairs[-1]), flush=True)
    shutil.rmtree(remote.out)
    start = monotonic()
    end = run_job(remote, killer(nodes, given.count / given.shard_size / 3))
    told = {
        "count": given.count,
        "nodes": 2,
        "cores_a_node": given.cores,
        "local_per_second": [round(each, 1) for each, _ in pairs],
        "cluster_per_second": [round(each, 1) for _, each in pairs],
        "ratio": [round(cluster / alone, 3) for alone, cluster in pairs],
        "ratio_median": round(statistics.median(c / a for a, c in pairs), 3) if pairs else None,
        "killed": nodes.second is None,
        "seconds_with_the_kill": round(monotonic() - start, 1),
        "answered": end.answered,
        "identical": contents(remote.out) == contents(local.out) if pairs else None,
    }
    print(json.dumps(told, indent=1))
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    nodes.shutdown()
    sys.exit(0 if told["identical"] and end.answered == given.count else 1)


if __name__ == "__main__":
    main()
