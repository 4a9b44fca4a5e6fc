"""The notebook's CNN modernised: 3×3 convolutions, batch normalisation, a pooled class map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from tumorlens.errors import ConfigError
from tumorlens.models.output import Evidence, MapPooling

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


class ImprovedCNN(nn.Module):
    """Blocks of 3×3 convolution, BatchNorm, activation and 2×2 max pooling; a pooled class map.

    Args:
        in_channels: 1 or 3.
        widths: Channels of each block; each block halves the side.
        activation: ``relu`` or ``silu``.
        dropout: Probability of dropping a feature channel before the class map.

    Takes float32 ``[N, in_channels, H, W]``; H and W divisible by ``2 ** len(widths)``.
    """

    def __init__(
        self,
        in_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        activation: Literal["relu", "silu"] = "silu",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise ConfigError(f"activation is {activation!r}; use one of {sorted(_ACTIVATIONS)}")
        layers: list[nn.Module] = []
        previous = in_channels
        for width in widths:
            layers += [
                nn.Conv2d(previous, width, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                _ACTIVATIONS[activation](),
                nn.MaxPool2d(kernel_size=2, stride=2),
            ]
            previous = width
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(previous, 1, kernel_size=1)
        self.pooling = MapPooling("mean")

    def forward(self, image: Tensor) -> Evidence:
        """Return the logit and the class map ``[N, H / 2**blocks, W / 2**blocks]``."""
        evidence = self.head(self.dropout(self.features(image))).squeeze(1)
        return Evidence(self.pooling(evidence), evidence)
