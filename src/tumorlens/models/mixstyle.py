"""Mixing of feature statistics between the scans of a batch, in training only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tumorlens.errors import ConfigError


class MixStyle(nn.Module):
    """Give features the channel means and deviations of a blend of two scans.

    Those of early stages carry contrast and sequence more than anatomy, so a network that is
    trained with them mixed cannot answer by them: Zhou et al., Domain Generalization with MixStyle,
    ICLR 2021. Draws from torch's global generator. In eval mode it does nothing.

    Args:
        p: Probability, for each scan, of being mixed with another of its batch.
        alpha: Both parameters of the Beta distribution of the blend's share.

    Takes and returns ``[N, C, H, W]``.
    """

    alpha: Tensor

    def __init__(self, p: float, alpha: float = 0.1) -> None:
        super().__init__()
        if not 0 <= p <= 1 or alpha <= 0:
            raise ConfigError(f"mixstyle needs 0 <= p <= 1 and alpha > 0, got p={p}, alpha={alpha}")
        self.p = p
        self.register_buffer("alpha", torch.tensor(alpha), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features, mixed where chance says so."""
        if not self.training or self.p == 0 or len(features) < 2:
            return features
        n = len(features)
        chosen = torch.rand(n, device=features.device) < self.p
        share = torch.distributions.Beta(self.alpha, self.alpha).sample((n,)).to(features.device)
        share = torch.where(chosen, share, 1.0)[:, None, None, None]
        other = torch.randperm(n, device=features.device)
        x = features.float()
        variance, mean = torch.var_mean(x.detach(), dim=(2, 3), keepdim=True)
        deviation = (variance + 1e-6).sqrt()
        mixed_mean = share * mean + (1 - share) * mean[other]
        mixed_deviation = share * deviation + (1 - share) * deviation[other]
        mixed: Tensor = (x - mean) / deviation * mixed_deviation + mixed_mean
        return mixed.to(features.dtype)
