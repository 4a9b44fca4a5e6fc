"""The CNN of the original notebook, layer by layer: the baseline."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tumorlens.models.output import Evidence


class NotebookCNN(nn.Module):
    """Two blocks of 5×5 convolution, Tanh and average pooling, then 256-120-84-1.

    Takes float32 ``[N, 3, 128, 128]`` in 0..1. The notebook ends in a sigmoid; this network returns
    the logit, and loss and inference apply the sigmoid, which is equivalent but numerically stable.
    The fully connected layers mix all positions, so there is no class map.
    """

    pooling = None
    # Channels-last is not faster for three channels.
    memory_format = torch.contiguous_format

    def __init__(self) -> None:
        super().__init__()
        self.cnn_model = nn.Sequential(
            nn.Conv2d(3, 6, kernel_size=5),
            nn.Tanh(),
            nn.AvgPool2d(kernel_size=2, stride=5),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.Tanh(),
            nn.AvgPool2d(kernel_size=2, stride=5),
        )
        self.fc_model = nn.Sequential(
            nn.Linear(256, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, 1),
        )

    def forward(self, image: Tensor) -> Evidence:
        """Return the logit of each image, without a class map."""
        if self.training:
            first, second = (cast("nn.Conv2d", self.cnn_model[at]) for at in (0, 3))
            features = _pooled_convolution(_pooled_convolution(image, first), second)
        else:
            features = self.cnn_model(image)
        return Evidence(self.fc_model(torch.flatten(features, start_dim=1)).squeeze(1), None)


def _pooled_convolution(image: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return convolution, Tanh and 2×2 average pooling of stride 5, up to rounding.

    The pooling uses 4 of every 25 outputs of the convolution. Only those are computed, as four
    channel groups of one 6×6 convolution of stride 5: a training step takes 11 ms instead of 38 ms
    (32 images, one core).
    """
    weight = torch.cat(
        [
            functional.pad(conv.weight, (right, 1 - right, down, 1 - down))
            for down in (0, 1)
            for right in (0, 1)
        ]
    )
    bias = None if conv.bias is None else conv.bias.repeat(4)
    cells = functional.conv2d(image, weight, bias, stride=5)
    n, _, height, width = cells.shape
    return torch.tanh(cells).view(n, 4, -1, height, width).mean(dim=1)
