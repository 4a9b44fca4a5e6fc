"""Learning curves of a run: one tidy table and one picture."""

from __future__ import annotations

import csv
from pathlib import Path

from tumorlens.atomic import atomic_file
from tumorlens.errors import MissingExtraError, OutputError
from tumorlens.runs.folder import RunFolder


def read_curves(run_dir: Path) -> dict[str, dict[int, float]]:
    """Return metric → epoch → value from the run's ``logs/version_*/metrics.csv``.

    A resumed run writes a new version; where two hold one epoch the later one counts.
    """
    curves: dict[str, dict[int, float]] = {}
    try:
        for path in sorted(RunFolder(run_dir).logs.glob("version_*/metrics.csv"), key=_version):
            with path.open(newline="") as stream:
                for row in csv.DictReader(stream):
                    for name, value in row.items():
                        if row.get("epoch") and value and name not in ("epoch", "step"):
                            curves.setdefault(name, {})[int(row["epoch"])] = float(value)
    except OSError as error:
        raise OutputError(f"{run_dir}: the run's curves cannot be read ({error})") from error
    return curves


def _version(path: Path) -> int:
    return int(path.parent.name.removeprefix("version_"))


def write_curves(run_dir: Path) -> Path:
    """Draw loss and validation metrics over epochs into ``curves.png``; return its path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing curves", "train") from error
    curves = read_curves(run_dir)
    panels = (
        ("Loss", ("train/loss", "train/image_loss", "train/map_loss", "val/loss")),
        ("Score", ("train/accuracy", "val/accuracy", "val/balanced_accuracy", "val/roc_auc")),
    )
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, 2), panels, strict=True):
        for name in names:
            if name in curves:
                epochs, values = zip(*sorted(curves[name].items()), strict=True)
                axes.plot(epochs, values, label=name, marker="." if len(epochs) < 60 else None)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    path = RunFolder(run_dir).curves
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
    return path
