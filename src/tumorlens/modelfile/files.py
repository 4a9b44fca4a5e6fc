"""Write and read model files, atomically and verified by a hash.

Layout: a plain ONNX file in the order of protobuf's field numbers, as ``onnx.save`` writes it,
for compatibility with every ONNX reader. It starts with the IR version and the producer's name,
``tumorlens``, so that a truncated file is recognised as damaged instead of foreign. The graph and
two metadata entries follow: ``tumorlens.sha256`` and ``tumorlens.card`` (JSON).

The hash is SHA-256 over the ONNX bytes without these two entries, followed by the card's
JSON bytes. It detects accidental changes; it is not a signature.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tumorlens import __version__
from tumorlens.atomic import atomic_file
from tumorlens.errors import (
    ExportError,
    ForeignModelError,
    ModelDamagedError,
    ModelFileError,
    ModelNotFoundError,
    NewerModelError,
    OlderModelError,
)
from tumorlens.modelfile.card import FORMAT_VERSION, OLDEST_FORMAT, ModelCard, from_older_format
from tumorlens.modelfile.wire import (
    WireError,
    in_field_order,
    metadata_entry,
    split_metadata,
    with_producer,
)

_CARD = "tumorlens.card"
_HASH = "tumorlens.sha256"
_KEYS = frozenset({_CARD, _HASH})
_MARKS = (_CARD.encode(), _HASH.encode())
_FORMATS = f"formats {OLDEST_FORMAT} to {FORMAT_VERSION} only"
_PRODUCER = "tumorlens"
_IR_VERSION_TAG, _PRODUCER_FIELD = b"\x08", b"\x12\x09" + _PRODUCER.encode()


@dataclass(frozen=True)
class ModelFile:
    """A verified model file in memory.

    ``onnx_bytes`` is the whole file, which runtimes load directly; ``sha256`` is its hex digest,
    which predictions refer to.
    """

    card: ModelCard
    onnx_bytes: bytes
    sha256: str


def write_model(onnx_bytes: bytes, card: ModelCard, path: str | Path) -> None:
    """Write an ONNX model with its card to ``path``, atomically.

    An existing card and producer name in ``onnx_bytes`` are replaced. Raises `ExportError` when
    the bytes are not an ONNX model, `OutputError` when the file cannot be written.
    """
    try:
        graph, _ = split_metadata(onnx_bytes, _KEYS)
        graph = with_producer(graph, _PRODUCER, __version__)
    except WireError as error:
        raise ExportError(
            f"cannot write {path}: the bytes are not an ONNX model: {error}"
        ) from error
    text = card.model_dump_json().encode()
    entries = metadata_entry(_HASH, _digest(graph, text).encode()) + metadata_entry(_CARD, text)
    with atomic_file(Path(path)) as file:
        file.write(in_field_order(graph + entries))


def read_card(path: str | Path) -> ModelCard:
    """Return the verified card of a model file; raises as `read_model`."""
    return read_model(path).card


def read_model(path: str | Path) -> ModelFile:
    """Read and verify a model file.

    Raises `ModelNotFoundError` (no such file), `ModelDamagedError` (truncated or
    changed), `ForeignModelError` (not ONNX, or ONNX without a card), or `NewerModelError` or
    `OlderModelError` (the format of another version of TumorLens).
    """
    data = _read(Path(path))
    try:
        graph, entries = split_metadata(data, _KEYS)
    except WireError as error:
        raise _unparsable(path, data, error) from error
    if not entries and not _is_tumorlens(data):
        raise ForeignModelError(
            f"{path}: an ONNX model without a TumorLens card; export it with 'tumorlens export'"
        )
    if entries.keys() != _KEYS or _digest(graph, entries[_CARD]).encode() != entries[_HASH]:
        raise ModelDamagedError(
            f"{path}: the model file changed after it was written (its SHA-256 does not match); "
            "copy or download it again"
        )
    return ModelFile(_card(path, entries[_CARD]), data, hashlib.sha256(data).hexdigest())


def _card(path: str | Path, text: bytes) -> ModelCard:
    try:
        raw = json.loads(text)
        version = raw["format_version"]
        if version > FORMAT_VERSION:
            raise NewerModelError(
                f"{path}: model format {version}, and this TumorLens reads {_FORMATS}: "
                "pip install --upgrade tumorlens"
            )
        if version < OLDEST_FORMAT:
            raise OlderModelError(
                f"{path}: model format {version}, and this TumorLens reads {_FORMATS}: "
                "use the packaged model, train again (tumorlens train), or install the TumorLens "
                "version that wrote the file"
            )
        older = version < FORMAT_VERSION
        return ModelCard.model_validate(from_older_format(raw) if older else raw)
    except (ValueError, TypeError, KeyError) as error:
        # A ValidationError is a ValueError; pydantic's message contains a link.
        reason = _first_error(error) if isinstance(error, ValidationError) else repr(error)
        raise ModelDamagedError(f"{path}: the card is not valid: {reason}") from error


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _digest(graph: bytes, card: bytes) -> str:
    digest = hashlib.sha256(graph)
    digest.update(card)
    return digest.hexdigest()


def _unparsable(path: str | Path, data: bytes, error: WireError) -> ModelFileError:
    if _is_tumorlens(data):
        return ModelDamagedError(
            f"{path}: the model file is damaged or cut off ({error}); copy or download it again"
        )
    return ForeignModelError(f"{path}: not an ONNX model ({error})")


def _is_tumorlens(data: bytes) -> bool:
    """Return whether a file, even a truncated one, was written by `write_model`."""
    start = _IR_VERSION_TAG + data[1:2] + _PRODUCER_FIELD
    return start.startswith(data[: len(start)]) or any(mark in data for mark in _MARKS)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFoundError(f"{path}: no such model file; check the path") from error
    except IsADirectoryError as error:
        raise ModelNotFoundError(f"{path}: a folder; give the .onnx file in it") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
