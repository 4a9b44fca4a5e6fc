"""The model file: an ``.onnx`` file that contains its model card.

``write_model`` stores a `ModelCard` in an ONNX model; ``read_card`` and ``read_model`` read and
verify it.
"""

from tumorlens.modelfile.card import (
    FORMAT_VERSION,
    BrainDetector,
    DataSource,
    Metric,
    ModelCard,
    OodCheck,
    OodDetector,
    Pooling,
    SelfTest,
)
from tumorlens.modelfile.drift import DriftReference, ReferenceHistogram
from tumorlens.modelfile.files import ModelFile, read_card, read_model, write_model
from tumorlens.modelfile.series import DEFAULT_SERIES_RULE, SeriesRule
from tumorlens.modelfile.site import SiteCalibration, SiteMetric, SiteValue

__all__ = [
    "DEFAULT_SERIES_RULE",
    "FORMAT_VERSION",
    "BrainDetector",
    "DataSource",
    "DriftReference",
    "Metric",
    "ModelCard",
    "ModelFile",
    "OodCheck",
    "OodDetector",
    "Pooling",
    "ReferenceHistogram",
    "SelfTest",
    "SeriesRule",
    "SiteCalibration",
    "SiteMetric",
    "SiteValue",
    "read_card",
    "read_model",
    "write_model",
]
