"""Learning curves: read from Lightning's tables, and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tumorlens.errors import OutputError
from tumorlens.runs import curves
from tumorlens.runs.curves import read_curves, write_curves

TABLE = """epoch,lr,step,train/loss,val/loss
0,0.1,,,
0,,3,,0.9
0,,3,0.8,
1,,7,,0.7
1,,7,0.6,
"""


def write_table(run_dir: Path, version: int, text: str) -> None:
    folder = run_dir / "logs" / f"version_{version}"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(text)


def test_curves_are_read_by_metric_and_epoch(tmp_path: Path) -> None:
    write_table(tmp_path, 0, TABLE)
    assert read_curves(tmp_path) == {
        "lr": {0: 0.1},
        "train/loss": {0: 0.8, 1: 0.6},
        "val/loss": {0: 0.9, 1: 0.7},
    }


def test_a_resumed_run_s_later_table_counts(tmp_path: Path) -> None:
    write_table(tmp_path, 0, TABLE)
    # Version 10 is later than 2, though it sorts before it as text.
    write_table(tmp_path, 2, "epoch,step,val/loss\n1,7,0.6\n2,11,0.5\n")
    write_table(tmp_path, 10, "epoch,step,val/loss\n2,11,0.4\n")
    assert read_curves(tmp_path)["val/loss"] == {0: 0.9, 1: 0.6, 2: 0.4}
    assert read_curves(tmp_path)["train/loss"] == {0: 0.8, 1: 0.6}


def test_the_image_shows_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path, 0, TABLE)
    drawn: dict[str, tuple[list[int], list[float]]] = {}
    from matplotlib.axes import Axes

    plot = Axes.plot

    def remember(self: Axes, x: list[int], y: list[float], *style: str, **how: object) -> object:
        drawn[str(how["label"])] = (list(x), list(y))
        return plot(self, x, y, *style, **how)

    monkeypatch.setattr(Axes, "plot", remember)
    path = write_curves(tmp_path)
    assert path == tmp_path / "curves.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert drawn == {"train": ([0, 1], [0.8, 0.6]), "val": ([0, 1], [0.9, 0.7])}


def test_a_run_without_tables_gives_no_image(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == {}
    assert write_curves(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_table_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs" / "version_0" / "metrics.csv").mkdir(parents=True)
    with pytest.raises(OutputError, match="curves cannot be read"):
        curves.read_curves(tmp_path)
