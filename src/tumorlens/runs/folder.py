"""The folder of a run: the name of every file in it, and what is written into it first."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, replace
from pathlib import Path

from tumorlens.atomic import atomic_file
from tumorlens.errors import OutputError
from tumorlens.runs.compose import config_yaml
from tumorlens.runs.config import RunConfig
from tumorlens.runs.provenance import Provenance

PRETRAIN = "pretrain"
"""Folder, in that of a run with ``finetune``, of the training it goes on from."""


@dataclass(frozen=True)
class RunFolder:
    """Where a training, or a cross-validation, keeps what."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings, as `tumorlens.runs.compose.read_config` reads them."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """What it started from, or was joined from: see `tumorlens.runs.provenance`."""
        return self.path / "provenance.json"

    @property
    def split(self) -> Path:
        """Which scan is in which part."""
        return self.path / "split.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of Lightning's ``best.ckpt`` and ``last.ckpt``."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """Folder of each epoch's figures."""
        return self.path / "logs"

    @property
    def curves(self) -> Path:
        """Those figures drawn."""
        return self.path / "curves.png"

    @property
    def metrics(self) -> Path:
        """Every part's metrics, and the calibration."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """What the network answers on every scan it was measured on."""
        return self.path / "predictions.csv"

    @property
    def weights(self) -> Path:
        """The network's weights alone."""
        return self.path / "weights.pt"

    @property
    def ood_detector(self) -> Path:
        """The weights of the out-of-distribution detector alone."""
        return self.path / "ood_detector.pt"

    @property
    def model(self) -> Path:
        """The model file; of a training the last file written, so that it says it is whole."""
        return self.path / "model.onnx"

    @property
    def evaluation(self) -> Path:
        """What ``after`` measured of the model file."""
        return self.path / "evaluation.json"

    @property
    def explanations(self) -> Path:
        """A page of hits and misses of the class map."""
        return self.path / "explanations.html"

    @property
    def crossval(self) -> Path:
        """The plan of a cross-validation."""
        return self.path / "crossval.json"

    @property
    def out_of_fold(self) -> Path:
        """Every fold's answers on its test scans."""
        return self.path / "out_of_fold.csv"

    @property
    def out_of_fold_temperature(self) -> Path:
        """The temperature that all out-of-fold logits give."""
        return self.path / "out_of_fold.json"

    def member(self, number: int) -> RunFolder:
        """Return the folder of an ensemble's member, counted from 1."""
        return RunFolder(self.path / f"member_{number}")

    @property
    def pretrain(self) -> RunFolder:
        """The folder of the training that a fine-tuning goes on from."""
        return RunFolder(self.path / PRETRAIN)

    def fold(self, name: str) -> RunFolder:
        """Return the folder of a cross-validation's fold, such as ``r0/f1``."""
        return RunFolder(self.path / name.replace("/", "-"))

    def begin(self, config: RunConfig, provenance: Provenance) -> None:
        """Make the folder and write settings and provenance into it.

        Raises `OutputError` where that cannot be done.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: the run folder cannot be made ({error})") from error
        settings = config_yaml(replace(config, run_dir=self.path))
        found = json.dumps(provenance.to_plain(), indent=1) + "\n"
        for path, text in ((self.config, settings), (self.provenance, found)):
            with atomic_file(path) as stream:
                stream.write(text.encode())


def run_folder(config: RunConfig, given: Path | None = None) -> RunFolder:
    """Return where a run's results go: as given, as configured, else by date and time."""
    if given is None and config.run_dir is None:
        now = datetime.datetime.now().astimezone()
        return RunFolder(Path("runs") / now.strftime("%Y-%m-%d_%H-%M-%S"))
    return RunFolder(given or config.run_dir or Path())
