"""Share of images refused as OOD: ``python -m benchmarks.ood DATA [--split FILE]``.

Reports the share refused by the rules of `imaging.quality`, by the model's OOD detector, and by
either of them (as in the service): of images that are not brain MRI, and of scans by source and
view, alone and on a white page.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.ood_images import Sample, brain_mri, installed, synthetic
from tumorlens import Predictor
from tumorlens.data.label_issues import label_issue_of
from tumorlens.data.manifest import group_numbers
from tumorlens.data.pixels import read_pixels
from tumorlens.data.splits import read_split
from tumorlens.evaluation.corruptions import page
from tumorlens.imaging.image import Image
from tumorlens.inference.overlay import to_display
from tumorlens.metrics.shares import share_estimate
from tumorlens.runs.compose import compose_config
from tumorlens.runs.records import load_records

Row = tuple[bool, bool, int, str]  # refused by the rules, by the detector; group; name


def refused(predictor: Predictor, sample: Sample) -> tuple[bool, bool]:
    """Return whether the rules refuse an image, and whether the detector does."""
    image = Image(sample.pixels, "array", sample.name)
    ready = predictor.prepare(image)
    usable = replace(ready.quality, usable=True)
    answer = predictor.interpret(predictor.infer(ready.tensor[None]), usable, 0.0)
    return not ready.quality.usable, not answer.in_domain


def negatives(crops: int, count: int, seed: int) -> Iterator[tuple[Sample, int]]:
    """Yield images with their group; all crops of a file are one group."""
    groups: dict[str, int] = {}
    for sample in installed(crops, seed):
        yield sample, groups.setdefault(sample.name.partition(" ")[0], len(groups))
    for index, sample in enumerate(synthetic(count, seed)):
        yield sample, 10_000 + index
    for sample in brain_mri():
        yield sample, 0


def scans(data: Path, split: Path | None, part: str) -> Iterator[tuple[Sample, int]]:
    config = compose_config([f"data.root={data}", "experiment=default"])
    records = load_records(config.data)
    chosen = set(read_split(split).parts()[part]) if split else {r.key for r in records}
    for record, group in zip(records, group_numbers(records), strict=True):
        if record.key in chosen:
            kind = f"MRI: {record.source}, {record.view or 'view not known'}"
            if label_issue_of(record) == "not_mri":
                kind = "CT in the data"
            yield Sample(kind, record.key, read_pixels(record)), int(group)


def on_pages(found: list[tuple[Sample, int]], count: int) -> Iterator[tuple[Sample, int]]:
    """Yield ``count`` of the scans, evenly spaced, each on a white page with a caption."""
    mri = [pair for pair in found if pair[0].kind.startswith("MRI")]
    step = max(1, len(mri) // max(1, count))
    for row, (sample, group) in enumerate(mri[::step][:count]):
        paper = page(to_display(sample.pixels), float(5 + row % 5 * 10), np.random.default_rng(row))
        yield Sample("page with MRI", sample.name, paper), group


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "data", type=Path, nargs="?", help="folder of scans; default: negatives only"
    )
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--split", type=Path, default=None)
    parser.add_argument("--part", default="test")
    parser.add_argument("--crops", type=int, default=6, help="crops of each installed image")
    parser.add_argument("--synthetic", type=int, default=20, help="images of each synthetic kind")
    parser.add_argument("--pages", type=int, default=200, help="scans also placed on a page")
    parser.add_argument("--output", type=Path, default=None, help="file for the results as JSON")
    chosen = parser.parse_args()
    predictor = Predictor.open(chosen.model, threads=1)
    kinds: dict[str, list[Row]] = defaultdict(list)
    for sample, group in negatives(chosen.crops, chosen.synthetic, seed=5):
        row: Row = (*refused(predictor, sample), group, sample.name)
        kinds[sample.kind].append(row)
        if sample.kind != "brain MRI":
            kinds["ALL NEGATIVES"].append(row)
    if chosen.data is not None:
        found_scans = list(scans(chosen.data, chosen.split, chosen.part))
        for sample, group in on_pages(found_scans, chosen.pages):
            kinds[sample.kind].append((*refused(predictor, sample), group, sample.name))
        for sample, group in found_scans:
            row = (*refused(predictor, sample), group, sample.name)
            whole = "ALL MRI" if "MRI" in sample.kind else "ALL NEGATIVES"
            for kind in {sample.kind, sample.kind.partition(",")[0], whole}:
                kinds[kind].append(row)
    report = {"model": predictor.sha256, "kinds": {k: summary(kinds[k]) for k in sorted(kinds)}}
    for kind, found in report["kinds"].items():  # type: ignore[attr-defined]
        either = found["either"]
        print(
            f"{kind}: refused {either['value']:.3f} ({either['low']:.3f} to {either['high']:.3f})"
            f", rules {found['rules']:.3f}, detector {found['detector']:.3f}, n = {either['n']}"
        )
        wrong = found["refused" if "MRI" in kind else "kept"]
        if wrong:
            print("   ", ", ".join(wrong[:12]))
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def summary(rows: list[Row]) -> dict[str, object]:
    rules, detector = (np.array([row[i] for row in rows], dtype=bool) for i in (0, 1))
    either = rules | detector
    return {
        "either": share_estimate(either, [row[2] for row in rows]).to_dict(),
        "rules": float(rules.mean()),
        "detector": float(detector.mean()),
        "kept": [row[3] for row, out in zip(rows, either, strict=True) if not out],
        "refused": [row[3] for row, out in zip(rows, either, strict=True) if out],
    }


if __name__ == "__main__":
    main()
