"""Training speed: ``python -m benchmarks.training_speed DATA [--threads 2]``.

Two comparisons, each in one process, alternately, with several rounds:

1. **resnet18**: training steps of the package (Lightning, its data module,
   `trainer.precision=auto`, channels-last; with the configured augmentation, and without) and a
   plain loop: the same network, batch size and decoded scans, from a `DataLoader`, in float32,
   without augmentation. Images per second, from the first step of an epoch to its last.
2. **notebook**: `experiment=notebook` and the notebook's own loop, which reads, decodes and resizes
   every image in every epoch. Seconds per epoch, including checkpoints and logs, and the test
   accuracy of both after the same number of epochs on the same split.

Times are CPU times of the process (all threads), which are independent of other load; wall-clock
times are reported too. DATA is a folder that holds the source, as ``data.root``.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from benchmarks.loops import Clock, Decoded, FromFiles, clocked, now, plain_loop
from tumorlens.models.baseline import NotebookCNN
from tumorlens.models.registry import build
from tumorlens.runs.compose import compose_config
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import RunFolder
from tumorlens.training.decoding import Parts, load_parts
from tumorlens.workflows.execution import execute
from tumorlens.workflows.stages import Stage

NOTEBOOK_EPOCHS = 400


def ours(config: RunConfig, parts: Parts, epochs: int) -> tuple[Clock, float, float]:
    """Train as `tumorlens train` does; return timer, total seconds and test accuracy."""
    config = config.changed({"trainer": {"max_epochs": epochs + 1}})
    with tempfile.TemporaryDirectory() as folder, clocked() as clock:
        begun = now()
        trained = execute(Stage("train", RunFolder(Path(folder) / "run"), config), parts)
        clock.starts.append(now())
        whole = now()[0] - begun[0]
    tested = trained.measured.metrics.get("test", {})
    return clock, whole, tested["accuracy"].value if tested else float("nan")


def settings(root: Path, *overrides: str) -> RunConfig:
    return compose_config(
        [
            f"data.root={root}",
            "data.split.validation=0",
            "data.split.calibration=0",
            "data.split.train=0.8",
            "data.split.test=0.2",
            "trainer.enable_progress_bar=false",
            "trainer.patience=null",
            "trainer.accelerator=cpu",
            "logger=none",
            *overrides,
        ]
    )


def resnet_round(root: Path, parts: Parts, batches: int, seed: int) -> dict[str, Any]:
    """Return images per second over an epoch of ``batches``: ours (twice), and the plain loop."""
    rates = {}
    for name, augment in (("augmented", "mri"), ("unaugmented", "none")):
        config = settings(root, "model=resnet18", f"augment={augment}", f"seed={seed}",
                          f"+trainer.limit_train_batches={batches}")  # fmt: skip
        scans = batches * config.data.batch_size
        seconds = ours(config, parts, 1)[0].steps()
        rates[name] = [scans / each for each in seconds]
    torch.manual_seed(seed)
    network = build("resnet", depth=18, in_channels=1)
    clock = plain_loop(
        network,
        lambda image: network(image).logit,
        nn.BCEWithLogitsLoss(),
        torch.optim.AdamW(network.parameters(), lr=config.optimizer.lr),
        DataLoader(
            Subset(Decoded(parts), range(scans)), batch_size=config.data.batch_size, shuffle=True
        ),
        1,
    )
    rates["plain"] = [scans / each for each in clock.steps()]
    return rates


def notebook_round(config: RunConfig, parts: Parts, epochs: int, seed: int) -> dict[str, Any]:
    """Return seconds per epoch and the test accuracy, ours and the notebook's."""
    config = replace(config, seed=seed)
    clock, whole, accuracy = ours(config, parts, epochs)
    rest = whole - (clock.starts[-2][0] - clock.starts[0][0])  # before the first epoch, and after
    torch.manual_seed(seed)
    layers = NotebookCNN()
    network = nn.Sequential(layers.cnn_model, nn.Flatten(), layers.fc_model, nn.Sigmoid())
    theirs = plain_loop(
        network,
        lambda image: network(image).squeeze(1),
        nn.BCELoss(),
        torch.optim.Adam(network.parameters(), lr=1e-4),
        DataLoader(FromFiles(parts.records["train"]), batch_size=32, shuffle=True),
        epochs,
    )
    network.eval()
    with torch.no_grad():
        images, labels = zip(*FromFiles(parts.records["test"]), strict=True)
        right = (network(torch.stack(images)).squeeze(1) >= 0.5) == (torch.stack(labels) > 0.5)
    return {
        "ours": list(clock.epochs()),
        "ours_outside_epochs": rest,
        "ours_accuracy": accuracy,
        "notebook": list(theirs.epochs()),
        "notebook_accuracy": float(right.float().mean()),
    }


def spread(values: list[float]) -> str:
    """Return median and range as text."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def summarize_resnet(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"rounds": rounds}
    for at, clock in enumerate(("process", "wall")):
        for side in ("augmented", "unaugmented"):
            ratios = [each[side][at] / each["plain"][at] for each in rounds]
            summary[f"{side}_ratio_{clock}"] = spread(ratios)
        for side in ("plain", "augmented", "unaugmented"):
            summary[f"{side}_images_per_second_{clock}"] = spread(
                [each[side][at] for each in rounds]
            )
    return summary


def summarize_notebook(rounds: list[dict[str, Any]], n_test: int, epochs: int) -> dict[str, Any]:
    summary: dict[str, Any] = {"rounds": rounds, "epochs": epochs + 1, "n_test": n_test}
    for at, clock in enumerate(("process", "wall")):
        ratios = [each["notebook"][at] / each["ours"][at] for each in rounds]
        summary[f"ratio_{clock}"] = spread(ratios)
        for side in ("ours", "notebook"):
            summary[f"{side}_seconds_per_epoch_{clock}"] = spread(
                [each[side][at] for each in rounds]
            )
    # Extrapolated to 400 epochs; ours includes the time before the first and after the last epoch.
    whole = [
        (NOTEBOOK_EPOCHS * each["notebook"][0])
        / (NOTEBOOK_EPOCHS * each["ours"][0] + each["ours_outside_epochs"])
        for each in rounds
    ]
    summary["ratio_400_epochs_process"] = spread(whole)
    for side in ("ours", "notebook"):
        summary[f"{side}_accuracy"] = spread([each[f"{side}_accuracy"] for each in rounds])
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder that holds brain_tumor_dataset")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--resnet-batches", type=int, default=6, help="batches of 32 images, at most 6"
    )
    parser.add_argument("--notebook-epochs", type=int, default=20)
    parser.add_argument("--only", choices=("resnet18", "notebook"))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(chosen.threads)
    result: dict[str, Any] = {
        "threads": chosen.threads,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    if chosen.only != "resnet18":
        config = settings(chosen.data, "experiment=notebook")
        parts = load_parts(config)
        rounds = [
            notebook_round(config, parts, chosen.notebook_epochs, seed)
            for seed in range(chosen.rounds)
        ]
        result["notebook"] = summarize_notebook(
            rounds, len(parts.records["test"]), chosen.notebook_epochs
        )
    if chosen.only != "notebook":
        parts = load_parts(settings(chosen.data, "model=resnet18"))
        turns = [
            resnet_round(chosen.data, parts, chosen.resnet_batches, seed)
            for seed in range(chosen.rounds)
        ]
        result["resnet18"] = summarize_resnet(turns)
    for name in ("notebook", "resnet18"):
        for key, value in result.get(name, {}).items():
            if key != "rounds":
                print(f"{name} {key}: {value}")
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
