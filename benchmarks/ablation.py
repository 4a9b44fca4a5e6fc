"""Ablation of the default recipe: ``python -m benchmarks.ablation DATA RUNS``.

Every arm is trained from scratch on the same training images with the same small budget, and adds
one component to the arm before it. It is evaluated on a held-out source (``--away``) without that
source's test groups; no arm was trained on the source or on near-duplicates of it. Localisation is
measured on the annotated validation images. Finished arms are not trained again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tumorlens.data.label_issues import disputes_label, exclude_label_issues, label_issue_of
from tumorlens.data.manifest import Record
from tumorlens.data.splits import check_groups, grouped_split, make_split
from tumorlens.metrics import binary as metrics
from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.localization import energy_in_box, pointing_hit
from tumorlens.metrics.shares import mean_estimate
from tumorlens.runs.compose import compose_config
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import RunFolder
from tumorlens.runs.records import excludes_label_issues, load_records
from tumorlens.runs.scores import Scores
from tumorlens.training.decoding import Parts, decode_parts
from tumorlens.workflows.execution import execute
from tumorlens.workflows.measure import score
from tumorlens.workflows.stages import Stage

SMALL = ["model.preprocess.size=96", "augment.schedule.initial_size=0"]
COARSE = ["model.arguments.stride=8", "model.arguments.k=6", "model.arguments.width=96"]
IMAGE_LOSS_ONLY = ["loss.cell_bce=0", "loss.localization=0"]
NO_LESION_EDITS = [
    f"augment.{name}.prob=0"
    for name in ("lesions.insertion", "lesions.synthetic", "lesions.removal", "lesions.crop",
                 "intensity.intensity_remap")
]  # fmt: skip
ALL_LABELS = ["data.label_issues=keep"]
RIGID = ["augment.geometry.elastic_prob=0"]
PLAIN = [
    "augment.lesions.insertion.remap_prob=0",
    "augment.intensity.invert.t2_prob=0",
    "augment.schedule.lesions_reduced_from=1",
]
OLD = [*SMALL, *RIGID, *PLAIN]
ARMS: dict[str, list[str]] = {
    "ResNet-18": [
        *OLD, "model=resnet18", "model.preprocess.size=96", *ALL_LABELS, *IMAGE_LOSS_ONLY,
        *NO_LESION_EDITS,
    ],
    "+ map decoder, top-6 pooling": [
        *OLD, *COARSE, *ALL_LABELS, *IMAGE_LOSS_ONLY, *NO_LESION_EDITS],
    "+ localisation loss": [*OLD, *COARSE, *ALL_LABELS, *NO_LESION_EDITS],
    "+ map at stride 4, top-8": [*OLD, *ALL_LABELS, *NO_LESION_EDITS],
    "+ lesion insertion, removal and crops": [*OLD, *ALL_LABELS],
    "+ scans with label issues excluded": OLD,
    "+ elastic deformation": [*SMALL, *PLAIN],
    "+ remapped lesions, T2-like contrast, a schedule": SMALL,
}  # fmt: skip


def development_parts(config: RunConfig, away: str) -> Parts:
    """Return the default split without ``away``, whose non-test groups become the test part."""
    records = load_records(config.data)
    settings = config.data.split
    whole = grouped_split(records, fractions=settings.fractions(), seed=settings.seed)
    near = {record.group for record in records if record.source == away}
    of = {record.key: record for record in records}
    kept = {part: [key for key in keys if of[key].group not in near]
            for part, keys in whole.parts().items() if part != "test"}  # fmt: skip
    tested = set(whole.test)
    kept["test"] = [r.key for r in records if r.source == away and r.key not in tested]
    split = make_split("ablation", config.seed, kept, records)
    check_groups(split, records)
    if excludes_label_issues(config.data):
        split = exclude_label_issues(split, records)
    return decode_parts(config, split, records)


@torch.no_grad()
def pointing(
    network: torch.nn.Module, records: list[Record], inputs: np.ndarray, frames: list[np.ndarray]
) -> tuple[list[float], list[float]]:
    """Return hits and energy in the box of annotated tumours, in input coordinates."""
    hits, energies = [], []
    for record, pixels, boxes in zip(records, inputs, frames, strict=True):
        if not record.boxes or not record.label:
            continue
        outputs = network(torch.from_numpy(np.array(pixels))[None])
        heat = sigmoid(outputs.map[0].numpy().astype(np.float64))
        hits.append(float(pointing_hit(heat, boxes)))
        energies.append(energy_in_box(np.maximum(0, 2 * heat - 1), boxes))
    return hits, energies


def has_label_issue(records: list[Record]) -> np.ndarray:
    """Return which records are known not to be MRI, or to be mislabelled."""
    return np.array([disputes_label(label_issue_of(record)) for record in records])


def roc_auc(scores: Scores, rows: np.ndarray) -> Estimate:
    """Return the ROC-AUC of some rows with its grouped interval."""
    return metrics.evaluate(
        scores.labels[rows], sigmoid(scores.logits[rows]), groups=scores.groups[rows]
    )["roc_auc"]


def measure_arm(name: str, chosen: argparse.Namespace, folder: Path) -> dict[str, dict]:
    """Train one arm, unless it is finished, and return its results."""
    kept = folder / "ablation.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    config = compose_config([
        "experiment=default", f"data.root={chosen.data}", "logger=none", "weight_bits=32",
        f"data.epoch_images={chosen.images}", f"trainer.max_epochs={chosen.epochs}",
        "ema_decay=0.995", "trainer.enable_progress_bar=false", "score_test=true",
        "data.learnt_slices_per_plane=null",
        *([f"data.cache_dir={chosen.cache}"] if chosen.cache else []), *ARMS[name],
    ])  # fmt: skip
    parts = development_parts(config, chosen.away)
    stage = Stage("train", RunFolder(folder), replace(config, members=None, finetune=None))
    network = execute(stage, parts).network.eval().float().cpu()
    rows = score(network, parts.records["test"], parts.inputs["test"])
    found = {"away": roc_auc(rows, np.ones(len(rows.labels), bool)),
             "away_clean": roc_auc(rows, ~has_label_issue(parts.records["test"]))}  # fmt: skip
    from tumorlens.data.pixels import read_pixels
    from tumorlens.imaging.preprocess import prepare

    spec, records = config.model.preprocess, parts.records["validation"]
    frames = [
        prepare(read_pixels(record), spec).frame.boxes_to_input(np.array(record.boxes))
        if record.boxes
        else np.zeros((0, 4), np.float32)
        for record in records
    ]
    hits, energies = pointing(network, records, parts.inputs["validation"], frames)
    groups = [r.group for r in records if r.boxes and r.label and r.group is not None]
    rows = score(network, records, parts.inputs["validation"])
    found["validation"] = roc_auc(rows, ~has_label_issue(records))
    found |= {
        "pointing": mean_estimate(hits, groups, n_boot=2000),
        "energy": mean_estimate(energies, groups, n_boot=2000),
    }
    content = {key: value.to_dict() for key, value in found.items()}
    kept.write_text(json.dumps(content, indent=1))
    return content


def main() -> None:
    """Train and measure every arm; print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of all sources, with a manifest.csv")
    parser.add_argument("runs", type=Path, help="folder for the arms' runs")
    parser.add_argument("--away", default="sartaj_extra", help="source that no arm is trained on")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, default=3750, help="images an epoch")
    parser.add_argument("--arms", type=int, nargs="*", help="which arms, from 0; else all")
    parser.add_argument("--cache", type=Path, default=None, help="folder for decoded images")
    chosen = parser.parse_args()
    columns = "ROC-AUC away | without label issues | on validation | pointing | energy in the box"
    print(f"| {'arm':48} | {columns} |\n|{'---|' * 6}")
    for place, name in enumerate(ARMS):
        if chosen.arms and place not in chosen.arms:
            continue
        found = measure_arm(name, chosen, chosen.runs / f"arm{place}")
        cells = [
            f"{each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f}, n = {each['n']})"
            for each in found.values()
        ]
        print(f"| {name:48} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
