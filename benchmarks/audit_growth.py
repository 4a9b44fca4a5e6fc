"""Scaling of the near-duplicate search from 1,000 to 1,000,000 fingerprints.

    python benchmarks/audit_growth.py [--exact] [--out growth.json] [COUNT …]

The fingerprints are random bits, except that one in twenty images is a near-duplicate of another in
a random orientation, with 0 to 32 bits flipped. Recall is the share of those pairs that is found.
The exponent is the slope of a line fitted to log(seconds) over log(count).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.near_duplicates.search import EXACT_UP_TO, find_pairs

COUNTS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
COPIES = 20
MAX_FLIPS = 32


def planted(count: int, seed: int) -> tuple[NDArray[np.uint64], set[tuple[int, int]]]:
    """Return fingerprints ``uint64 [count, 8, 4]`` and the near-duplicate pairs ``(i, j)``."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 256, (count, 8, 32), dtype=np.uint8)
    pairs = set()
    for original in range(count // COPIES):
        copy = count - 1 - original
        flips = np.zeros(256, np.uint8)
        flips[rng.choice(256, original % (MAX_FLIPS + 1), replace=False)] = 1
        bits[copy] = (bits[original] ^ np.packbits(flips))[rng.permutation(8)]
        pairs.add((original, copy))
    return bits.view(np.uint64), pairs


def measure(count: int, method: str) -> dict[str, float]:
    """Search once and return the results; seconds include building the index."""
    bits, copies = planted(count, seed=count)
    start = time.perf_counter()
    found = find_pairs(bits, MAX_FLIPS, method=method)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    pairs = {(int(i), int(j)) for i, j, _ in found}
    return {
        "count": count,
        "seconds": round(seconds, 3),
        "microseconds_per_image": round(seconds / count * 1e6, 1),
        "recall": round(len(pairs & copies) / len(copies), 4),
        "wrong": len(pairs - copies),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def exponent(rows: list[dict[str, float]]) -> float:
    """Return the slope of log seconds over log count."""
    logs = np.log([[row["count"], row["seconds"]] for row in rows])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="*", default=list(COUNTS))
    parser.add_argument("--exact", action="store_true", help="compare all pairs instead")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    method = "exact" if arguments.exact else "windows"
    measure(min(arguments.counts), method)  # warm-up
    rows = []
    for count in arguments.counts:
        rows.append(measure(count, method))
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "method": method,
        "auto_is_exact_up_to": EXACT_UP_TO,
        "exponent": round(exponent(rows), 3) if len(rows) > 1 else None,
        "rows": rows,
    }
    print(f"exponent {result['exponent']}")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
