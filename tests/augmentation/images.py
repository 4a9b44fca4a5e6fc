"""Images for the tests of augmentation."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from tumorlens.imaging.phantom import draw_phantom


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def heads(n: int = 4, size: int = 64) -> Tensor:
    """Drawn heads ``[n, 1, size, size]``, every other one with a lesion."""
    drawn = [draw_phantom(seed, lesion=seed % 2 == 0, size=size).image for seed in range(n)]
    return torch.stack([torch.from_numpy(image) for image in drawn])[:, None].float() / 255


def blobs(n: int = 6, size: int = 64) -> Tensor:
    """One bright blob an image, off the middle both ways, at different places."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centres = [(22 + 2 * k, 40 - k) for k in range(n)]
    drawn = [torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 40.0) for cy, cx in centres]
    return torch.stack(drawn)[:, None]
