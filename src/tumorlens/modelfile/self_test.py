"""A model's self-test: its answer to a drawn head, stated on the card and asked for again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.modelfile.card import ModelCard, SelfTest

# From a batch float32 ``[1, C, S, S]`` to its raw logit, by whatever runs the network.
Answer = Callable[[NDArray[np.float32]], float]
_SEED, _TOLERANCE = 7, 0.02


def make_self_test(answer: Answer, spec: PreprocessSpec) -> SelfTest:
    """Return the self-test for a new card: what the network answers to a drawn head today."""
    logit = float(answer(_drawn(_SEED, True, spec)))
    return SelfTest(seed=_SEED, lesion=True, logit=logit, tolerance=_TOLERANCE)


def self_test_failure(answer: Answer, card: ModelCard) -> str | None:
    """Say how the answer to the card's self-test differs from the card's; None where it passes."""
    test = card.self_test
    logit = float(answer(_drawn(test.seed, test.lesion, card.preprocess)))
    if abs(logit - test.logit) <= test.tolerance:  # False for NaN
        return None
    return f"the self-test gives {logit:.6f} where the card says {test.logit:.6f}"


def _drawn(seed: int, lesion: bool, spec: PreprocessSpec) -> NDArray[np.float32]:
    return preprocess(draw_phantom(seed, lesion=lesion).image, spec)[None]
