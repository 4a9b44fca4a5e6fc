"""The command line, noting which training scans its process draws: a program for torchrun.

``SEEN`` names a folder. Each process writes its id there to ``<rank>.pid``, and the scans' keys to
``<rank>.txt``, one a line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from tumorlens.cli import main
from tumorlens.training.datamodule import ScanDataset


def note_draws(folder: Path, rank: str) -> None:
    """Let every data set for training write the keys of its batches."""
    draw = ScanDataset.__getitems__

    def noted(scans: ScanDataset, indices: Sequence[int]) -> dict[str, Tensor]:
        if scans.mode == "train":
            with (folder / f"{rank}.txt").open("a", encoding="utf-8") as file:
                file.writelines(f"{scans.records[index].key}\n" for index in indices)
        return draw(scans, indices)

    ScanDataset.__getitems__ = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    seen = Path(os.environ["SEEN"])
    (seen / f"{os.environ['RANK']}.pid").write_text(str(os.getpid()), encoding="utf-8")
    note_draws(seen, os.environ["RANK"])
    main()
