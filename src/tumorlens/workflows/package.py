"""Trained network and its measurements → the model file with its card."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import tumorlens
from tumorlens.export.onnx import to_onnx, write_weights
from tumorlens.inference.engine import Engine
from tumorlens.metrics.intervals import Estimate
from tumorlens.modelfile import Metric, ModelCard, Pooling, write_model
from tumorlens.modelfile.self_test import make_self_test
from tumorlens.reporting.breakdown import breakdown
from tumorlens.reporting.cards import write_cards
from tumorlens.reporting.intended_use import INTENDED_USE, LIMITATIONS
from tumorlens.runs.provenance import recipe
from tumorlens.runs.records import data_sources
from tumorlens.workflows.drift_reference import drift_reference
from tumorlens.workflows.execution import Trained
from tumorlens.workflows.fit_brain import fit_brain_detector
from tumorlens.workflows.fit_ood import fit_ood_detector


def package_model(trained: Trained) -> None:
    """Write weights, model file and its cards into the run folder.

    With ``ood_detector`` in the configuration an out-of-distribution detector and a brain detector
    are fitted into the model file, and their weights are written beside the network's.

    Raises:
        ExportError: torch and ONNX disagree.
        OutputError: The files cannot be written.
    """
    config, folder, network = trained.stage.config, trained.stage.folder, trained.network
    parts, spec, calibration = trained.parts, config.model.preprocess, trained.measured.calibration
    write_weights(network, folder.weights)  # first, so that no later error loses the training
    fitted = fit_ood_detector(network, parts, spec, config.seed) if config.ood_detector else None
    head, detector = fitted if fitted else (None, None)
    found = fit_brain_detector(network, parts, config.seed) if config.ood_detector else None
    brain_head, brain = found if found else (None, None)
    onnx_bytes = to_onnx(network, spec, head, brain_head)
    engine = Engine(onnx_bytes, threads=1)
    pooling = network.pooling.describe() if network.pooling is not None else None  # type: ignore[union-attr,operator]
    card = ModelCard(
        name=config.name,
        version=tumorlens.__version__,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        architecture=config.model.architecture,
        architecture_args=_without_path(config.model.arguments),
        preprocess=spec,
        pooling=Pooling(**pooling) if pooling else None,
        has_map=pooling is not None,
        temperature=calibration.temperature,
        prior=calibration.prior,
        threshold=calibration.threshold,
        conformal=calibration.conformal,
        ood=detector,
        brain=brain,
        metrics=_metrics(trained),
        data=data_sources(parts.records["train"]),
        recipe=recipe(config, trained.provenance),
        intended_use=INTENDED_USE,
        limitations=LIMITATIONS,
        licence="Apache-2.0",
        self_test=make_self_test(lambda batch: float(engine.run(batch).logits[0]), spec),
    )
    card = ModelCard.model_validate(
        card.model_dump() | {"drift": drift_reference(engine, card, parts)}
    )
    if head is not None:
        write_weights(head, folder.ood_detector)
    if brain_head is not None:
        write_weights(brain_head, folder.brain_detector)
    write_model(onnx_bytes, card, folder.model)
    write_cards(card, parts.split, parts.records, folder.path)


def _without_path(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's arguments without the path of the backbone's weights."""
    return {**arguments, "weights": None} if "weights" in arguments else dict(arguments)


def _metrics(trained: Trained) -> tuple[Metric, ...]:
    """Return a card's metrics, also by source and view."""
    found = trained.measured
    fitted_parts = ("train", found.calibration.fitted_on)
    parted = breakdown(found.predictions, leave_out=fitted_parts, seed=trained.stage.config.seed)
    return card_metrics({**found.metrics, **parted}, found.calibration.fitted_on)


def card_metrics(
    metrics: dict[str, dict[str, Estimate]], fitted_on: str | None
) -> tuple[Metric, ...]:
    """Return a card's metrics, without the parts that the model was trained or calibrated on."""
    return tuple(
        Metric(name=name, split=part, value=e.value, low=e.low, high=e.high, n=e.n)
        for part, values in metrics.items()
        if part not in ("train", fitted_on)
        for name, e in values.items()
        if e.value == e.value and e.low == e.low and e.high == e.high
    )
