"""Which model file is used where none is named."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from tumorlens.errors import ModelNotFoundError

MODEL_VARIABLE = "TUMORLENS_MODEL"


def find_model(path: str | Path | None = None) -> Path:
    """Return ``path``, or else ``$TUMORLENS_MODEL``, or else the packaged default model.

    Raises `ModelNotFoundError` when none is given and no default is packaged.
    """
    if given := path or os.environ.get(MODEL_VARIABLE):
        return Path(given)
    default = resources.files("tumorlens") / "weights" / "default.onnx"
    if not default.is_file():
        raise ModelNotFoundError(
            f"this installation has no default model; give one with --model or {MODEL_VARIABLE}, "
            "or train one: tumorlens train"
        )
    return Path(str(default))
