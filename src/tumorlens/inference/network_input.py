"""What one image is to the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.frame import Frame
from tumorlens.imaging.header import SequenceName
from tumorlens.imaging.quality import Quality


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """One preprocessed image.

    Attributes:
        tensor: float32 ``[C, h, w]`` in 0..1.
        frame: Position of the tensor's square on the image.
        quality: What the header says against the image; otherwise the result of the rule-based
            quality check, on the part of the image that the model's preprocessing keeps.
        sequence: The sequence by the header, ``unknown`` without one.
    """

    tensor: NDArray[np.float32]
    frame: Frame
    quality: Quality
    sequence: SequenceName = "unknown"
