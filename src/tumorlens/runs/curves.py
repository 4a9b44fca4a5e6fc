"""Learning curves of a run: read from its logs, and plotted."""

from __future__ import annotations

import csv
from pathlib import Path

from tumorlens.atomic import atomic_file
from tumorlens.errors import OutputError
from tumorlens.plots.curves import learning_curves
from tumorlens.plots.style import encode
from tumorlens.runs.folder import RunFolder


def read_curves(run_dir: Path) -> dict[str, dict[int, float]]:
    """Return metric → epoch → value from the run's ``logs/version_*/metrics.csv``.

    A resumed run writes a new version; where two versions have the same epoch, the later counts.
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


def write_curves(run_dir: Path) -> Path | None:
    """Plot the learning curves into ``curves.png``; return its path, None if nothing was logged.

    Raises:
        MissingExtraError: matplotlib or seaborn is not installed.
        OutputError: The image cannot be written.
    """
    curves = read_curves(run_dir)
    if not curves:
        return None
    path = RunFolder(run_dir).curves
    with atomic_file(path) as stream:
        stream.write(encode(learning_curves(curves), "png"))
    return path
