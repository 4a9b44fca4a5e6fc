"""What the hash of whole images adds to that of heads: groups, time and leaking images.

    OMP_NUM_THREADS=1 python -m benchmarks.grouping DATA… [--seeds 5] [--out grouping.json]

Groups all images and volume slices below ``DATA`` as `group_records` does, with pairs proposed by
heads alone and by both hashes, and splits both ways with `grouped_split`. An image leaks when it is
outside the training part and the audit confirms a near-duplicate of it inside. Groups of several
sources are counted by source: such a group is a copy or an error. Seconds are processor time with
cached fingerprints.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from unittest.mock import patch

from tumorlens.data.audit.duplicates import NearDuplicate, find_near_duplicates
from tumorlens.data.audit.image_summary import ImageSummary, summarize_all
from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.near_duplicates import search
from tumorlens.data.near_duplicates.fingerprint_cache import fingerprint_records
from tumorlens.data.near_duplicates.search import Bits, Proposal
from tumorlens.data.sources import load_source, volume_records
from tumorlens.data.splits import grouped_split
from tumorlens.imaging.fingerprint import BITS


def propose_by_heads(heads: Bits, _: Bits) -> list[Proposal]:
    """Propose pairs by the hash of the head's box alone."""
    pairs = search.find_pairs(heads, search.HEAD_PROPOSAL_DISTANCE)
    return [Proposal(i, j, distance, BITS) for i, j, distance in pairs.tolist()]


def leaking(
    records: list[Record], images: list[ImageSummary], pairs: list[NearDuplicate], seed: int
) -> list[str]:
    """Sources of the images outside training that have a near-duplicate in it."""
    train = set(grouped_split(records, seed=seed).train)
    keys = [image.record.key for image in images]
    leaks = set()
    for pair in pairs:
        for i, j in ((pair.first, pair.second), (pair.second, pair.first)):
            if keys[i] not in train and keys[j] in train:
                leaks.add(i)
    return [images[i].record.source for i in leaks]


def measure(
    records: list[Record], images: list[ImageSummary], pairs: list[NearDuplicate], seeds: int
) -> dict[str, object]:
    start = time.process_time()
    grouped = group_records(records)
    seconds = time.process_time() - start
    sizes = Counter(record.group for record in grouped if not record.is_slice)
    sources: dict[int | None, set[str]] = defaultdict(set)
    for record in grouped:
        sources[record.group].add(record.source)
    across = Counter(" + ".join(sorted(names)) for names in sources.values() if len(names) > 1)
    leaks = [leaking(grouped, images, pairs, seed) for seed in range(seeds)]
    return {
        "seconds": round(seconds, 1),
        "groups": len(sizes),
        "largest": max(sizes.values()),
        "groups of several sources": dict(across.most_common()),
        "leaking": [len(each) for each in leaks],
        "leaking outside cheng2017": [
            sum(source != "cheng2017" for source in each) for each in leaks
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    scans = [record for folder in arguments.data for record in load_source(folder)]
    records = list(scans)
    for folder in arguments.data:
        if (folder / "volumes").is_dir():
            records += volume_records(folder / "volumes")
    fingerprint_records(records)
    images = [image for image in summarize_all(scans) if isinstance(image, ImageSummary)]
    pairs = find_near_duplicates(images)
    result: dict[str, object] = {"images": len(images), "near-duplicate pairs": len(pairs)}
    with patch("tumorlens.data.grouping.propose_pairs", propose_by_heads):
        result["proposed by heads"] = measure(records, images, pairs, arguments.seeds)
    result["proposed by heads and whole images"] = measure(records, images, pairs, arguments.seeds)
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
