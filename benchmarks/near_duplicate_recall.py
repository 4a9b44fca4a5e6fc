"""Recall of the near-duplicate audit and of the grouping for altered copies of scans.

    python -m benchmarks.near_duplicate_recall DATA [--scans 300] [--out result.json]

Copies of randomly sampled scans of all sources are written with one alteration each. Reports how
many of them the audit (hashes, then pixels) and `group_records` match with their original.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from tumorlens.data.audit.duplicates import find_near_duplicates
from tumorlens.data.audit.image_summary import ImageSummary, summarize_all
from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.sources import load_source
from tumorlens.imaging.decode import decode
from tumorlens.imaging.image import to_grey

Grey = NDArray[np.uint8]


def _jpeg(image: Grey, quality: int) -> Grey:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _resized(image: Grey, factor: float) -> Grey:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=how), np.uint8)


def _cropped(image: Grey, share: float) -> Grey:
    top, left = (round(share * side) for side in image.shape)
    return image[top : image.shape[0] - top, left : image.shape[1] - left]


def _brightened(image: Grey, factor: float) -> Grey:
    return np.clip(image * factor, 0, 255).astype(np.uint8)


def _with_air(image: Grey, air: Grey | int) -> Grey:
    """Replace darker pixels by those of a background, as another scanner or converter leaves."""
    return np.asarray(np.maximum(image, air), np.uint8)


def _noise(image: Grey, top: int) -> Grey:
    return np.random.default_rng(0).integers(0, top + 1, image.shape, np.uint8)


def _uneven(image: Grey, top: int) -> Grey:
    """Blotches eight to a side."""
    cells = np.random.default_rng(0).integers(0, top + 1, (8, 8)).astype(np.uint8)
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _ramp(image: Grey, top: int) -> Grey:
    return np.broadcast_to(np.linspace(0, top, image.shape[1]).astype(np.uint8), image.shape)


def _barred(image: Grey) -> Grey:
    """A bright bar at the right edge, such as a colour scale."""
    barred = image.copy()
    height, width = image.shape
    barred[round(0.2 * height) : round(0.8 * height), round(0.95 * width) :] = 220
    return barred


ALTERATIONS: dict[str, Callable[[Grey], Grey]] = {
    "flip left-right": np.fliplr,
    "flip up-down": np.flipud,
    "rotate 90°": np.rot90,
    "rotate 270°": lambda image: np.rot90(image, 3),
    "resize 0.5": lambda image: _resized(image, 0.5),
    "resize 2": lambda image: _resized(image, 2.0),
    "JPEG 40": lambda image: _jpeg(image, 40),
    "crop 2.5 % of each side": lambda image: _cropped(image, 0.025),
    "crop 5 % of each side": lambda image: _cropped(image, 0.05),
    "crop 5 % of one side": lambda image: image[round(0.05 * image.shape[0]) :],
    "brightness +20 %": lambda image: _brightened(image, 1.2),
    "brightness -20 %": lambda image: _brightened(image, 0.8),
    "air of noise 0 to 20": lambda image: _with_air(image, _noise(image, 20)),
    "air of noise 0 to 80": lambda image: _with_air(image, _noise(image, 80)),
    "noise 0 to 20, then JPEG 20": lambda image: _jpeg(_with_air(image, _noise(image, 20)), 20),
    "air of grey 30": lambda image: _with_air(image, 30),
    "air of grey 60": lambda image: _with_air(image, 60),
    "air rising to 40": lambda image: _with_air(image, _ramp(image, 40)),
    "blotched air up to 40": lambda image: _with_air(image, _uneven(image, 40)),
    "bright bar at an edge": _barred,
    "several at once": lambda image: _jpeg(
        _brightened(np.fliplr(np.rot90(_cropped(_resized(image, 0.75), 0.02))), 1.1), 70
    ),
}


def recall(records: Sequence[Record], alter: Callable[[Grey], Grey], folder: Path) -> list[int]:
    """Return how many copies the audit and the grouping find."""
    copies = []
    for number, record in enumerate(records):
        grey = to_grey(decode(record.file.read_bytes(), name=str(record.file)).pixels)
        file = folder / f"{number}.png"
        cv2.imwrite(str(file), np.ascontiguousarray(alter(grey.astype(np.uint8))))
        copies.append(Record(f"copy:{number}", file, "copy"))
    both = [*records, *copies]
    pairs = find_near_duplicates([s for s in summarize_all(both) if isinstance(s, ImageSummary)])
    found = {(pair.first, pair.second) for pair in pairs}
    groups = [record.group for record in group_records(both)]
    n = len(records)
    return [
        sum((i, i + n) in found for i in range(n)),
        sum(groups[i] == groups[i + n] for i in range(n)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    records = [record for record in load_source(options.data) if not record.is_slice]
    result: dict[str, dict[str, int]] = {}
    rng = np.random.default_rng(0)
    chosen = [records[i] for i in rng.choice(len(records), options.scans, replace=False)]
    for name, alter in ALTERATIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            audit, groups = recall(chosen, alter, Path(folder))
        low, high = binomtest(audit, len(chosen)).proportion_ci(method="wilson")
        result[name] = {"audit": audit, "groups": groups, "n": len(chosen)}
        share = audit / len(chosen)
        print(f"{name}: {share:.3f} ({low:.3f} to {high:.3f}), groups {groups / len(chosen):.3f}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
