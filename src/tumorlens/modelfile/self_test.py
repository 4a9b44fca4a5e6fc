"""A model's self-test: its logit for a synthetic head is recorded on the card and verified."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.modelfile.card import ModelCard, SelfTest

# Runs the network: from a batch float32 ``[1, C, S, S]`` to its logit.
RunNetwork = Callable[[NDArray[np.float32]], float]
_SEED, _TOLERANCE = 7, 0.02


def make_self_test(run: RunNetwork, spec: PreprocessSpec) -> SelfTest:
    """Return the self-test for a new card."""
    logit = float(run(_phantom(_SEED, True, spec)))
    return SelfTest(seed=_SEED, lesion=True, logit=logit, tolerance=_TOLERANCE)


def self_test_failure(run: RunNetwork, card: ModelCard) -> str | None:
    """Return how the self-test fails, or None if it passes."""
    test = card.self_test
    logit = float(run(_phantom(test.seed, test.lesion, card.preprocess)))
    if abs(logit - test.logit) <= test.tolerance:  # False for NaN
        return None
    return f"the self-test gives {logit:.6f} instead of {test.logit:.6f} as on the card"


def _phantom(seed: int, lesion: bool, spec: PreprocessSpec) -> NDArray[np.float32]:
    return preprocess(draw_phantom(seed, lesion=lesion).image, spec)[None]
