"""A run folder → its model file written anew, for another place, name or runtime."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from tumorlens.errors import ExportError
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import preprocess
from tumorlens.inference.engine import Engine
from tumorlens.modelfile import ModelCard, read_card, write_model
from tumorlens.models.registry import build
from tumorlens.models.weights import is_torch_archive
from tumorlens.training.export import to_onnx


def reexport(
    run_dir: Path, output: Path, *, name: str | None = None, version: str | None = None
) -> ModelCard:
    """Build the network of ``run_dir`` from its card and weights, and export it to ``output``.

    The card goes along, with ``name`` and ``version`` when given: its figures stay true,
    because weights that answer the card's self-test differently are refused.

    Raises:
        ModelFileError: The run has no usable ``model.onnx``.
        ExportError: ``weights.pt`` is missing, does not fit the network or is not the one the
            card was written for; or torch and ONNX disagree.
        OutputError: ``output`` cannot be written.
    """
    card = read_card(run_dir / "model.onnx")
    network = build(card.architecture, **card.architecture_args)
    load_weights(network, run_dir / "weights.pt")
    onnx_bytes = to_onnx(network, card.preprocess)
    phantom = draw_phantom(card.self_test.seed, lesion=card.self_test.lesion).image
    logits, _ = Engine(onnx_bytes, threads=1).run(preprocess(phantom, card.preprocess)[None])
    if not abs(float(logits[0]) - card.self_test.logit) <= card.self_test.tolerance:
        raise ExportError(
            f"{run_dir}: weights.pt answers {float(logits[0]):.4f} on the self-test where the card "
            f"says {card.self_test.logit:.4f}; these are not the weights the card measured"
        )
    changes = {"name": name or card.name, "version": version or card.version}
    card = ModelCard.model_validate(card.model_dump() | changes)
    write_model(onnx_bytes, card, output)
    return card


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a flat ``name -> tensor`` file, as `write_weights` makes it, into a network.

    Raises `ExportError` when the file is missing, is something else, or does not fit.
    """
    if not is_torch_archive(path):
        raise ExportError(f"{path}: no file of weights there, or a damaged one")
    foreign = get_unsafe_globals_in_checkpoint(path)
    if foreign:
        raise ExportError(f"{path}: holds more than weights ({', '.join(foreign)}); not loaded")
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, TypeError) as error:
        raise ExportError(f"{path}: not the weights of this network: {error}") from error
