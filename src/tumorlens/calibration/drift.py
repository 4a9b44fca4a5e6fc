"""A site's scans → the reference histograms that a service watches for drift."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.calibration.scans import LeftOut, Progress, SiteScans, read_site
from tumorlens.drift.reference import columns, make_reference
from tumorlens.errors import ConfigError
from tumorlens.inference.default_model import find_model
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.calibration import probability, sigmoid
from tumorlens.modelfile import DriftReference, ReferenceHistogram, read_model
from tumorlens.modelfile.rewrite import write_drift_reference

_SCANS = "scans of the site"


@dataclass(frozen=True)
class Referenced:
    """The outcome of `add_reference`: the new file, its histograms, and what was not used."""

    path: Path
    sha256: str
    reference: DriftReference
    left_out: tuple[LeftOut, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {
            "model": str(self.path),
            "sha256": self.sha256,
            "drift": self.reference.model_dump(mode="json"),
            "left_out": [{"path": each.path, "reason": each.reason} for each in self.left_out],
        }


def add_reference(
    model: str | Path | None,
    folder: str | Path,
    output: Path,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Referenced:
    """Write a copy of a model file with the histograms of these scans; labels are not needed.

    Answers stay as they are. Arguments as for `tumorlens.calibration.site.calibrate_model`.

    Raises:
        ConfigError: ``output`` is the model file itself.
        DataError: The scans cannot be used, or fewer than 50 are answered.
        InputError: A volume cannot be read.
        ModelFileError: The model file cannot be used.
        OutputError: ``output`` cannot be written.
    """
    source = find_model(model)
    check_output(source, output)
    predictor = Predictor.open(source, threads=threads)
    scans = read_site(predictor, folder, labelled=False, progress=progress)
    card = predictor.card
    reference = site_reference(scans, card.temperature, card.bias)
    write_drift_reference(source, reference, output)
    return Referenced(output, read_model(output).sha256, reference, scans.left_out)


def check_output(source: Path, output: Path) -> None:
    """Raise `ConfigError` when ``output`` would replace the model file it is made from."""
    if output.exists() and source.exists() and output.samefile(source):
        raise ConfigError(
            f"{output}: is the model file itself, which is never changed; give --out another name"
        )


def site_reference(scans: SiteScans, temperature: float, bias: float) -> DriftReference:
    """Return the histograms of a site's scans at this calibration.

    Raises `DataError` for fewer than 50 scans.
    """
    values = columns(scans.observed.tolist())
    values["score"] = probability(scans.logits, temperature, bias)
    return make_reference(values, scans.groups, _SCANS)


def moved_reference(reference: DriftReference, move: float) -> DriftReference:
    """Return the histograms after adding ``move`` to the log-odds of every score."""
    moved = [_moved(each, move) if each.name == "score" else each for each in reference.histograms]
    return DriftReference.model_validate(
        reference.model_dump() | {"histograms": [each.model_dump() for each in moved]}
    )


def _moved(histogram: ReferenceHistogram, move: float) -> ReferenceHistogram:
    """Return the histogram of scores with its edges moved; bins that became one are joined."""
    edges: NDArray[np.float64] = np.array(histogram.edges)
    # An edge of exactly 0 or 1 has no log-odds; it stays where it is.
    inner = (edges > 0) & (edges < 1)
    edges[inner] = sigmoid(np.log(edges[inner] / (1 - edges[inner])) + move)
    kept = np.flatnonzero(np.r_[True, np.diff(edges) > 0]) if len(edges) else np.zeros(0, np.int64)
    counts = np.add.reduceat(np.array(histogram.counts), np.r_[0, kept + 1])
    return ReferenceHistogram(
        name=histogram.name, edges=tuple(edges[kept].tolist()), counts=tuple(counts.tolist())
    )
