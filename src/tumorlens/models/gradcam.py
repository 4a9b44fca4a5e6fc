"""Grad-CAM, the reference for class maps.

Not used for explanations: the networks return a class map in the forward pass. For a mean-pooling
network both agree up to a positive factor, as the tests verify.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def grad_cam(
    network: nn.Module,
    layer: nn.Module,
    image: Tensor,
    score: Callable[[Any], Tensor] = lambda output: output.logit,
) -> Tensor:
    """Return the gradient-weighted sum of a layer's channels, before the ReLU.

    Equations 1 and 2 of Selvaraju et al., Grad-CAM, ICCV 2017, without the final ReLU, so that
    evidence against a tumour is included.

    Args:
        network: Any network, in its current mode (call ``eval()`` first to disable dropout and
            batch statistics). Gradients of parameters are not changed.
        layer: A module of it whose output is float32 ``[N, C, h, w]``.
        image: float32 ``[N, C, H, W]``.
        score: The quantity to explain, from the network's output: ``[N]``.

    Returns:
        float32 ``[N, h, w]``, detached.
    """
    with torch.enable_grad(), outputs_of(layer) as outputs:
        # With an input that requires gradients, they also flow through frozen weights.
        output = network(image.detach().requires_grad_())
        (features,) = outputs
        (gradients,) = torch.autograd.grad(score(output).sum(), features)
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).detach()


@contextmanager
def outputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the outputs of ``layer`` while the block runs."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs.append(output)

    handle = layer.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()
