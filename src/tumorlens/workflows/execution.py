"""Execute one stage of a plan: fit a network or join an ensemble, then calibrate and measure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tumorlens.data.splits import write_split
from tumorlens.models.ensemble import EvidenceEnsemble
from tumorlens.models.quantization import round_weights
from tumorlens.models.registry import build
from tumorlens.models.weights import load_network
from tumorlens.runs.curves import write_curves
from tumorlens.runs.provenance import Provenance, weights_file
from tumorlens.training.decoding import Parts, load_parts
from tumorlens.training.fit import Fitted, fit
from tumorlens.training.initial_weights import check_start, refuse_leaks, starting_weights
from tumorlens.workflows.measure import Measured, measured
from tumorlens.workflows.stages import Stage


@dataclass(frozen=True)
class Trained:
    """A stage's network before it is packaged.

    Attributes:
        stage: The stage that was executed.
        parts: What it was trained, calibrated and measured on.
        provenance: The weights it started from, or the members of an ensemble.
        fitted: The network with its final weights.
        measured: Its calibration, predictions and metrics.
    """

    stage: Stage
    parts: Parts
    provenance: Provenance
    fitted: Fitted
    measured: Measured

    @property
    def network(self) -> nn.Module:
        """The network with its final weights."""
        return self.fitted.network


def execute(stage: Stage, parts: Parts | None = None) -> Trained:
    """Fit a stage's network, or join its sources' networks; calibrate and measure it.

    Settings, provenance, split, metrics, predictions, logs and checkpoints go into its folder.

    Args:
        stage: A stage whose sources are finished.
        parts: The decoded parts; loaded if None.

    Raises:
        ConfigError, ModelNotFoundError: As `fit` and `starting_weights`.
        DataError: The data or the split cannot be used; `LeakageError` when groups cross the split,
            or when the initial weights, or a member, were trained on held-out scans.
        OutputError: The folder cannot be written.
    """
    return _join(stage, parts) if stage.joins else _fit(stage, parts)


def _fit(stage: Stage, parts: Parts | None) -> Trained:
    config, folder = stage.config, stage.folder
    provenance = Provenance(started_from=starting_weights(config))
    folder.begin(config, provenance)
    parts = parts or load_parts(config)
    write_split(parts.split, folder.split)
    check_start(config, parts)
    fitted = fit(config, parts, folder, provenance.started_from)
    round_weights(fitted.network, config.weight_bits)
    found = measured(config, parts, fitted.network, folder)
    write_curves(folder.path)
    return Trained(stage, parts, provenance, fitted, found)


def _join(stage: Stage, parts: Parts | None) -> Trained:
    """Join the members into an ensemble; writes nothing before the check for leakage."""
    config, folder = stage.config, stage.folder
    parts = parts or load_parts(config)
    network = build(config.model.architecture, **config.model.arguments)
    assert isinstance(network, EvidenceEnsemble)
    for member, source in zip(network.members, stage.sources, strict=True):
        load_network(member, source.weights)
        refuse_leaks("members", source.weights, parts)
    round_weights(network, config.weight_bits)
    joined = tuple(weights_file(source.weights) for source in stage.sources)
    provenance = Provenance(joined_from=joined)
    folder.begin(config, provenance)
    write_split(parts.split, folder.split)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    found = measured(config, parts, network, folder)
    return Trained(stage, parts, provenance, Fitted(network, stage.sources[0].weights, 0, 0), found)
