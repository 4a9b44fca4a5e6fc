"""The rule for series on a card: written into a file, read back, and told in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.modelfile import DEFAULT_SERIES_RULE, SeriesRule, read_card, read_model
from tumorlens.modelfile.markdown import model_card_markdown
from tumorlens.modelfile.rewrite import write_series_rule

RULE = SeriesRule(
    name="run_minimum", span_mm=12.0, slope=1.2, intercept=-1.5, threshold=0.3,
    origin="on 29 drawn series", n=29, persons=16,
)  # fmt: skip


def test_a_rule_is_written_into_a_copy(tiny_model_path: Path, tmp_path: Path) -> None:
    write_series_rule(tiny_model_path, RULE, tmp_path / "series.onnx")
    before, after = read_model(tiny_model_path), read_model(tmp_path / "series.onnx")
    assert before.card.series is None
    assert after.card.series == RULE
    assert after.card.model_copy(update={"series": None}) == before.card
    assert after.sha256 != before.sha256


def test_a_file_may_be_replaced_by_itself(tiny_model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model_path.read_bytes())
    for rule in (DEFAULT_SERIES_RULE, RULE):
        write_series_rule(path, rule, path)
    assert read_card(path).series == RULE


@pytest.mark.parametrize(
    "wrong", [{"name": "vote"}, {"span_mm": 0}, {"slope": -1.0}, {"threshold": 1.2}, {"top_k": 0}]
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SeriesRule.model_validate(RULE.model_dump() | wrong)


def test_the_card_tells_the_rule() -> None:
    card = tiny_card(tiny_onnx())
    assert "### Series" not in model_card_markdown(card)
    text = model_card_markdown(card.model_copy(update={"series": RULE}))
    assert "### Series" in text
    assert "run of 12 mm of neighbouring slices, by its least slice" in text
    assert "threshold 0.3 (on 29 drawn series)" in text
