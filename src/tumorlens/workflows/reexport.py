"""A run folder → its model file exported again, with another name or a refitted detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from tumorlens.data.splits import read_split
from tumorlens.errors import DataError, ExportError
from tumorlens.export.onnx import to_onnx, write_weights
from tumorlens.inference.engine import Engine
from tumorlens.modelfile import ModelCard, read_card, write_model
from tumorlens.modelfile.self_test import self_test_failure
from tumorlens.models.registry import build
from tumorlens.models.weights import load_weights, read_weights
from tumorlens.ood.brain import BrainHead, brain_head_from_state
from tumorlens.ood.detector import OodHead, head_from_state
from tumorlens.runs.compose import read_config
from tumorlens.runs.folder import RunFolder
from tumorlens.runs.records import load_records
from tumorlens.runs.scores import UNSEEN_PART, conformal_sets
from tumorlens.training.decoding import Parts, decode_parts
from tumorlens.workflows.drift_reference import drift_reference
from tumorlens.workflows.fit_brain import fit_brain_detector
from tumorlens.workflows.fit_ood import fit_ood_detector
from tumorlens.workflows.measure import score


def reexport(
    run_dir: Path,
    output: Path,
    *,
    name: str | None = None,
    version: str | None = None,
    refit: bool = False,
) -> ModelCard:
    """Build the network of ``run_dir`` from its card and weights, and export it to ``output``.

    The card is kept, with ``name`` and ``version`` when given; its metrics stay valid, since
    weights that fail the card's self-test are refused. With ``refit`` the detectors and conformal
    sets are fitted to the network, for which the run's data must be at the paths in its
    ``config.yaml``; in the run folder only the detector's weights change.

    Raises:
        ModelFileError: The run has no usable ``model.onnx``, no ``weights.pt`` or, when the card
            has detectors, no ``ood_detector.pt`` or ``brain_detector.pt``.
        ConfigError: One of them is damaged or of another network; with ``refit``, the run's
            configuration is missing.
        ExportError: The weights are not those the card measured, or torch and ONNX disagree.
        DataError: With ``refit``, the run's data is missing or has changed.
        OutputError: ``output`` cannot be written.
    """
    folder = RunFolder(run_dir)
    card = read_card(folder.model)
    network = build(card.architecture, **card.architecture_args)
    load_weights(network, folder.weights)
    changes: dict[str, Any] = {"name": name or card.name, "version": version or card.version}
    parts: Parts | None = None
    if refit:
        head, brain, found, parts = _refit(network, card, folder)
        changes |= found
    else:
        head = _read_head(folder.ood_detector) if card.ood is not None else None
        brain = _read_brain(folder.brain_detector) if card.brain is not None else None
    onnx_bytes = to_onnx(network, card.preprocess, head, brain)
    engine = Engine(onnx_bytes, threads=1)
    if failure := self_test_failure(lambda batch: float(engine.run(batch).logits[0]), card):
        raise ExportError(
            f"{run_dir}: with weights.pt {failure}; these are not the weights the card measured"
        )
    card = ModelCard.model_validate(card.model_dump() | changes)
    if parts is not None:
        drift = drift_reference(engine, card, parts)
        card = ModelCard.model_validate(card.model_dump() | {"drift": drift})
    if refit and head is not None:
        write_weights(head, folder.ood_detector)
    if refit and brain is not None:
        write_weights(brain, folder.brain_detector)
    write_model(onnx_bytes, card, output)
    return card


def _refit(
    network: nn.Module, card: ModelCard, folder: RunFolder
) -> tuple[OodHead | None, BrainHead | None, dict[str, Any], Parts]:
    """Return the heads, the card's detectors and conformal sets, and the run's parts."""
    config = read_config(folder.config)
    split, records = read_split(folder.split), load_records(config.data)
    known = {record.key for record in records}
    missing = [key for part in split.parts().values() for key in part if key not in known]
    if missing:
        raise DataError(
            f"{len(missing)} scans of the run's split are not in {config.data.root}, first "
            f"{missing[0]}; restore the data"
        )
    parts = decode_parts(config, split, records)
    changes: dict[str, Any] = {"conformal": None, "ood": None, "brain": None}
    if UNSEEN_PART in parts.records:
        inputs, records = parts.inputs[UNSEEN_PART], parts.records[UNSEEN_PART]
        scores = score(network, records, inputs)
        changes["conformal"] = conformal_sets(scores, card.temperature, card.bias)
    fitted = fit_ood_detector(network, parts, card.preprocess, config.seed)
    head, brain = None, None
    if fitted is not None:
        head, changes["ood"] = fitted
    if (enough := fit_brain_detector(network, parts, config.seed)) is not None:
        brain, changes["brain"] = enough
    return head, brain, changes, parts


def _read_head(path: Path) -> OodHead:
    """Read what `write_weights` wrote of an OOD head; raises `ExportError` for anything else."""
    try:
        return head_from_state(read_weights(path))
    except (KeyError, RuntimeError, ValueError) as error:
        raise ExportError(f"{path}: not the weights of an OOD detector: {error}") from error


def _read_brain(path: Path) -> BrainHead:
    try:
        return brain_head_from_state(read_weights(path))
    except (KeyError, RuntimeError, ValueError) as error:
        raise ExportError(f"{path}: not the weights of a brain detector: {error}") from error
