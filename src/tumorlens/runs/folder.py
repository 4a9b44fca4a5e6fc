"""The folder of a run: the name of every file in it, and its initial contents."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, replace
from pathlib import Path

from tumorlens.atomic import write_text
from tumorlens.errors import OutputError
from tumorlens.runs.compose import config_yaml
from tumorlens.runs.config import RunConfig, check_one_clock
from tumorlens.runs.provenance import Provenance

PRETRAIN = "pretrain"
"""Subfolder of the training before the fine-tuning stage."""


class _Entry:
    """A file or folder of a run, by its name: a path when read from a `RunFolder`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: RunFolder, kind: type[RunFolder]) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The files of a training or a cross-validation."""

    path: Path

    config = _Entry("config.yaml")
    """The settings, as `tumorlens.runs.compose.read_config` reads them."""
    provenance = _Entry("provenance.json")
    """The weights it started from or joined: see `tumorlens.runs.provenance`."""
    split = _Entry("split.json")
    """The scans of each part."""
    checkpoints = _Entry("checkpoints")
    """Folder of Lightning's ``best.ckpt`` and ``last.ckpt``."""
    logs = _Entry("logs")
    """Folder of each epoch's metrics."""
    curves = _Entry("curves.png")
    """The learning curves, plotted."""
    metrics = _Entry("metrics.json")
    """Every part's metrics, and the calibration."""
    predictions = _Entry("predictions.csv")
    """Predictions on every measured scan."""
    weights = _Entry("weights.pt")
    """The network's weights."""
    ood_detector = _Entry("ood_detector.pt")
    """The weights of the out-of-distribution detector."""
    brain_detector = _Entry("brain_detector.pt")
    """The weights of the brain detector."""
    model = _Entry("model.onnx")
    """The model file, the last file that a training writes."""
    evaluation = _Entry("evaluation.json")
    """The metrics of the model file that ``after`` requested."""
    explanations = _Entry("explanations.html")
    """A page of hits and misses of the class map."""
    crossval = _Entry("crossval.json")
    """The plan of a cross-validation."""
    out_of_fold = _Entry("out_of_fold.csv")
    """Every fold's predictions on its test scans."""
    out_of_fold_temperature = _Entry("out_of_fold.json")
    """The temperature fitted to all out-of-fold logits."""

    def member(self, number: int) -> RunFolder:
        """Return the folder of an ensemble's member, counted from 1."""
        return RunFolder(self.path / f"member_{number}")

    @property
    def pretrain(self) -> RunFolder:
        """The folder of the training before the fine-tuning stage."""
        return RunFolder(self.path / PRETRAIN)

    def fold(self, name: str) -> RunFolder:
        """Return the folder of a cross-validation's fold, such as ``r0/f1``."""
        return RunFolder(self.path / name.replace("/", "-"))

    def begin(self, config: RunConfig, provenance: Provenance) -> None:
        """Create the folder and write settings and provenance into it.

        Raises `OutputError` where that cannot be done.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: the run folder cannot be created ({error})") from error
        settings = config_yaml(replace(config, run_dir=self.path))
        found = json.dumps(provenance.to_plain(), indent=1) + "\n"
        for path, text in ((self.config, settings), (self.provenance, found)):
            write_text(path, text)


def run_folder(config: RunConfig, given: Path | None = None) -> RunFolder:
    """Return where a run's results go: as given, as configured, else by date and time.

    Raises `ConfigError` as `check_one_clock`.
    """
    if given is None and config.run_dir is None:
        check_one_clock()
        now = datetime.datetime.now().astimezone()
        return RunFolder(Path("runs") / now.strftime("%Y-%m-%d_%H-%M-%S"))
    return RunFolder(given or config.run_dir or Path())
