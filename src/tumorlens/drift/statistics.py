"""What is watched for drift: five numbers of one answered scan."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

STATISTICS: Final = ("score", "brightness", "contrast", "sharpness", "domain")
"""In the order of `observe`."""

# Below it a pixel of the input is air: black is the 1st percentile of the head's pixels.
_AIR = 0.05


def observe(
    tensor: NDArray[np.float32], prob: float, domain: float | None
) -> tuple[float, float, float, float, float]:
    """Return the statistics of one scan, in the order of `STATISTICS`.

    They are taken from what the network sees, so a change that preprocessing removes (another
    size, another window) is none.

    Args:
        tensor: float32 ``[C, h, w]`` in 0..1, the network's input.
        prob: Calibrated probability of a tumour, 0..1.
        domain: Score of the OOD detector, or None without one.

    Returns:
        ``score``: the probability. ``brightness`` and ``contrast``: mean and standard deviation
        of the pixels that are not air, 0..1. ``sharpness``: mean size of the Laplacian
        there (four neighbours), as a share of the contrast; noise raises it, blur and
        interpolation lower it. ``domain``: the OOD detector's score; NaN without one.
    """
    image = tensor[tensor.shape[0] // 2]
    inside = image > _AIR
    body = image * inside
    size = max(int(np.count_nonzero(inside)), 1)
    mean = float(body.sum()) / size
    # Not a product of NumPy, which would wake the threads of its library.
    deviation = max(cv2.norm(body, cv2.NORM_L2SQR) / size - mean * mean, 0.0) ** 0.5
    laplacian = cv2.Laplacian(image, cv2.CV_32F)
    rough = cv2.norm(laplacian, cv2.NORM_L1, mask=inside.astype(np.uint8)) / size
    sharpness = rough / deviation if deviation > 0 else 0.0
    return prob, mean, deviation, sharpness, np.nan if domain is None else float(domain)
