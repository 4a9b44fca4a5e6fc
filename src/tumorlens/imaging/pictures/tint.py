"""Grey pictures in one tint (blue film, sepia) are grey."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLES = 128  # pixels a side that are looked at
_TINTED = 0.04  # minimum mean difference of the channels, of white; less is compression noise
_OFF_LINE = 0.02  # maximum deviation of a channel from a line over the grey, of white (RMS)
_FAR_OFF = 0.10  # and its 99.5th percentile
_USABLE = 0.5  # minimum share of pixels below the limits of all channels
_LIMIT = 0.97  # of a channel's maximum; compression moves clipped pixels below it
_CLIPPED = 0.003  # share of pixels at a channel's maximum from which it counts as clipped


def without_tint(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return ``[H, W]`` of the same dtype if the colours of ``[H, W, 3]`` lie on one line.

    The line may start at any dark colour and end at any bright one; every channel is then a linear
    function of the same grey. The channel of the widest range is returned, unless it is clipped:
    the grey itself, with nothing lost. Other pixels are returned unchanged, also grey ones stored
    as RGB.
    """
    if pixels.ndim != 3:
        return pixels
    steps = [max(1, side // _SAMPLES) for side in pixels.shape[:2]]
    sample = pixels[:: steps[0], :: steps[1]].reshape(-1, 3)
    if (sample[:, 0] == sample[:, 1]).all() and (sample[:, 1] == sample[:, 2]).all():
        return pixels
    sample = sample.astype(np.float64)
    low, high = np.percentile(sample, (0.5, 99.5), axis=0)
    white, extent = float(high.max()), high - low
    if extent.max() <= 0 or float(np.ptp(sample, axis=1).mean()) <= _TINTED * white:
        return pixels
    # A bright tint drives one channel into its limit, and there it says nothing of the grey.
    at_limit = sample >= _LIMIT * sample.max(axis=0)
    clipped = at_limit.mean(axis=0) > _CLIPPED
    # Where all channels are, as in the white air of a picture turned over, they agree all the same.
    limited = at_limit & clipped
    usable = ~limited.any(axis=1) | limited.all(axis=1)
    widest = int(np.argmax(np.where(clipped & ~clipped.all(), 0, extent)))
    if usable.mean() < _USABLE or extent[widest] <= 0:
        return pixels
    centred = sample[usable] - sample[usable].mean(axis=0)
    grey = centred[:, widest]
    if not (grey**2).sum() > 0:
        return pixels
    for channel in centred.T:
        slope = (grey * channel).sum() / (grey**2).sum()  # least squares
        off = np.abs(channel - slope * grey) / white
        if np.sqrt((off**2).mean()) > _OFF_LINE or np.percentile(off, 99.5) > _FAR_OFF:
            return pixels
    return np.ascontiguousarray(pixels[..., widest])
