"""The notebook's CNN, layer by layer, as the baseline everything is measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tumorlens.models.output import Evidence


class NotebookCNN(nn.Module):
    """Two blocks of 5×5 convolution, Tanh and average pooling, then 256-120-84-1.

    Takes float32 ``[N, 3, 128, 128]`` in 0..1. The notebook ends in a sigmoid; here the
    logit is returned and the sigmoid is applied in the loss and at inference, which is the
    same function computed without overflow. Its head mixes all positions, so it has no map.
    """

    pooling = None

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
        """Return the logit of each image; no map."""
        features = torch.flatten(self.cnn_model(image), start_dim=1)
        return Evidence(self.fc_model(features).squeeze(1), None)
