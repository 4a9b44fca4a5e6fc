"""The weights a run started from or joined, stored with its settings and on its model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tumorlens.errors import ConfigError
from tumorlens.runs.config import RunConfig
from tumorlens.runs.validation import validated


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: its name, or its address on the Hub, and its SHA-256 in hexadecimal."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Weights from outside a run.

    Attributes:
        started_from: ``init`` for the whole network, ``backbone`` for its backbone; None for
            random initial weights.
        joined_from: The weights of each member of an ensemble; None for a single network.
    """

    started_from: Mapping[str, WeightsFile] | None = None
    joined_from: tuple[WeightsFile, ...] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the provenance as JSON-ready values."""
        return asdict(self)


def read_provenance(path: Path) -> Provenance:
    """Read a run's ``provenance.json``. Raises `ConfigError` where it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a run's folder") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not the provenance of a run")
    return validated(Provenance, values, str(path))


def weights_file(path: Path, name: str | None = None) -> WeightsFile:
    """Return name and SHA-256 of a file; `ConfigError` where it cannot be read."""
    return WeightsFile(name or path.name, sha256_of(path))


def sha256_of(path: Path) -> str:
    """Return a file's digest in hexadecimal; `ConfigError` where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"weights: {path} cannot be read ({error})") from error


def recipe(config: RunConfig, provenance: Provenance) -> dict[str, Any]:
    """Return settings and provenance for a model card, without any path of this machine.

    Loggers, which may name services and accounts, are left out.
    """
    values, root = config.to_plain(), str(config.data.root)
    del values["logger"]
    values["data"] |= {"root": "<data>", "cache_dir": None}
    # The provenance names the initial weights by file name and hash instead of a path.
    values |= {"resume": None, "run_dir": None, "init": None}

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        if isinstance(value, str) and Path(value).is_absolute():
            return f"<path>/{Path(value).name}"
        return value.replace(root, "<data>") if isinstance(value, str) else value

    cleaned: dict[str, Any] = clean(values | provenance.to_plain())
    return cleaned
