"""What answers depend on besides the inputs, and what became of a shard."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from tumorlens.imaging.anatomy import Plane
from tumorlens.inference.engine import Provider

OutputFormat = Literal["parquet", "csv", "jsonl"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What answers depend on besides the inputs.

    Attributes:
        model: SHA-256 of the model file.
        output: format of results and errors.
        slices: every DICOM file and slice by itself, not the series.
        planes: planes that volumes are cut in; None: their plane of acquisition.
        batch_size: images per forward pass.
        column: as asked for; "" to find it.
        id_column: as asked for.
        shard_size: inputs a shard.
        provider: what the network runs on.
    """

    model: str
    output: OutputFormat
    slices: bool = False
    planes: tuple[Plane | None, ...] = (None,)
    batch_size: int = 8
    column: str = ""
    id_column: str = ""
    shard_size: int = 1000
    provider: Provider = "cpu"

    @property
    def digest(self) -> str:
        """SHA-256 of all of them."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard.

    Attributes:
        index: the shard's.
        key: the shard's.
        inputs: number of its inputs.
        size: bytes of its inputs.
        answered: rows in ``results``.
        failed: rows in ``errors``.
        results: the table of answers; empty without any.
        errors: the table of inputs that could not be read; empty without any.
        seconds: time that it took.
    """

    index: int
    key: str
    inputs: int
    size: int
    answered: int
    failed: int
    results: bytes
    errors: bytes
    seconds: float
