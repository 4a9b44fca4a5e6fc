"""Grad-CAM, the reference that class maps are held against.

No model is explained with it: the networks here return their own map, in the same forward
pass. For a mean-pooling network the two agree up to a positive factor, and the tests say so.
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
    score: Callable[[Any], Tensor] = lambda answer: answer.logit,
) -> Tensor:
    """Return the gradient-weighted sum of a layer's channels, before the ReLU.

    Equations 1 and 2 of Selvaraju et al., Grad-CAM, ICCV 2017, without the final ReLU, so that
    evidence against a tumour is seen as well.

    Args:
        network: Any network; it is evaluated as it stands (call ``eval()`` first, or dropout
            and batch statistics take part). No parameter's gradient is touched.
        layer: A module of it whose output is float32 ``[N, C, h, w]``.
        image: float32 ``[N, C, H, W]``.
        score: What to explain: the network's answer → ``[N]``.

    Returns:
        float32 ``[N, h, w]``, detached.
    """
    with torch.enable_grad(), outputs_of(layer) as outputs:
        # An input that asks for gradients makes them flow also through frozen weights.
        answer = network(image.detach().requires_grad_())
        (features,) = outputs
        (slopes,) = torch.autograd.grad(score(answer).sum(), features)
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).detach()


@contextmanager
def outputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what ``layer`` returns while the block runs; the hook is gone afterwards."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs.append(output)

    handle = layer.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()
