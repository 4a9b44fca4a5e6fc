"""Local contrast normalisation as a second input channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Radius of the neighbourhood, relative to the image's side: a window of 15 pixels of 128.
_RADIUS = 0.0586
# Added to the standard deviation, so that noise in uniform areas is not amplified.
_FLOOR = 0.05
# Clipped at this many standard deviations, then scaled to the range of intensities.
_LIMIT = 3.0
_SCALE = 0.3


class LocalContrast(nn.Module):
    """Append local contrast: the difference from the local mean, in local standard deviations.

    Coils, sequences and windowing change the brightness of tissue much more than its contrast to
    the neighbourhood (local contrast normalisation: Jarrett et al., What is the best multi-stage
    architecture for object recognition?, ICCV 2009). Networks with both channels rely less on
    brightness and make fewer errors on external sets (docs/adr/0018-two-unlike-networks.md).

    Takes float32 ``[N, 1, H, W]`` in 0..1 and returns ``[N, 2, H, W]``, the second channel in
    -0.9..0.9. No parameters.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return the images and their local contrast."""
        mean = _local_mean(image)
        variance = (_local_mean(image * image) - mean * mean).clamp_min(0)
        contrast = (image - mean) / (variance.sqrt() + _FLOOR)
        return torch.cat([image, _SCALE * contrast.clamp(-_LIMIT, _LIMIT)], dim=1)


def _local_mean(image: Tensor) -> Tensor:
    """Return the mean over a square around each pixel, mirrored at the image's edge."""
    radius = max(1, round(_RADIUS * image.shape[-1]))
    side = 2 * radius + 1
    padded = functional.pad(image, [radius] * 4, mode="reflect")
    # Separable: twice 15 instead of 225 operations per pixel.
    rows = functional.avg_pool2d(padded, (1, side), stride=1)
    return functional.avg_pool2d(rows, (side, 1), stride=1)
