"""The brain head: it tells slices apart, its threshold, its file, and the exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.export.onnx import probe_inputs, to_onnx, write_weights
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.inference.engine import Engine
from tumorlens.models.registry import build
from tumorlens.models.weights import read_weights
from tumorlens.ood import brain, fit
from tumorlens.ood.brain import BrainHead, brain_head_from_state, brain_scores, fit_brain_head
from tumorlens.ood.fit import channels_of, fit_to_statistics, scores_of, statistics_of

SPEC = PreprocessSpec(size=64)
WIDTH = 24


def drawn(n: int, seed: int, *, enough: bool, width: int = WIDTH) -> NDArray[np.float64]:
    """Log-normal statistics; with too little brain six of them are smaller."""
    values = np.random.default_rng(seed).standard_normal((n, width))
    if not enough:
        values[:, :6] -= 2.5
    return np.exp(0.5 * values)


def fitted(for_threshold: NDArray[np.float64], seed: int = 0) -> BrainHead:
    statistics = np.concatenate([drawn(150, 1, enough=True), drawn(60, 2, enough=False)])
    return fit_brain_head(statistics, np.arange(210) < 150, np.ones(210), for_threshold, seed)


@pytest.fixture(autouse=True)
def _fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brain, "_STEPS", 300)


def test_it_tells_other_slices_apart() -> None:
    head = fitted(drawn(300, 3, enough=True))
    assert (brain_scores(head, drawn(400, 4, enough=True)) < 0).mean() <= 0.02
    assert (brain_scores(head, drawn(400, 5, enough=False)) < 0).mean() >= 0.98


def test_at_most_one_in_two_hundred_of_the_slices_that_choose_its_threshold_is_set_aside() -> None:
    clean = fitted(drawn(400, 3, enough=True))
    # A tenth of these look like too little brain to it, and must be kept all the same.
    mixed = np.concatenate([drawn(360, 3, enough=True), drawn(40, 6, enough=False)])
    kept = fitted(mixed)
    assert float(kept.threshold) < float(clean.threshold) <= 0
    assert (brain_scores(clean, mixed) < 0).mean() > 0.09
    assert (brain_scores(kept, mixed) < 0).mean() <= 0.005
    # Without such slices the border stays where both kinds are equally likely.
    far = fitted(drawn(100, 3, enough=True) * np.r_[np.full(6, 20.0), np.ones(WIDTH - 6)])
    assert float(far.threshold) == 0


def test_the_same_seed_fits_the_same_head_and_moves_no_global_state() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (fitted(drawn(50, 3, enough=True), seed) for seed in (0, 0, 1))
    found = drawn(20, 7, enough=True)
    np.testing.assert_allclose(brain_scores(again, found), brain_scores(first, found), atol=1e-4)
    assert np.abs(brain_scores(other, found) - brain_scores(first, found)).max() > 1e-2
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("counts", [(19, 40, 40), (40, 19, 40), (40, 40, 19)])
def test_too_few_slices_are_refused(counts: tuple[int, int, int]) -> None:
    enough, little, placing = counts
    statistics = np.ones((enough + little, WIDTH))
    with pytest.raises(DataError, match=f"got {enough}, {little} and {placing}"):
        fit_brain_head(statistics, np.arange(enough + little) < enough, np.ones(enough + little),
                       np.ones((placing, WIDTH)), 0)  # fmt: skip


def test_its_file_brings_it_back(tmp_path: Path) -> None:
    head = fitted(drawn(50, 3, enough=True))
    write_weights(head, tmp_path / "brain_detector.pt")
    back = brain_head_from_state(read_weights(tmp_path / "brain_detector.pt"))
    found = drawn(20, 7, enough=False)
    np.testing.assert_allclose(brain_scores(back, found), brain_scores(head, found), atol=1e-4)
    with pytest.raises(KeyError):
        brain_head_from_state({"weight": torch.zeros(3)})
    with pytest.raises(RuntimeError):
        brain_head_from_state({"centre": torch.zeros(3)})


def test_the_exported_graph_answers_as_network_and_both_heads_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fit, "_STEPS", 5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build("efficient", width=8).eval()
    inputs = probe_inputs(SPEC)
    channels = channels_of(network, inputs)
    assert channels == [[24, 40, 112]]
    own = statistics_of(network, inputs)
    assert own.shape[1] == 2 * (24 + 40 + 112)
    enough, little, placing = (
        drawn(n, n, enough=n != 150, width=own.shape[1]) for n in (300, 150, 100)
    )
    ood = fit_to_statistics(enough, little, placing, 0, channels)
    both = np.concatenate([enough, little])
    head = fit_brain_head(both, np.arange(450) < 300, np.ones(450), placing, 0)
    found = Engine(to_onnx(network, SPEC, ood, head), threads=1).run(inputs)
    assert found.in_domain is not None
    assert found.enough_brain is not None
    np.testing.assert_allclose(found.enough_brain, brain_scores(head, own), atol=1e-3)
    np.testing.assert_allclose(found.in_domain, scores_of(ood, own), atol=1e-3)
    alone = Engine(to_onnx(network, SPEC, brain=head), threads=1)
    assert (alone.has_brain, alone.has_ood, alone.has_map) == (True, False, True)
    np.testing.assert_allclose(alone.run(inputs).logits, found.logits, atol=1e-5)
