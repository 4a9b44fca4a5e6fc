"""Speed of the batched transforms compared with MONAI's of the same name.

    python -m benchmarks.augmentation --rounds 7

Both transform every image of a batch ``[32, 1, 160, 160]``, alternately, on one thread. MONAI's
process one image at a time, as a data loader without workers would.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.transforms as monai_transforms
import torch
from torch import Generator, Tensor

from tumorlens.augmentation import geometry, intensity
from tumorlens.augmentation.transform import Batch, Transform
from tumorlens.imaging.phantom import draw_phantom

N, SIDE = 32, 160

PAIRS: dict[str, tuple[Transform, Any]] = {
    "RandSimulateLowResolution": (
        intensity.RandSimulateLowResolution(prob=1.0),
        monai_transforms.RandSimulateLowResolution(
            prob=1.0, downsample_mode="area", upsample_mode="bilinear", zoom_range=(1 / 3, 1 / 1.2)
        ),
    ),
    "RandGibbsNoise": (
        intensity.RandGibbsNoise(prob=1.0),
        monai_transforms.RandGibbsNoise(prob=1.0, alpha=(0.2, 0.7)),
    ),
    "RandHistogramShift": (
        intensity.RandHistogramShift(prob=1.0),
        monai_transforms.RandHistogramShift(num_control_points=6, prob=1.0),
    ),
    "RandAdjustContrast": (
        intensity.RandAdjustContrast(prob=1.0),
        monai_transforms.RandAdjustContrast(prob=1.0, gamma=(0.67, 1.5)),
    ),
    "RandBiasField": (
        intensity.RandBiasField(prob=1.0, coefficient=0.35),
        monai_transforms.RandBiasField(prob=1.0, degree=3, coeff_range=(0.0, 0.35)),
    ),
    "RandRicianNoise": (
        intensity.RandRicianNoise(prob=1.0),
        monai_transforms.RandRicianNoise(prob=1.0, std=0.06, sample_std=True),
    ),
    "RandCoarseDropout": (
        intensity.RandCoarseDropout(prob=1.0),
        monai_transforms.RandCoarseDropout(holes=1, spatial_size=32, fill_value=0, prob=1.0),
    ),
    "RandAffineElastic (Rand2DElastic)": (
        geometry.RandAffineElastic(rotation=15, scale=0.15, elastic_prob=1.0),
        monai_transforms.Rand2DElastic(
            spacing=(20, 20), magnitude_range=(1, 2), prob=1.0, rotate_range=0.26, scale_range=0.15
        ),
    ),
}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(ours: Transform, other: Any, images: Tensor, rounds: int) -> dict[str, float]:
    """Return seconds per batch of both, and the ratios MONAI / ours: median and range."""
    batch, generator = Batch.unlabelled(images), Generator().manual_seed(0)
    other.set_random_state(0)
    pairs = [
        (
            seconds(lambda: ours(batch, generator)),
            seconds(lambda: [other(image) for image in images]),
        )
        for _ in range(rounds + 1)
    ][1:]
    ratios = sorted(slow / fast for fast, slow in pairs)
    return {
        "ours_s": statistics.median(fast for fast, _ in pairs),
        "monai_s": statistics.median(slow for _, slow in pairs),
        "ratio": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.augmentation")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    heads = [draw_phantom(seed, lesion=seed % 2 == 0, size=SIDE).image for seed in range(N)]
    images = torch.stack([torch.from_numpy(head) for head in heads])[:, None].float() / 255
    found = {}
    print("| transform | ours, ms a batch | MONAI, ms a batch | MONAI / ours, median (range) |")
    print("|---|---|---|---|")
    for name, (ours, other) in PAIRS.items():
        row = found[name] = compare(ours, other, images, given.rounds)
        print(
            f"| {name} | {row['ours_s'] * 1e3:.1f} | {row['monai_s'] * 1e3:.1f} | "
            f"{row['ratio']:.1f} ({row['ratio_min']:.1f} to {row['ratio_max']:.1f}) |"
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
