"""T1-weighted volumes of heads → the same heads roughly as in T2, or with contrast medium.

For training: public collections show healthy heads in T2 from above alone, and hardly any with
contrast medium, so bright eyes and fluid in other planes, and what enhances in everyone, are
taken for tumours. No synthesis that one could diagnose by.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.solids import Floats
from tumorlens.imaging.tissues import Tissues
from tumorlens.imaging.volume import Volume, take_slice


def take_t2_slice(
    tissues: Tissues, plane: Plane, index: int, tilt: tuple[float, float], g: Generator
) -> Floats:
    """Return one slice as `take_slice` does, float32 ``[H, W]`` in 0..1, in a T2-like contrast.

    Fluid is brightest, white matter darker than grey, muscle dark, fat anything from dark
    (suppressed) to bright (fast spin echo); how far apart they lie is drawn from ``g``.
    """
    t1, brain, eyes = (_part(tissues, part, plane, index, tilt)
                       for part in (tissues.t1, tissues.brain, tissues.eyes))  # fmt: skip
    fluid, white, fat, muscle = (
        g.uniform(low, high) for low, high in ((0.85, 1), (0.25, 0.45), (0.2, 0.9), (0.08, 0.25))
    )
    grey = white + g.uniform(0.1, 0.25)
    inside = np.interp(t1, [0.35, 0.72, 1.0, 1.3], [fluid, grey, white, 0.8 * white])
    outside = np.interp(t1, [0.1, 0.3, 0.8, 1.2, 1.8], [0, 0.4 * muscle, muscle, 0.7 * fat, fat])
    drawn = brain * inside + (1 - brain) * outside
    vitreous = eyes * np.interp(t1, [0.45, 0.75], [fluid, 0])
    return np.asarray(np.clip(np.maximum(drawn, vitreous), 0, 1), dtype=np.float32)


def take_enhanced_slice(
    tissues: Tissues, plane: Plane, index: int, tilt: tuple[float, float], g: Generator
) -> Floats:
    """Return one slice as `take_slice` does, float32 ``[H, W]`` in 0..1, with contrast medium.

    Dural sinuses, pituitary, cavernous sinuses, choroid plexus and mucosa are as bright as fat;
    how bright, and how dark fat is (suppressed, or as in T1), is drawn from ``g``.
    """
    t1, enhancing = (_part(tissues, part, plane, index, tilt)
                     for part in (tissues.t1, tissues.enhancing))  # fmt: skip
    level, fat = g.uniform(1.3, 1.9), g.uniform(0.6, 1.6)
    plain = np.interp(t1, [0, 1.1, 1.8], [0, 1.1, max(fat, 1.1) if fat > 1 else fat])
    shown = plain + np.clip(1.2 * enhancing, 0, 1) * np.maximum(level - plain, 0)
    return np.asarray(np.clip(shown / max(level, fat, 1.1), 0, 1), dtype=np.float32)


def _part(
    tissues: Tissues, part: Floats, plane: Plane, index: int, tilt: tuple[float, float]
) -> Floats:
    volume = Volume(part, tissues.like.spacing_mm, tissues.like.name)
    return take_slice(volume, plane, index, tilt)
