"""Trained network + what was measured → the model file with its card."""

from __future__ import annotations

import datetime
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

import tumorlens
from tumorlens.export.onnx import to_onnx, write_weights
from tumorlens.inference.engine import Engine
from tumorlens.metrics.intervals import Estimate
from tumorlens.modelfile import Metric, ModelCard, Pooling, write_model
from tumorlens.modelfile.self_test import make_self_test
from tumorlens.reporting.cards import write_cards
from tumorlens.reporting.intended_use import INTENDED_USE, LIMITATIONS
from tumorlens.runs.config import plain, preprocess_from, recipe
from tumorlens.runs.records import data_sources
from tumorlens.runs.scores import Calibration
from tumorlens.training.decoding import Parts
from tumorlens.workflows.fit_ood import guard_for

GUARD_NAME = "guard.pt"
MODEL_NAME = "model.onnx"


def package_model(
    config: DictConfig,
    network: nn.Module,
    parts: Parts,
    calibration: Calibration,
    metrics: dict[str, dict[str, Estimate]],
    run_dir: Path,
) -> tuple[Path, Path]:
    """Write ``weights.pt``, ``model.onnx`` and its cards into the run folder; return the first two.

    With ``guard`` in the configuration an in-domain guard is fitted into the model file, and
    written as ``guard.pt`` beside the weights.

    Raises:
        ExportError: torch and ONNX disagree.
        OutputError: The files cannot be written.
    """
    spec = preprocess_from(config)
    weights, model = run_dir / "weights.pt", run_dir / MODEL_NAME
    write_weights(network, weights)  # first, so that nothing below can lose what was trained
    fitted = guard_for(network, parts, spec, config.seed) if config.get("guard") else None
    guard, said = fitted if fitted else (None, None)
    onnx_bytes = to_onnx(network, spec, guard)
    engine = Engine(onnx_bytes, threads=1)
    pooling = network.pooling.describe() if network.pooling is not None else None  # type: ignore[union-attr,operator]
    card = ModelCard(
        name=config.name,
        version=tumorlens.__version__,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        architecture=config.model.architecture,
        architecture_args={**plain(config.model.arguments), "weights": None}
        if "weights" in config.model.arguments
        else plain(config.model.arguments),
        preprocess=spec,
        pooling=Pooling(**pooling) if pooling else None,
        has_map=pooling is not None,
        temperature=calibration.temperature,
        threshold=calibration.threshold,
        conformal=calibration.conformal,
        ood=said,
        metrics=card_metrics(metrics, calibration.fitted_on),
        data=data_sources(parts.records["train"]),
        recipe=recipe(config, Path(config.data.root)),
        intended_use=INTENDED_USE,
        limitations=LIMITATIONS,
        licence="Apache-2.0",
        self_test=make_self_test(lambda batch: float(engine.run(batch).logits[0]), spec),
    )
    if guard is not None:
        write_weights(guard, run_dir / GUARD_NAME)
    write_model(onnx_bytes, card, model)
    write_cards(card, parts.split, parts.records, run_dir)
    return weights, model


def card_metrics(
    metrics: dict[str, dict[str, Estimate]], fitted_on: str | None
) -> tuple[Metric, ...]:
    """Return the figures a card shows: none from scans the model was trained or calibrated on."""
    return tuple(
        Metric(name=name, split=part, value=e.value, low=e.low, high=e.high, n=e.n)
        for part, values in metrics.items()
        if part not in ("train", fitted_on)
        for name, e in values.items()
        if e.value == e.value and e.low == e.low and e.high == e.high
    )
