"""Features before a network's last layer, from the weights of a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tumorlens.errors import ExportError
from tumorlens.evaluation.localization.sanity import load_network
from tumorlens.evaluation.sampling import ModelInput
from tumorlens.modelfile import ModelCard
from tumorlens.modelfile.self_test import self_test_failure

_BATCH = 16


def decoder_features(
    run_dir: str | Path, card: ModelCard, inputs: Sequence[ModelInput]
) -> NDArray[np.float64]:
    """Return the last layer's input features, averaged over positions: float64 ``[N, F]``.

    Args:
        run_dir: The run folder that the model was exported from; its ``weights.pt`` is read.
        card: The model's card; the weights must pass its self-test.
        inputs: N network inputs, float32 ``[C, S, S]``.

    Raises:
        ModelNotFoundError: The folder has no ``weights.pt``.
        ConfigError: The weights are damaged, or of another architecture.
        ExportError: The weights are another model's.
    """
    network = load_network(Path(run_dir), card).float().cpu()
    with torch.no_grad():
        failure = self_test_failure(
            lambda batch: float(network(torch.from_numpy(batch)).logit[0]), card
        )
    if failure:
        raise ExportError(
            f"{run_dir}: {failure}; give the run folder that the model was exported from"
        )
    return last_layer_inputs(network, inputs)


def last_layer_inputs(network: nn.Module, inputs: Sequence[ModelInput]) -> NDArray[np.float64]:
    """Return the input of the last convolution or linear layer, averaged over positions."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    features: list[NDArray[np.float64]] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        values: Tensor = inputs[0].detach()
        pooled = values.mean(dim=(2, 3)) if values.ndim == 4 else values
        features.append(pooled.double().numpy())

    handle = layers[-1].register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            for start in range(0, len(inputs), _BATCH):
                network(torch.from_numpy(np.stack(inputs[start : start + _BATCH])))
    finally:
        handle.remove()
    return np.concatenate(features)
