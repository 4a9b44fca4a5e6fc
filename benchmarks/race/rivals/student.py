"""What the rivals serve: the packaged network, and the usual way to read a picture.

The rivals read pictures as examples of such servers do: grey, scaled to the network's input, 0..1.
They look for no head, hide no page, check no quality and refuse nothing, which is less work than
TumorLens does for each answer.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from tumorlens.inference.default_model import find_model
from tumorlens.modelfile import read_card

CARD = read_card(find_model(None))
SIZE = CARD.preprocess.size


def pixels(file: IO[bytes] | Image.Image, size: int = SIZE) -> NDArray[np.float32]:
    """Return a picture as the network's input, float32 ``[1, 1, size, size]`` in 0..1."""
    image = file if isinstance(file, Image.Image) else Image.open(file)
    grey = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.float32)[None, None] / 255


def torch_student() -> Any:
    """Return the packaged network in torch, with the weights of its ONNX file."""
    import torch

    from tumorlens.models.registry import build

    torch.set_num_threads(1)
    network = build(CARD.architecture, **CARD.architecture_args).eval()
    stored = {
        each.name.removeprefix("network.").removesuffix(".half"): each
        for each in onnx.load(find_model(None)).graph.initializer
    }
    network.load_state_dict(
        {
            name: torch.from_numpy(numpy_helper.to_array(stored[name]).astype(np.float32))
            if name in stored
            else value  # counters of batches, which inference does not use
            for name, value in network.state_dict().items()
        }
    )
    return network


def onnx_student(threads: int = 1) -> Any:
    """Return an ONNX Runtime session of the packaged file, as it is."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(find_model(None)), options, providers=["CPUExecutionProvider"]
    )


def calibrated(logit: float) -> float:
    """Return the probability of a tumour."""
    return float(1 / (1 + np.exp(-(logit / CARD.temperature + CARD.bias))))
