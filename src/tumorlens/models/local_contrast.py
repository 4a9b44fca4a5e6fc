"""A second input channel: how a pixel differs from its neighbourhood."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Reach of a neighbourhood, as a share of the picture's side: 15 pixels across of 128.
_REACH = 0.0586
# Added to the deviation, so that noise on an even ground is not blown up.
_FLOOR = 0.05
# Differences beyond so many deviations are cut, and scaled as a picture's intensities are.
_LIMIT = 3.0
_SCALE = 0.3


class LocalContrast(nn.Module):
    """Append local contrast: the difference from the neighbourhood's mean in its deviations.

    Coils, sequences and windowing change how bright tissue is, and much less how it stands out
    from what is around it (local contrast normalisation: Jarrett et al., What is the best
    multi-stage architecture for object recognition?, ICCV 2009). Networks given both rely less on
    the first, and err less on sources they have not learnt from
    (docs/adr/0018-two-unlike-networks.md).

    Takes float32 ``[N, 1, H, W]`` in 0..1 and returns ``[N, 2, H, W]``, the second channel in
    -0.9..0.9. It has no weights.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return the pictures and their local contrast."""
        mean = _neighbourhood(image)
        variance = (_neighbourhood(image * image) - mean * mean).clamp_min(0)
        contrast = (image - mean) / (variance.sqrt() + _FLOOR)
        return torch.cat([image, _SCALE * contrast.clamp(-_LIMIT, _LIMIT)], dim=1)


def _neighbourhood(image: Tensor) -> Tensor:
    """Return the mean over a square around each pixel, mirrored at the picture's edge."""
    reach = max(1, round(_REACH * image.shape[-1]))
    side = 2 * reach + 1
    padded = functional.pad(image, [reach] * 4, mode="reflect")
    # Along one axis and then the other: two times 15 products a pixel instead of 225.
    along = functional.avg_pool2d(padded, (1, side), stride=1)
    return functional.avg_pool2d(along, (side, 1), stride=1)
