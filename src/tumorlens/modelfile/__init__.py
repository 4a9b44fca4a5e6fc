"""The model file: one ``.onnx`` that carries its own card.

``write_model`` puts a `ModelCard` into an ONNX model, ``read_card`` and ``read_model``
take it out again and refuse what is damaged, foreign or of another format.
"""

from tumorlens.modelfile.card import (
    FORMAT_VERSION,
    DataSource,
    Metric,
    ModelCard,
    OodCheck,
    OodDetector,
    Pooling,
    SelfTest,
)
from tumorlens.modelfile.files import ModelFile, read_card, read_model, write_model

__all__ = [
    "FORMAT_VERSION",
    "DataSource",
    "Metric",
    "ModelCard",
    "ModelFile",
    "OodCheck",
    "OodDetector",
    "Pooling",
    "SelfTest",
    "read_card",
    "read_model",
    "write_model",
]
