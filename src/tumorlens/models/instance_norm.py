"""Instance normalisation in the early norms of a ResNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class IBN(nn.Module):
    """Normalise half of the channels by picture and the others by batch (IBN-a).

    Statistics of a picture's own channels carry its contrast and sequence: without them features
    are less of a source's look (Pan et al., Two at once: enhancing learning and generalization
    capacities via IBN-Net, ECCV 2018). Weights are named as those authors' files name them.

    Takes and returns ``[N, channels, H, W]``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.instance_channels = channels // 2
        self.IN = nn.InstanceNorm2d(self.instance_channels, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.instance_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalised features."""
        own, common = features[:, : self.instance_channels], features[:, self.instance_channels :]
        return torch.cat([self.IN(own), self.BN(common)], dim=1)


def use_instance_norm(backbone: Any) -> None:
    """Give a ResNet an `IBN` first in each block of its first three stages, in place.

    All channels of the first layer of all are normalised by picture.
    """
    backbone.bn1 = nn.InstanceNorm2d(backbone.bn1.num_features, affine=True)
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        for block in stage:
            block.bn1 = IBN(block.bn1.num_features)
