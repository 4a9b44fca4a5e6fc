"""What a network's last decoder stage makes of scans, from the weights of a run folder."""

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
    """Return what the network's last layer is given, averaged over positions: float64 ``[N, F]``.

    Args:
        run_dir: The run folder that the model came from; its ``weights.pt`` is read.
        card: Of the measured model; the weights must answer its self-test.
        inputs: Inputs float32 ``[C, S, S]``.

    Raises:
        ModelNotFoundError: The folder has no ``weights.pt``.
        ConfigError: It is damaged, or of another architecture.
        ExportError: It is another model's.
    """
    network = load_network(Path(run_dir), card).float().cpu()
    with torch.no_grad():
        failure = self_test_failure(
            lambda batch: float(network(torch.from_numpy(batch)).logit[0]), card
        )
    if failure:
        raise ExportError(f"{run_dir}: {failure}; name the run folder that the model came from")
    return last_inputs(network, inputs)


def last_inputs(network: nn.Module, inputs: Sequence[ModelInput]) -> NDArray[np.float64]:
    """Return what the last convolution or linear layer is given, averaged over positions."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    seen: list[NDArray[np.float64]] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        given: Tensor = inputs[0].detach()
        pooled = given.mean(dim=(2, 3)) if given.ndim == 4 else given
        seen.append(pooled.double().numpy())

    handle = layers[-1].register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            for start in range(0, len(inputs), _BATCH):
                network(torch.from_numpy(np.stack(inputs[start : start + _BATCH])))
    finally:
        handle.remove()
    return np.concatenate(seen)
