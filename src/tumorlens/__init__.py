"""TumorLens: tumour or not in brain MRI, with the evidence and the reliability of the answer.

A research tool, not for clinical use.

The names below are the public API. Each is imported on first use, so that ``import tumorlens`` is
fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tumorlens.errors import TumorLensError
    from tumorlens.imaging.decode import Image, Limits, decode
    from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
    from tumorlens.inference.overlay import render_overlay
    from tumorlens.inference.prediction import Explanation, Prediction
    from tumorlens.inference.predictor import Predictor
    from tumorlens.modelfile import ModelCard, read_card

__version__ = "0.3.0"

__all__ = [
    "Explanation",
    "Image",
    "Limits",
    "ModelCard",
    "Prediction",
    "Predictor",
    "PreprocessSpec",
    "TumorLensError",
    "__version__",
    "decode",
    "preprocess",
    "read_card",
    "render_overlay",
]

_MODULES = {
    "Explanation": "tumorlens.inference.prediction",
    "Image": "tumorlens.imaging.decode",
    "Limits": "tumorlens.imaging.decode",
    "ModelCard": "tumorlens.modelfile",
    "Prediction": "tumorlens.inference.prediction",
    "Predictor": "tumorlens.inference.predictor",
    "PreprocessSpec": "tumorlens.imaging.preprocess",
    "TumorLensError": "tumorlens.errors",
    "decode": "tumorlens.imaging.decode",
    "preprocess": "tumorlens.imaging.preprocess",
    "read_card": "tumorlens.modelfile",
    "render_overlay": "tumorlens.inference.overlay",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'tumorlens' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
