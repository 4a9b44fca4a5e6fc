"""Labels that mean nothing are answered by chance: nothing in the pipeline leaks them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.drawn_data import fitted, tiny_config
from tumorlens.imaging.phantom import draw_phantom


def test_shuffled_labels_have_chance_inside_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORLENS_CACHE", str(tmp_path / "cache"))
    lesions = np.arange(160) % 2 == 0
    labels = np.random.default_rng(0).permutation(lesions)
    for folder in ("yes", "no"):
        (tmp_path / "heads" / folder).mkdir(parents=True)
    for number, (lesion, label) in enumerate(zip(lesions, labels, strict=True)):
        head = draw_phantom(number, lesion=bool(lesion), size=64).image
        path = tmp_path / "heads" / ("yes" if label else "no") / f"{number:03}.png"
        assert cv2.imwrite(str(path), head)
    settings = ("trainer.max_epochs=10", "data.split.train=0.4", "data.split.test=0.5",
                "data.split.validation=0.1", "score_test=true", "augment=none")  # fmt: skip
    config = tiny_config(tmp_path, tmp_path / "run", *settings)
    test = fitted(config).measured.metrics["test"]["roc_auc"]
    assert test.n >= 30
    assert test.low < 0.5 < test.high
    assert test.high - test.low < 0.4  # an interval that holds everything would prove nothing
