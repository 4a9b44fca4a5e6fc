"""Does the heat map point at the tumour? ``python -m benchmarks.pointing DATA [--split FILE]``.

Pointing game and energy in the box of the packaged model (or of ``--model``) on the annotated
tumour images of a split's test part, by source, with a 95 % bootstrap interval over images.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from tumorlens import Predictor
from tumorlens.data.manifest import read_manifest
from tumorlens.data.splits import read_split
from tumorlens.evaluation.localisation import energy_in_box, pointing_hit

DEFAULT_SPLIT = Path(__file__).parent / "results" / "default-split.json"


def interval(values: list[float], seed: int = 0) -> str:
    drawn = np.random.default_rng(seed).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with a manifest.csv that has boxes")
    parser.add_argument("--split", type=Path, default=DEFAULT_SPLIT)
    parser.add_argument("--model", type=Path, default=None)
    chosen = parser.parse_args()
    predictor = Predictor.open(chosen.model)
    tested = set(read_split(chosen.split).test)
    hits, energies = defaultdict(list), defaultdict(list)
    for record in read_manifest(chosen.data / "manifest.csv"):
        if record.key in tested and record.boxes:
            heat = predictor.explain(record.path).heatmap
            boxes = np.array(record.boxes)
            hits[record.source].append(float(pointing_hit(heat, boxes)))
            energies[record.source].append(energy_in_box(heat, boxes))
    for source, found in hits.items():
        energy = interval(energies[source])
        print(f"{source}: pointing {interval(found)}, energy in box {energy}, n = {len(found)}")


if __name__ == "__main__":
    main()
