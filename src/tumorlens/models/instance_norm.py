"""Instance normalisation in the early layers of a ResNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class IBN(nn.Module):
    """Instance normalisation of half of the channels, batch normalisation of the others (IBN-a).

    Instance normalisation removes the image's contrast from the features, which makes them depend
    less on sequence and source (Pan et al., Two at once: enhancing learning and generalization
    capacities via IBN-Net, ECCV 2018). Parameters have the names of the authors' files.

    Takes and returns ``[N, channels, H, W]``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.instance_channels = channels // 2
        self.IN = nn.InstanceNorm2d(self.instance_channels, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.instance_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalised features."""
        first, rest = features[:, : self.instance_channels], features[:, self.instance_channels :]
        return torch.cat([self.IN(first), self.BN(rest)], dim=1)


def use_instance_norm(backbone: Any) -> None:
    """Replace the first norm of each block in a ResNet's first three stages by `IBN`, in place.

    The norm of the stem becomes a full instance normalisation.
    """
    backbone.bn1 = nn.InstanceNorm2d(backbone.bn1.num_features, affine=True)
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        for block in stage:
            block.bn1 = IBN(block.bn1.num_features)
