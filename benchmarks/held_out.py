"""A model file on persons it never saw: by sequence, plane, finding, source, third of the head.

    python -m benchmarks.held_out MODEL SPLIT --data DATA --more MORE [--out held_out.json]

Reads the test part of a split once: every picture, and every slice of the whole heads of test
persons in every plane. The figures are those of the model file, at its threshold:

- AUROC, sensitivity and specificity by sequence, plane and source, each with its number and its
  95 % interval resampled by person;
- tumours against slices clear of the tumour, within one source and sequence;
- predicted positive slices of whole heads, by third of the head, and how many were set aside;
- the peak of the class map in the box;
- refusals: brain MRI by sequence, and images that are no brain MRI.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tumorlens.data.grouping import group_records
from tumorlens.data.heads import head_records
from tumorlens.data.manifest import Record, group_numbers, read_manifest
from tumorlens.data.pixels import read_pixels
from tumorlens.data.sources import volume_records
from tumorlens.data.splits import read_split
from tumorlens.errors import DataError
from tumorlens.inference.domain import TOO_LITTLE_BRAIN
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.localization import pointing_hit
from tumorlens.metrics.shares import auc_estimate, share_estimate

OLD = ("navoneel", "cheng2017", "br35h", "sartaj_extra", "volumes")
SEQUENCES = ("T1", "T1C", "T2", "FLAIR")
_BATCH = 64


@dataclass(frozen=True)
class Answer:
    """What the model says of one record."""

    record: Record
    group: int
    prob: float
    positive: bool
    in_domain: bool
    reason: str | None
    hit: bool | None


def answers(predictor: Predictor, records: Iterable[Record]) -> list[Answer]:
    """Return the model's answers on records, in order."""
    records = list(records)
    groups = group_numbers(records)
    found = []
    for start in range(0, len(records), _BATCH):
        chunk = records[start : start + _BATCH]
        inputs = [predictor.prepare(predictor._image(read_pixels(each))) for each in chunk]
        outputs = predictor.infer(np.stack([each.tensor for each in inputs]))
        for row, (record, given) in enumerate(zip(chunk, inputs, strict=True)):
            one = predictor.interpret(outputs, given.quality, 0.0, row)
            hit = None
            if record.shows == "tumor" and (record.boxes or record.polygons):
                assert outputs.maps is not None
                hit = _hit(record, given.frame, outputs.maps[row])
            found.append(
                Answer(
                    record, int(groups[start + row]), one.prob, one.label == "tumor",
                    one.in_domain, one.in_domain_reason, hit,
                )
            )  # fmt: skip
    return found


def _hit(record: Record, frame: Any, class_map: Any) -> bool | None:
    boxes = record.boxes or tuple(
        (min(x for x, _ in p), min(y for _, y in p), max(x for x, _ in p), max(y for _, y in p))
        for p in record.polygons or ()
    )
    shown = np.clip(frame.boxes_to_input(np.asarray(boxes, dtype=np.float64)), 0, 1)
    shown = shown[(shown[:, 2] > shown[:, 0]) & (shown[:, 3] > shown[:, 1])]
    try:
        return pointing_hit(class_map, shown) if len(shown) else None
    except DataError:
        return None


def _show(estimate: Estimate) -> dict[str, float | int]:
    return {
        "value": round(estimate.value, 4), "low": round(estimate.low, 4),
        "high": round(estimate.high, 4), "n": estimate.n,
    }  # fmt: skip


def _auc(positive: list[Answer], negative: list[Answer]) -> dict[str, Any] | None:
    if not positive or not negative:
        return None
    both = [*positive, *negative]
    truth = [1] * len(positive) + [0] * len(negative)
    found = auc_estimate(truth, [a.prob for a in both], [a.group for a in both])
    return {**_show(found), "tumours": len(positive), "others": len(negative)}


def _share(chosen: list[Answer], what: Callable[[Answer], bool]) -> dict[str, Any] | None:
    if not chosen:
        return None
    return _show(share_estimate([what(a) for a in chosen], [a.group for a in chosen]))


def performance(found: list[Answer]) -> dict[str, Any]:
    """Return AUROC, sensitivity and specificity of tumours and everything else in ``found``."""
    tumours = [a for a in found if a.record.label == 1]
    others = [a for a in found if a.record.label == 0]
    return {
        "AUROC": _auc(tumours, others),
        "sensitivity": _share(tumours, lambda a: a.positive),
        "specificity": _share(others, lambda a: not a.positive),
    }


def by_sequence(found: list[Answer]) -> dict[str, Any]:
    """Return tumours of each sequence and plane against healthy persons of all sequences."""
    healthy = [a for a in found if a.record.shows == "healthy"]
    rows: dict[str, Any] = {}
    for sequence in SEQUENCES:
        own = [a for a in found if a.record.sequence == sequence]
        for view in (None, "axial", "coronal", "sagittal"):
            mine = [a for a in own if view is None or a.record.view == view]
            tumours = [a for a in mine if a.record.label == 1]
            negative = [a for a in mine if a.record.label == 0]
            rows[sequence if view is None else f"{sequence}, {view}"] = {
                "AUROC against healthy": _auc(tumours, healthy),
                "AUROC against the same": _auc(tumours, negative),
                "sensitivity": _share(tumours, lambda a: a.positive),
                "specificity": _share(negative, lambda a: not a.positive),
            }
    return rows


def against_clear(found: list[Answer]) -> dict[str, Any]:
    """Return tumours against clear slices within one source and sequence."""
    cells = sorted({(a.record.source, str(a.record.sequence)) for a in found})
    rows = {}
    for source, sequence in cells:
        own = [a for a in found if (a.record.source, str(a.record.sequence)) == (source, sequence)]
        tumours = [a for a in own if a.record.shows == "tumor"]
        clear = [a for a in own if a.record.shows == "clear"]
        if len(tumours) >= 5 and len(clear) >= 5:
            rows[f"{source}, {sequence}"] = _auc(tumours, clear)
    return rows


def thirds(found: list[Answer]) -> dict[str, Any]:
    """Return the share of slices of whole heads that were predicted positive and answered."""
    last: Counter[tuple[Path, str | None]] = Counter()
    first: dict[tuple[Path, str | None], int] = {}
    for answer in found:
        place = (answer.record.file, answer.record.view)
        index = _index(answer.record)
        last[place] = max(last[place], index)
        first[place] = min(first.get(place, index), index)
    rows: dict[str, Any] = {}
    for view in ("axial", "coronal", "sagittal"):
        for at, third in enumerate(("first", "middle", "last")):
            chosen = []
            for answer in found:
                place = (answer.record.file, answer.record.view)
                span = max(1, last[place] - first[place] + 1)
                if answer.record.view == view and (
                    3 * (_index(answer.record) - first[place]) // span == at
                ):
                    chosen.append(answer)
            rows[f"{view}, {third} third"] = _positive(chosen)
    return {"all": _positive(found), **rows}


def _positive(chosen: list[Answer]) -> dict[str, Any]:
    return {
        "predicted positive, answered": _share(chosen, lambda a: a.positive and a.in_domain),
        "predicted positive, all": _share(chosen, lambda a: a.positive),
        "too little brain": _share(chosen, lambda a: a.reason == TOO_LITTLE_BRAIN),
        "refused otherwise": _share(
            chosen, lambda a: not a.in_domain and a.reason != TOO_LITTLE_BRAIN
        ),
    }


def _strip(record: Record) -> bool:
    """Tell whether a slice cuts across a slab of few slices: 12 pixels of a head, no picture."""
    return record.source == "ptbp_children_heads" and record.view != "axial"


def _index(record: Record) -> int:
    return int(record.path.name.rpartition(":")[2])


def main() -> None:
    """Measure and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--more", type=Path, required=True)
    parser.add_argument("--part", default="test")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    predictor = Predictor.open(args.model, threads=1)
    split = read_split(args.split)
    unseen = set(split.parts()[args.part])
    pictures = [
        *read_manifest(args.data / "manifest.csv"),
        *read_manifest(args.more / "images.csv"),
    ]
    heads = head_records(args.more / "heads.csv")
    volumes = list(volume_records(args.data / "volumes"))
    known = group_records([*pictures, *heads, *volumes])
    records = [record for record in known if record.key in unseen and not _strip(record)]
    found = answers(predictor, records)
    files = {record.file for record in records if record.is_slice}
    whole = [
        record
        for record in (
            *head_records(args.more / "heads.csv", every_mm=0),
            *volume_records(args.data / "volumes", stride=1),
        )
        if record.file in files
        and record.shows in ("healthy", "other_lesion")
        and not _strip(record)
    ]
    every = answers(predictor, group_records(whole))
    new = [a for a in found if a.record.source not in OLD]
    others = [r for r in known if r.shows == "not_mri"]
    refused = answers(predictor, others)
    boxed = [a for a in found if a.hit is not None]
    result = {
        "model": predictor.card.name,
        "threshold": predictor.card.threshold.value,
        "old sources": performance([a for a in found if a.record.source in OLD]),
        "new sources": performance(new),
        "by sequence": by_sequence(new),
        "by source": {
            source: performance([a for a in found if a.record.source == source])
            for source in sorted({a.record.source for a in found})
        },
        "against clear": against_clear(found),
        "positive by finding": {
            finding: _share([a for a in found if a.record.shows == finding], lambda a: a.positive)
            for finding in ("healthy", "clear", "other_lesion", "tumor")
        },
        "peak in box": {
            name: _share(
                [a for a in boxed if (a.record.source in OLD) == old], lambda a: bool(a.hit)
            )
            for name, old in (("old boxes", True), ("new boxes", False))
        },
        "healthy heads, every slice": thirds([a for a in every if a.record.shows == "healthy"]),
        "other lesions, every slice": _positive(
            [a for a in every if a.record.shows == "other_lesion"]
        ),
        "MRI refused": {
            sequence: _share(
                [a for a in found if str(a.record.sequence) == sequence],
                lambda a: not a.in_domain and a.reason != TOO_LITTLE_BRAIN,
            )
            for sequence in (*SEQUENCES, "PD", "DWI", "None")
        },
        "no brain MRI refused": {
            source: _share(
                [a for a in refused if a.record.source == source], lambda a: not a.in_domain
            )
            for source in sorted({a.record.source for a in refused})
        },
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
