"""Registry of network architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from torch import nn

from tumorlens.errors import ConfigError
from tumorlens.models.baseline import NotebookCNN
from tumorlens.models.cnn import ImprovedCNN
from tumorlens.models.efficientnet import EfficientEvidenceNet
from tumorlens.models.ensemble import EvidenceEnsemble
from tumorlens.models.evidence import EvidenceNet
from tumorlens.models.resnet import ResNetClassifier

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "notebook": NotebookCNN,
    "cnn": ImprovedCNN,
    "resnet": ResNetClassifier,
    "evidence": EvidenceNet,
    "efficient": EfficientEvidenceNet,
    "ensemble": EvidenceEnsemble,
}


def build(architecture: str, **arguments: Any) -> nn.Module:
    """Return a freshly initialised network.

    Raises:
        ConfigError: The name or an argument is unknown.
    """
    check_arguments(architecture, **arguments)
    try:
        return ARCHITECTURES[architecture](**arguments)
    except TypeError as error:
        raise ConfigError(f"architecture {architecture!r}: {error}") from error


def check_arguments(architecture: str, **arguments: Any) -> None:
    """Check the names of a network's arguments without building it.

    Raises:
        ConfigError: The name or an argument is unknown.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"no architecture {architecture!r}; choose from {sorted(ARCHITECTURES)}")
    try:
        signature(ARCHITECTURES[architecture]).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"architecture {architecture!r}: {error}") from error
