"""What the convolutional layers of a network make of one scan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


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
    with _watched([layers[int(index)] for index in chosen]) as seen, torch.no_grad():
        network(torch.from_numpy(image.copy())[None])
    return {name: output[0].numpy() for name, output in seen.items()}


@contextmanager
def _watched(layers: list[tuple[str, nn.Conv2d]]) -> Iterator[dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = output.detach()

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers]  # type: ignore[arg-type]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
