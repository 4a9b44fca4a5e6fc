"""The self-test: a drawn head's answer, made once and asked for again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.models_for_tests import TINY_SPEC, tiny_card, tiny_onnx
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import preprocess
from tumorlens.modelfile.self_test import make_self_test, self_test_failure


def brightness(batch: NDArray[np.float32]) -> float:
    return float(batch.mean())


def test_it_uses_a_phantom_with_lesion_and_the_card_s_preprocessing() -> None:
    test = make_self_test(brightness, TINY_SPEC)
    head = preprocess(draw_phantom(test.seed, lesion=True).image, TINY_SPEC)
    assert test.lesion
    assert test.logit == pytest.approx(float(head.mean()))


@pytest.mark.parametrize(
    ("offset", "passes"), [(0.0, True), (0.019, True), (-0.021, False), (math.nan, False)]
)
def test_it_fails_beyond_its_tolerance(offset: float, passes: bool) -> None:
    card = tiny_card(tiny_onnx(), self_test=make_self_test(brightness, TINY_SPEC))
    failure = self_test_failure(lambda batch: brightness(batch) + offset, card)
    if passes:
        assert failure is None
    else:
        told = f"instead of {card.self_test.logit:.6f} as on the card"
        assert failure is not None
        assert failure.startswith("the self-test gives ")
        assert failure.endswith(told)
