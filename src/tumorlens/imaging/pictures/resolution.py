"""The shape of a picture's pixels, from the resolution in its header."""

from __future__ import annotations

import math

from PIL import Image as PillowImage


def pixel_ratio(picture: PillowImage.Image) -> float | None:
    """Return the height of a pixel over its width before rotation, or None if not given.

    From the pHYs chunk of a PNG, the JFIF density of a JPEG, the pixels per metre of a BMP. A
    ratio without a unit (``aspect``) and a resolution (``dpi``) say the same here.
    """
    info = picture.info
    # Pillow gives densities of 1 × 1 without unit where a JPEG has none.
    found = info.get("aspect") or info.get("jfif_density") or info.get("dpi")
    if not isinstance(found, tuple) or len(found) != 2:
        return None
    try:
        across, down = (float(value) for value in found)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (math.isfinite(across) and math.isfinite(down) and min(across, down) > 0):
        return None
    return across / down
