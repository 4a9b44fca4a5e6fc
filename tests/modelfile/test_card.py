"""What a card accepts and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.imaging.preprocess import NOTEBOOK, PreprocessSpec
from tumorlens.modelfile import FORMAT_VERSION, ModelCard


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return tiny_card(tiny_onnx())


def with_changes(card: ModelCard, **changes: Any) -> ModelCard:
    return ModelCard.model_validate(card.model_dump(mode="json") | changes)


def test_a_card_round_trips_through_json(card: ModelCard) -> None:
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_a_card_from_before_the_brain_detector_has_none(card: ModelCard) -> None:
    values = card.model_dump(mode="json")
    assert values.pop("brain") is None
    assert ModelCard.model_validate(values) == card


def test_the_preprocessing_spec_round_trips(card: ModelCard) -> None:
    changed = with_changes(card, preprocess=NOTEBOOK.to_dict())
    assert changed.preprocess == NOTEBOOK
    assert isinstance(changed.preprocess, PreprocessSpec)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("surprise", 1, "Extra inputs"),
        ("format_version", FORMAT_VERSION + 1, f"should be {FORMAT_VERSION}"),
        ("format_version", FORMAT_VERSION - 1, f"should be {FORMAT_VERSION}"),
        ("ood", {"method": "m", "n_mri": 1, "n_negatives": -1}, "greater than or equal to 0"),
        ("brain", {"method": "m", "n_enough": -1, "n_too_little": 1}, "greater than or equal to 0"),
        ("name", "", "at least 1 character"),
        ("created", "23.11.2026", "isoformat"),
        ("labels", ["tumor", "healthy"], "healthy"),
        ("preprocess", {"size": 64, "gamma": 2}, "unknown fields"),
        ("preprocess", {"size": 1}, "outside 16..1024"),
        ("pooling", None, "exactly when has_map"),
        ("pooling", {"kind": "max"}, "'mean' or 'topk'"),
        ("pooling", {"kind": "topk"}, "k is required for 'topk'"),
        ("pooling", {"kind": "mean", "k": 3}, "k is required for 'topk'"),
        ("has_map", False, "exactly when has_map"),
        ("temperature", 0, "greater than 0"),
        ("temperature", float("inf"), "finite"),
        ("bias", float("nan"), "finite"),
        ("prior", 1.0, "less than 1"),
        ("prior", 0.0, "greater than 0"),
        ("threshold", {"value": 1.5, "target": None, "origin": "x", "n": 1}, "0..1"),
        ("metrics", [{"name": "auroc", "split": "test", "value": 0.9}], "low"),
        (
            "data",
            [{"source": "x", "n": 1, "sha256": "beef", "licence": "CC0"}],
            "match pattern",
        ),
        ("self_test", {"seed": 1, "lesion": True, "logit": 0, "tolerance": 0}, "greater than 0"),
    ],
)
def test_a_wrong_field_is_refused(card: ModelCard, field: str, value: object, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        with_changes(card, **{field: value})


@pytest.mark.parametrize("pooling", [{"kind": "topk", "k": 6}, {"kind": "mean"}])
def test_each_pooling_has_its_parameter(card: ModelCard, pooling: dict[str, Any]) -> None:
    changed = with_changes(card, pooling=pooling).pooling
    assert changed is not None
    assert changed.model_dump(exclude_none=True) == pooling


def test_a_recipe_is_a_record_of_any_settings(card: ModelCard) -> None:
    recipe = {"seed": 0, "settings_of_another_day": {"p_strip": 0.1}}
    assert with_changes(card, recipe=recipe).recipe == recipe


def test_a_card_cannot_be_edited(card: ModelCard) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        card.name = "other"  # type: ignore[misc]
