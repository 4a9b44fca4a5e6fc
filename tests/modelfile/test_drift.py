"""Reference histograms on a card: what is refused, and that older files go without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.modelfile.test_files import signed
from tests.models_for_tests import tiny_card, tiny_onnx, write_tiny_model
from tumorlens.modelfile import DriftReference, ReferenceHistogram, read_card
from tumorlens.modelfile.markdown import model_card_markdown
from tumorlens.modelfile.rewrite import write_drift_reference

FIELDS: dict[str, Any] = {
    "date": "2026-11-30",
    "scans": "drawn scans",
    "n": 60,
    "groups": 30,
    "histograms": [{"name": "score", "edges": [0.2, 0.8], "counts": [10, 20, 30]}],
}


def test_a_file_takes_a_reference_and_answers_as_before(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "model.onnx")
    reference = DriftReference(**FIELDS)
    card = write_drift_reference(path, reference, tmp_path / "watched.onnx")
    assert read_card(tmp_path / "watched.onnx") == card
    assert card.drift == reference
    assert card.model_copy(update={"drift": None}) == read_card(path)
    told = "60 drawn scans in 30 groups, 2026-11-30: score"
    assert told in model_card_markdown(card)
    assert "Reference for drift" not in model_card_markdown(read_card(path))


def test_a_file_of_format_5_is_read_without_a_reference(tmp_path: Path) -> None:
    fields = tiny_card(tiny_onnx(), bias=0.5, prior=0.3).model_dump(mode="json")
    del fields["drift"]
    path = tmp_path / "format5.onnx"
    path.write_bytes(signed(tiny_onnx(), json.dumps(fields | {"format_version": 5}).encode()))
    card = read_card(path)
    assert (card.drift, card.bias, card.prior) == (None, 0.5, 0.3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 61}, "hold the 61 scans"),
        ({"date": "yesterday"}, "isoformat"),
        ({"histograms": FIELDS["histograms"] * 2}, "two histograms"),
        ({"person": "x"}, "Extra inputs"),
    ],
)
def test_a_wrong_reference_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        DriftReference(**(FIELDS | changes))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"edges": (0.5,), "counts": (1,)}, "1 edges need 2 counts"),
        ({"edges": (0.5, 0.5), "counts": (1, 1, 1)}, "increase strictly"),
        ({"edges": (), "counts": (-1,)}, "greater than or equal to 0"),
        ({"name": "Patient 7", "edges": (), "counts": (1,)}, "should match pattern"),
    ],
)
def test_a_wrong_histogram_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ReferenceHistogram(**({"name": "score"} | fields))
