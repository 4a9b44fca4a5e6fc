"""The public names are a promise: changing this list is changing the interface."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import tumorlens
from tumorlens.inference.predictor import Predictor

PUBLIC = [
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


def test_the_public_names() -> None:
    assert tumorlens.__all__ == PUBLIC


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_each_public_name_is_importable(name: str) -> None:
    assert getattr(tumorlens, name).__name__ == name
    assert name in dir(tumorlens)


def test_a_lazy_name_is_the_original_object() -> None:
    assert tumorlens.Predictor is Predictor


def test_an_unknown_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'tumorlens' has no attribute 'predict'"):
        tumorlens.predict  # noqa: B018


def test_the_version_equals_the_project_s() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    assert tumorlens.__version__ == project["project"]["version"]
