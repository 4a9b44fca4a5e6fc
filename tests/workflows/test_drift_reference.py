"""A run's model file holds the histograms of the scans it was calibrated on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.drawn_data import draw_heads, drawn_records, tiny_config
from tests.models_for_tests import TINY_SPEC, tiny_card, tiny_onnx
from tumorlens.data.splits import Split
from tumorlens.drift.statistics import STATISTICS
from tumorlens.inference.engine import Engine
from tumorlens.metrics.calibration import probability
from tumorlens.metrics.drift import count_bins
from tumorlens.modelfile import DriftReference, ModelCard, read_card
from tumorlens.training.decoding import Parts
from tumorlens.workflows import package
from tumorlens.workflows.drift_reference import drift_reference
from tumorlens.workflows.train import train


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORLENS_CACHE", str(tmp_path_factory.mktemp("cache")))


def parts_of(**sizes: int) -> Parts:
    """Parts of even grey inputs, the brighter the later; three scans are a group."""
    records = {
        name: [replace(each, group=at // 3) for at, each in enumerate(drawn_records([0, 1] * n))]
        for name, n in sizes.items()
    }
    size = TINY_SPEC.size
    inputs = {
        name: np.broadcast_to(
            np.linspace(0.1, 0.9, len(own), dtype=np.float32)[:, None, None, None],
            (len(own), 1, size, size),
        )
        for name, own in records.items()
    }
    return Parts(Split("grouped", 0, (), (), (), (), ""), records, inputs, {})


def test_answered_calibration_scans_are_the_reference() -> None:
    graph = tiny_onnx(ood=1.4)  # refuses inputs from 0.6 on
    card, parts = tiny_card(graph), parts_of(calibration=75, validation=60)
    found = drift_reference(Engine(graph, threads=1), card, parts)
    assert found is not None
    levels = np.linspace(0.1, 0.9, 150)
    kept = levels[4 * levels - 1 <= 1.4]
    assert (found.n, found.groups) == (len(kept), -(-len(kept) // 3))
    assert found.scans == "calibration scans"
    assert [each.name for each in found.histograms] == list(STATISTICS)
    score, brightness = found.histograms[:2]
    expected = probability(4 * kept - 1, card.temperature, card.bias)
    assert list(score.counts) == count_bins(expected, score.edges).tolist()
    assert brightness.edges[0] == pytest.approx(kept[len(kept) // 10], abs=0.02)


@pytest.mark.parametrize(
    ("sizes", "scans"),
    [({"validation": 25}, "validation scans"), ({"validation": 24}, None), ({"test": 90}, None)],
)
def test_which_scans_stand_in_for_missing_ones(sizes: dict[str, int], scans: str | None) -> None:
    graph = tiny_onnx()
    found = drift_reference(Engine(graph, threads=1), tiny_card(graph), parts_of(**sizes))
    assert (found.scans if found else None) == scans


# Lightning deprecates a call of its own; how many workers load is our choice.
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_run_packages_its_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = tiny_onnx()
    reference = drift_reference(Engine(graph, threads=1), tiny_card(graph), parts_of(validation=30))
    asked: list[tuple[int, str]] = []

    def of_run(engine: Engine, card: ModelCard, parts: Parts) -> DriftReference | None:
        # The finished graph, with the card's own calibration, on the run's scans.
        asked.append((len(engine.run(parts.inputs["validation"]).logits), card.name))
        return reference

    monkeypatch.setattr(package, "drift_reference", of_run)
    done = train(tiny_config(draw_heads(tmp_path), tmp_path / "run", "trainer.max_epochs=1"))
    card = read_card(done.model)
    assert (len(asked), asked[0][1]) == (1, card.name)
    assert asked[0][0] == 12
    assert card.drift == reference
    assert "Reference for drift" in (tmp_path / "run" / "MODEL_CARD.md").read_text("utf-8")
