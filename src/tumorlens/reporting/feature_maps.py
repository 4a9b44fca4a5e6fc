"""Feature maps: the outputs of a network's convolutional layers for one scan."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tumorlens.models.gradcam import outputs_of


def convolution_features(
    network: nn.Module, image: NDArray[np.float32], limit: int = 6
) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of convolutional layers, before norm and activation.

    Args:
        network: Any network that takes ``[N, C, H, W]``.
        image: One preprocessed scan, float32 ``[C, H, W]``.
        limit: Layers returned, spread evenly from the first to the last.

    Returns:
        Layer name → float32 ``[channels, h, w]``, in the network's order.
    """
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    chosen = sorted(set(np.linspace(0, len(layers) - 1, min(limit, len(layers))).round().tolist()))
    network = network.eval().float().cpu()
    with ExitStack() as hooks, torch.no_grad():
        outputs = {
            name: hooks.enter_context(outputs_of(layer))
            for name, layer in (layers[int(index)] for index in chosen)
        }
        network(torch.from_numpy(image.copy())[None])
    return {name: found[0].numpy() for name, (found,) in outputs.items()}
