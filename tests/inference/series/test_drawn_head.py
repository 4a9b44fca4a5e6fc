"""The packaged model on a drawn head in three dimensions: the lesion is found in its place."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.inference.predictor import Predictor
from tumorlens.volumes.phantom import draw_phantom_volume
from tumorlens.volumes.volume import Volume

SPACING = (2.0, 2.0, 4.0)
_BASE = 25  # slices below show a drawn skull base, which is not lifelike


def test_the_packaged_model_finds_the_drawn_lesion_in_its_place() -> None:
    drawn = draw_phantom_volume(2, lesion=True, spacing_mm=SPACING)
    upper = np.ascontiguousarray(drawn.volume.data[:, :, _BASE:])
    mask = drawn.mask[:, :, _BASE:]
    answer = Predictor.open().predict_series(Volume.aligned(upper, SPACING, "drawn"))
    assert answer.label == "tumor"
    along = np.flatnonzero(mask.any(axis=(0, 1)))
    finding = next(each for each in answer.findings if each.first <= along.mean() <= each.last)
    assert finding.first == pytest.approx(along[0], abs=2)
    assert finding.last == pytest.approx(along[-1], abs=2)
    volume = mask.sum() * np.prod(SPACING) / 1000
    assert 0.5 * volume < finding.volume_ml < 2 * volume
    assert finding.laterality == "right"
    assert np.argwhere(mask)[:, 0].mean() > mask.shape[0] / 2
