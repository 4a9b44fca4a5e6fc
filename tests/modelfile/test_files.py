"""Model files: written whole, read back verified, refused with the reason."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import onnx
import pytest

import tumorlens
from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.errors import (
    ExportError,
    ForeignModelError,
    ModelDamagedError,
    ModelFileError,
    ModelNotFoundError,
    NewerModelError,
    OlderModelError,
    OutputError,
)
from tumorlens.modelfile import FORMAT_VERSION, read_card, read_model, write_model
from tumorlens.modelfile.wire import metadata_entry, split_metadata


def signed(graph: bytes, card: bytes) -> bytes:
    """Return a file with a right hash around any card."""
    digest = hashlib.sha256(graph + card).hexdigest().encode()
    return (
        graph + metadata_entry("tumorlens.sha256", digest) + metadata_entry("tumorlens.card", card)
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    graph = tiny_onnx()
    card = tiny_card(graph)
    path = tmp_path / "model.onnx"
    write_model(graph, card, path)
    model = read_model(path)
    assert model.card == read_card(path) == card
    assert model.onnx_bytes == path.read_bytes()
    assert onnx.load_from_string(model.onnx_bytes).graph == onnx.load_from_string(graph).graph
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_the_onnx_library_sees_the_card_as_metadata(tiny_model_path: Path) -> None:
    model = onnx.load(tiny_model_path)
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["tumorlens.card"])["name"] == "tiny"
    assert (model.producer_name, model.producer_version) == ("tumorlens", tumorlens.__version__)


def test_the_bytes_are_those_the_onnx_library_writes(tiny_model_path: Path) -> None:
    data = tiny_model_path.read_bytes()
    assert onnx.load_from_string(data).SerializeToString() == data


def test_a_file_starts_as_netron_requires(tiny_model_path: Path) -> None:
    # Its pattern for ONNX: the IR version, then the producer's name of at most 32 characters.
    start = tiny_model_path.read_bytes()[:20]
    assert re.match(rb"\x08[\x00-\x10]\x12[\x00-\x20]\w\w", start)


@pytest.mark.parametrize("card_first", [True, False])
def test_the_reader_accepts_any_order_of_fields(
    card_first: bool, tiny_model_path: Path, tmp_path: Path
) -> None:
    data = tiny_model_path.read_bytes()
    graph, entries = split_metadata(data, frozenset({"tumorlens.card", "tumorlens.sha256"}))
    added = b"".join(metadata_entry(key, value) for key, value in entries.items())
    path = tmp_path / "moved.onnx"
    path.write_bytes(added + graph if card_first else graph + added)
    assert read_card(path) == read_card(tiny_model_path)


def test_writing_a_model_file_again_replaces_its_card(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    card = read_card(tiny_model_path).model_copy(update={"name": "renamed"})
    path = tmp_path / "model.onnx"
    write_model(tiny_model_path.read_bytes(), card, path)
    assert read_card(path).name == "renamed"
    assert read_model(path).onnx_bytes.count(b"tumorlens.card") == 1


def test_every_flipped_bit_is_detected(tiny_model_path: Path, tmp_path: Path) -> None:
    data = tiny_model_path.read_bytes()
    path = tmp_path / "flipped.onnx"
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        with pytest.raises(ModelDamagedError, match=r"flipped\.onnx: .*copy or download it again"):
            read_model(path)


def test_every_truncation_is_detected(tiny_model_path: Path, tmp_path: Path) -> None:
    data = tiny_model_path.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelDamagedError, match="copy or download it again"):
            read_model(path)


def test_appended_bytes_are_detected(tiny_model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "longer.onnx"
    path.write_bytes(tiny_model_path.read_bytes() + b"\x32\x01x")  # a valid field
    with pytest.raises(ModelDamagedError, match="SHA-256"):
        read_model(path)


def test_a_missing_entry_is_damage(tiny_model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(metadata_entry("tumorlens.card", b"{}") + tiny_onnx())
    with pytest.raises(ModelDamagedError, match="SHA-256"):
        read_model(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiny_onnx(), "without a TumorLens card; export it with 'tumorlens export'"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX model"),
        (b"not a model at all", "not an ONNX model"),
        (b"PK\x03\x04" + bytes(60), "not an ONNX model"),
    ],
)
def test_a_foreign_file_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(content)
    with pytest.raises(ForeignModelError, match=reason):
        read_model(path)


def test_a_newer_file_is_refused_even_when_its_card_has_other_fields(tmp_path: Path) -> None:
    path = tmp_path / "newer.onnx"
    newer = json.dumps({"format_version": FORMAT_VERSION + 1, "novelty": True}).encode()
    path.write_bytes(signed(tiny_onnx(), newer))
    told = rf"format {FORMAT_VERSION + 1}.* 4 to {FORMAT_VERSION} only: pip install --upgrade"
    with pytest.raises(NewerModelError, match=told):
        read_model(path)


def test_an_older_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "older.onnx"
    older = json.dumps({"format_version": 3, "name": "x"}).encode()
    path.write_bytes(signed(tiny_onnx(), older))
    told = rf"format 3.* 4 to {FORMAT_VERSION} only: .*train again"
    with pytest.raises(OlderModelError, match=told):
        read_model(path)


def format_4(**changes: object) -> bytes:
    """Return a card as TumorLens 0.2 wrote it, without the fields of later formats."""
    fields = tiny_card(tiny_onnx()).model_dump(mode="json")
    for name in ("bias", "prior", "site", "drift"):
        del fields[name]
    return json.dumps(fields | {"format_version": 4} | changes).encode()


@pytest.mark.parametrize(
    ("changes", "prior"),
    [
        ({}, 0.5),
        ({"conformal": None}, None),
        (
            {
                "conformal": [
                    {"alpha": 0.1, "tumor": 0.6, "healthy": 0.6, "n_tumor": 335, "n_healthy": 233}
                ]
            },
            335 / 568,
        ),
    ],
)
def test_a_file_of_format_4_is_read_with_its_share_of_tumours(
    changes: dict[str, object], prior: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "format4.onnx"
    path.write_bytes(signed(tiny_onnx(), format_4(**changes)))
    card = read_card(path)
    assert (card.format_version, card.bias, card.prior) == (FORMAT_VERSION, 0.0, prior)
    assert (card.site, card.drift) == (None, None)
    assert card.temperature == tiny_card(tiny_onnx()).temperature
    write_model(path.read_bytes(), card, tmp_path / "present.onnx")
    assert read_card(tmp_path / "present.onnx") == card


@pytest.mark.parametrize(
    "changes", [{"conformal": [{}]}, {"conformal": [{"n_tumor": 0, "n_healthy": 0}]}, {"bias": "x"}]
)
def test_a_wrong_card_of_format_4_is_damaged(changes: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "format4.onnx"
    path.write_bytes(signed(tiny_onnx(), format_4(**changes)))
    with pytest.raises(ModelDamagedError, match="card is not valid"):
        read_card(path)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (b"{", "JSONDecodeError"),
        (b"[]", "TypeError"),
        (b"{}", "format_version"),
        (b'{"format_version": "1"}', "TypeError"),
        (f'{{"format_version": {FORMAT_VERSION}}}'.encode(), "name: Field required"),
        (b"\x80", "UnicodeDecodeError"),
    ],
)
def test_an_empty_card_is_refused(card: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(signed(tiny_onnx(), card))
    with pytest.raises(ModelDamagedError, match=f"card is not valid: .*{reason}"):
        read_model(path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, reason in [
        (tmp_path / "absent.onnx", "no such model file"),
        (tmp_path / "file" / "model.onnx", "no such model file"),
        (tmp_path, "a folder"),
    ]:
        with pytest.raises(ModelNotFoundError, match=reason):
            read_model(place)


def test_a_permission_error_is_reported(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelFileError, match=r"tiny\.onnx: cannot be read: Permission denied"):
        read_model(tiny_model_path)


def test_only_onnx_can_be_given_a_card(tmp_path: Path) -> None:
    card = tiny_card(tiny_onnx())
    with pytest.raises(ExportError, match="not an ONNX model"):
        write_model(b"weights", card, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_keeps_the_old_file(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_model(tiny_onnx(), read_card(tiny_model_path), path)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [
        ("model.onnx", b"old")
    ]
