"""The reference for drift of a model file from its split, and how far known changes move.

    python -m benchmarks.drift_reference MODEL SPLIT --data DATA --more MORE --write NEW.onnx
    python -m benchmarks.drift_reference MODEL SPLIT --data DATA --more MORE --out drift.json

With ``--write`` a copy of the model file gets the histograms of those scans of the split's
calibration part that the model answers. Otherwise the card's histograms are compared with scans of
the test part, as a service compares its last answers: all of them as they are, after changes of
the picture that a scanner or an export may bring, and one sequence alone. Told are PSI and
Kolmogorov-Smirnov distance of each statistic, and whether the alert rule (PSI above 0.25 and above
chance) holds for any.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.grouping import group_records
from tumorlens.data.heads import head_records
from tumorlens.data.manifest import Record, group_numbers, read_manifest
from tumorlens.data.pixels import read_pixels
from tumorlens.data.sources import volume_records
from tumorlens.data.splits import read_split
from tumorlens.drift.reference import columns, make_reference
from tumorlens.drift.statistics import observe
from tumorlens.drift.window import compare
from tumorlens.imaging.image import Image
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.drift import LARGE, count_bins
from tumorlens.modelfile import DriftReference
from tumorlens.modelfile.rewrite import write_drift_reference

Change = Callable[[NDArray[Any]], NDArray[Any]]
_BATCH = 64


def observed(
    predictor: Predictor, records: Sequence[Record], change: Change | None = None
) -> tuple[list[tuple[float, ...]], list[Record]]:
    """Return what is watched of the scans that the model answers, and their records."""
    rows: list[tuple[float, ...]] = []
    kept: list[Record] = []
    for start in range(0, len(records), _BATCH):
        chunk = records[start : start + _BATCH]
        pixels = [read_pixels(record) for record in chunk]
        inputs = [
            predictor.prepare(Image(change(each) if change else each, "array", "scan"))
            for each in pixels
        ]
        outputs = predictor.infer(np.stack([each.tensor for each in inputs]))
        for row, (record, given) in enumerate(zip(chunk, inputs, strict=True)):
            answer = predictor.interpret(outputs, given.quality, 0.0, row)
            if answer.in_domain:
                domain = None if outputs.in_domain is None else float(outputs.in_domain[row])
                rows.append(observe(given.tensor, answer.prob, domain))
                kept.append(record)
    return rows, kept


def _scaled(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.astype(np.float64) / max(float(pixels.max()), 1.0)


def _grey(scaled: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _blur(pixels: NDArray[Any]) -> NDArray[Any]:
    sigma = max(pixels.shape[:2]) / 160
    return _grey(cv2.GaussianBlur(_scaled(pixels), (0, 0), sigma))


def _noise(pixels: NDArray[Any]) -> NDArray[Any]:
    scaled = _scaled(pixels)
    rng = np.random.default_rng(pixels.shape[0])
    return _grey(scaled + rng.normal(0, 0.06, scaled.shape) * (scaled > 0.03))


def _gamma(pixels: NDArray[Any]) -> NDArray[Any]:
    return _grey(_scaled(pixels) ** 1.5)


def _jpeg(pixels: NDArray[Any]) -> NDArray[Any]:
    _, data = cv2.imencode(".jpg", _grey(_scaled(pixels)), [cv2.IMWRITE_JPEG_QUALITY, 15])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))


def _half_gain(pixels: NDArray[Any]) -> NDArray[Any]:
    return _grey(_scaled(pixels) / 2)


CHANGES: dict[str, Change | None] = {
    "as it is": None,
    "half the brightness": _half_gain,
    "blur, sigma 1 pixel of the input": _blur,
    "noise, 6 % of the range": _noise,
    "gamma 1.5": _gamma,
    "JPEG of quality 15": _jpeg,
}


def drift(reference: DriftReference, rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return how far these scans, as one window, are from the reference."""
    values = columns(rows)
    found = compare(
        reference, {h.name: count_bins(values[h.name], h.edges) for h in reference.histograms}
    )
    return {
        "scans": len(rows),
        "alarm": any(each.psi > max(LARGE, each.psi_by_chance) for each in found.values()),
        "PSI": {name: round(each.psi, 3) for name, each in found.items()},
        "KS": {name: round(each.ks, 3) for name, each in found.items()},
    }


def main() -> None:
    """Make the reference, or measure against it and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--more", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=1200, help="test scans for each change")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    predictor = Predictor.open(args.model, threads=1)
    parts = read_split(args.split).parts()
    known = group_records(
        [
            *read_manifest(args.data / "manifest.csv"),
            *read_manifest(args.more / "images.csv"),
            *head_records(args.more / "heads.csv"),
            *volume_records(args.data / "volumes"),
        ]
    )
    by_key = {record.key: record for record in known}
    if args.write:
        rows, kept = observed(predictor, [by_key[key] for key in parts["calibration"]])
        made = make_reference(columns(rows), group_numbers(kept), "calibration scans")
        write_drift_reference(args.model, made, args.write)
        print(made.describe())
        return
    reference = predictor.card.drift
    if reference is None:
        raise SystemExit(f"{args.model}: has no reference yet; give --write")
    test = [by_key[key] for key in parts["test"]]
    rng = np.random.default_rng(0)
    some = [test[at] for at in sorted(rng.choice(len(test), min(args.scans, len(test)), False))]
    result: dict[str, Any] = {
        "model": predictor.card.name,
        "reference": {"scans": reference.n, "groups": reference.groups},
    }
    for name, change in CHANGES.items():
        found, answered = observed(predictor, some, change)
        result[f"test part, {name}"] = drift(reference, found) | {
            "refused": round(1 - len(answered) / len(some), 3)
        }
        if change is None:
            for sequence in ("T1", "T1C", "T2", "FLAIR"):
                own = [row for row, r in zip(found, answered, strict=True)
                       if r.sequence == sequence]  # fmt: skip
                result[f"test part, {sequence} alone"] = drift(reference, own)
    text = json.dumps(result, indent=1)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
