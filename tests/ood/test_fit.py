"""The OOD head: what it computes, that it is fitted, survives its file, and is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.errors import DataError, ExportError, ModelNotFoundError
from tumorlens.export.onnx import probe_inputs, to_onnx, write_weights
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.inference.engine import Engine
from tumorlens.modelfile import OodDetector, write_model
from tumorlens.models.registry import build
from tumorlens.models.weights import read_weights
from tumorlens.ood import fit as ood_fit
from tumorlens.ood import sampling
from tumorlens.ood.detector import OodHead, feature_statistics, head_from_state
from tumorlens.ood.fit import (
    MAX_REFUSED_SHARE,
    Scans,
    fit_ood_head,
    fit_to_statistics,
    has_features,
    scores_of,
    statistics_of,
)
from tumorlens.ood.sampling import (
    augmented_negatives,
    positives,
    synthetic_negative,
    synthetic_negatives,
)
from tumorlens.workflows.reexport import reexport

SPEC = PreprocessSpec(size=64)
CHANNELS = [64, 128, 256, 512]
WIDTH = 2 * sum(CHANNELS)


def generated_statistics(n: int, seed: int, shift: float = 0.0) -> NDArray[np.float64]:
    """Log-normal statistics that few hidden causes move together, as a network's are."""
    mixing = np.random.default_rng(0).standard_normal((8, WIDTH))
    g = np.random.default_rng(seed)
    causes, own = g.standard_normal((n, 8)), g.standard_normal((n, WIDTH))
    return np.exp(0.3 * causes @ mixing / 3 + (0.1 + shift) * own)


@pytest.fixture(scope="module")
def head() -> OodHead:
    scans, negatives = generated_statistics(500, 1), generated_statistics(300, 2, shift=0.15)
    return fit_to_statistics(scans, negatives, generated_statistics(400, 3), 0, [CHANNELS])


def test_statistics_are_means_and_deviations_of_every_channel() -> None:
    first = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]], [[5.0, 5.0], [5.0, 5.0]]]])
    second = torch.tensor([[[[0.0, 0.0], [0.0, 8.0]]]])
    found = feature_statistics([first, second])
    assert found.tolist()[0] == pytest.approx([2, 5, 1, 0, 2, 12**0.5], abs=1e-4)


def test_it_keeps_scans_and_refuses_what_is_far_from_them(head: OodHead) -> None:
    assert (scores_of(head, generated_statistics(400, 3)) < 0).mean() <= MAX_REFUSED_SHARE
    assert (scores_of(head, generated_statistics(400, 4)) < 0).mean() <= 0.05
    assert (scores_of(head, generated_statistics(300, 5, shift=0.15)) < 0).mean() >= 0.99
    # Far from scans in another way than the negatives of the fit: every channel dead.
    assert (scores_of(head, np.zeros((3, WIDTH))) < 0).all()


def test_the_same_seed_fits_the_same_head_and_moves_no_global_state(
    head: OodHead,
) -> None:
    state = torch.random.get_rng_state()
    again = fit_to_statistics(
        generated_statistics(500, 1),
        generated_statistics(300, 2, 0.15),
        generated_statistics(400, 3),
        seed=0,
        channels=[CHANNELS],
    )
    found = generated_statistics(20, 6)
    np.testing.assert_allclose(scores_of(again, found), scores_of(head, found), atol=1e-4)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_its_classifier_is_the_mean_of_five_trained_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def noted(*arguments: Any) -> Any:
        trained.append(train_one(*arguments).eval())
        return trained[-1]

    train_one = ood_fit._trained_classifier
    monkeypatch.setattr(ood_fit, "_trained_classifier", noted)
    monkeypatch.setattr(ood_fit, "_STEPS", 20)
    head = fit_to_statistics(
        generated_statistics(200, 1),
        generated_statistics(100, 2, 0.15),
        generated_statistics(100, 3),
        seed=0,
        channels=[CHANNELS],
    )
    assert len(trained) == 5
    with torch.no_grad():
        member = head.members[0]
        statistics = torch.tensor(generated_statistics(20, 6), dtype=torch.float32)
        inputs, _ = member.classifier_inputs(statistics)
        own = torch.stack([network(inputs) for network in trained])
        assert own.std(dim=0).min() > 0
        # Its weights are rounded to 16 bits.
        assert torch.allclose(member.classifier(inputs), own.mean(dim=0), atol=2e-3)


def test_of_an_ensemble_the_score_is_the_mean_of_its_members_scores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ood_fit, "_STEPS", 20)
    sets = [
        [generated_statistics(n, seed + 10 * member, shift) for member in range(2)]
        for n, seed, shift in ((200, 1, 0), (100, 2, 0.15), (100, 3, 0), (20, 4, 0))
    ]
    scans, negatives, placing, found = (np.concatenate(each, axis=1) for each in sets)
    both = fit_to_statistics(scans, negatives, placing, 0, [CHANNELS] * 2)
    own = [
        fit_to_statistics(*(each[at] for each in sets[:3]), seed=0, channels=[CHANNELS])
        for at in range(2)
    ]
    each = [scores_of(g, sets[3][at]) + float(g.threshold) for at, g in enumerate(own)]
    assert np.abs(each[0] - each[1]).max() > 0.1
    mean = scores_of(both, found) + float(both.threshold)
    np.testing.assert_allclose(mean, np.mean(each, axis=0), atol=1e-3)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build("ensemble", members=2, width=8).eval()
    write_weights(both, tmp_path / "ood_detector.pt")
    back = head_from_state(read_weights(tmp_path / "ood_detector.pt"))
    inputs = probe_inputs(SPEC)
    scores = Engine(to_onnx(network, SPEC, back), threads=1).run(inputs).in_domain
    assert scores is not None
    np.testing.assert_allclose(scores, scores_of(both, statistics_of(network, inputs)), atol=1e-3)


def test_held_out_and_training_scans_choose_its_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    counted: list[object] = []

    def fit(
        scans: object, negatives: object, for_threshold: np.ndarray, seed: int, channels: object
    ) -> None:
        counted.append(channels)
        seen.append([len(for_threshold), *sorted(set(for_threshold[:, 0, 0, 0].tolist()))])

    monkeypatch.setattr(ood_fit, "fit_to_statistics", fit)
    monkeypatch.setattr(ood_fit, "statistics_of", lambda network, inputs: inputs)
    monkeypatch.setattr(ood_fit, "N_SYNTHETIC_NEGATIVES", 2)
    monkeypatch.setattr(ood_fit, "_TRAIN_FOR_THRESHOLD", 30)
    train, held_out = (
        Scans(np.full((60, 1, 64, 64), fill, np.float32), ["a"] * 60) for fill in (0, 1)
    )
    fit_ood_head(build("ensemble", members=2, width=8), train, held_out, SPEC)
    fit_ood_head(build("evidence", width=8), train, held_out, SPEC)
    assert seen == [[90, 0, 1]] * 2
    assert counted == [[CHANNELS] * 2, [CHANNELS]]


def test_its_file_brings_it_back(head: OodHead, tmp_path: Path) -> None:
    write_weights(head, tmp_path / "ood_detector.pt")
    back = head_from_state(read_weights(tmp_path / "ood_detector.pt"))
    found = generated_statistics(20, 7)
    # Where tensors lie in memory decides the last bits of a product.
    np.testing.assert_allclose(scores_of(back, found), scores_of(head, found), atol=1e-3)
    for name, tensor in head.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


def test_the_exported_graph_answers_as_network_and_head_do(head: OodHead) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build("evidence", width=8).eval()
    onnx_bytes = to_onnx(network, SPEC, head)  # refuses a difference above 1e-4
    inputs = probe_inputs(SPEC)
    logits, maps, scores, *_ = Engine(onnx_bytes, threads=1).run(inputs)
    assert maps is not None
    assert scores is not None
    np.testing.assert_allclose(scores, scores_of(head, statistics_of(network, inputs)), atol=1e-3)
    with torch.no_grad():
        answer = network(torch.from_numpy(inputs))
    np.testing.assert_allclose(logits, answer.logit.numpy(), atol=1e-4)


def test_synthetic_negatives_repeat_by_seed_and_are_of_many_kinds() -> None:
    scan = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    first, again = (synthetic_negatives(6, [scan], SPEC, 3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, synthetic_negatives(6, [scan], SPEC, 4))
    assert first.shape == (6, 1, 64, 64)
    assert first.min() >= 0
    assert first.max() <= 1 + 1e-6
    kinds = set()
    for seed in range(240):
        kind, image = synthetic_negative(np.random.default_rng(seed), [scan])
        kinds.add(kind)
        assert image.dtype == np.uint8
        assert min(image.shape) >= 48
        assert image.max() <= 255
    known = (*sampling.NATURAL, *sampling.RADIOLOGY, *sampling.MODALITIES)
    assert kinds == {*known, "disassembled MRI"}


def test_rare_strata_are_sampled_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_phantoms", lambda spec: np.zeros((0, 1, 64, 64), np.float32))
    inputs = np.zeros((1000, 1, 64, 64), np.float32)
    inputs[:20] += 0.5  # the rare stratum, 2 % of all
    strata = ["rare"] * 20 + ["common"] * 980
    chosen = positives(inputs, strata, 120, SPEC, seed=0)
    assert chosen.shape == (120, 1, 64, 64)
    # Every third is as it was; one in fifty by chance, here one in eight.
    assert 3 <= np.count_nonzero(chosen[::3, 0, 0, 0] == 0.5) <= 8


def test_one_scan_in_six_is_skull_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_augmented", lambda inputs, g, seed: inputs)
    heads = [preprocess(draw_phantom(n % 4, lesion=False).image, SPEC) for n in range(240)]
    inputs = np.stack(heads)
    found = positives(inputs, ["alike"] * 240, 240, SPEC, seed=1)[:240]
    changed = (found != inputs).any(axis=(1, 2, 3))
    assert 20 <= changed.sum() <= 60
    assert np.median((found[changed] > 0).mean(axis=(1, 2, 3))) < np.median(
        (inputs[changed] > 0).mean(axis=(1, 2, 3))
    )


def test_scans_and_negatives_get_a_frame_or_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    head = preprocess(draw_phantom(0, lesion=False).image, SPEC)
    middle, corner = head[0, 24:40, 24:40].mean(), head[0, :4, :4].max()
    assert corner < 0.1
    framed = np.stack([head] * 40)
    for seed, image in enumerate(framed):
        sampling._add_frame(np.random.default_rng(seed), image)
    changed = (framed > 0.35) & (head < 0.1)
    assert (changed.any(axis=(1, 2, 3))).mean() > 0.9
    # The page reaches the corner, where a frame alone does not.
    assert 0.2 < (framed[:, 0, 0, 0] > 0.35).mean() < 0.8
    kept = framed[:, 0, 24:40, 24:40].mean(axis=(1, 2))  # the head is where it was, smaller
    np.testing.assert_allclose(kept, middle, atol=0.2)
    black = np.zeros((1, 64, 64), np.float32)
    sampling._add_frame(np.random.default_rng(0), black)
    assert not black.any()
    drawn = []
    for share in (0.0, 2.0):  # negatives get a frame half as often
        monkeypatch.setattr(sampling, "_FRAME_PROB", share)
        drawn.append(synthetic_negative(np.random.default_rng(3), [])[1])
    assert drawn[1].dtype == np.uint8
    assert drawn[1].shape == drawn[0].shape
    assert (drawn[1] != drawn[0]).any()


def test_networks_without_features_and_too_few_scans_are_refused() -> None:
    assert has_features(build("evidence", width=8))
    assert not has_features(build("cnn", widths=[4]))
    few = Scans(np.zeros((10, 1, 64, 64), np.float32), ["x"] * 10)
    with pytest.raises(DataError, match="needs 50 training scans"):
        fit_ood_head(build("evidence", width=8), few, few, SPEC)


def test_a_run_whose_detector_is_lost_is_not_exported_without_it(tmp_path: Path) -> None:
    network, onnx_bytes = build("cnn", widths=[4]), tiny_onnx(ood=1.0)
    detector = OodDetector(method="by distance", n_mri=1, n_negatives=1)
    card = tiny_card(
        onnx_bytes, architecture="cnn", architecture_args={"widths": [4]}, ood=detector
    )
    write_model(onnx_bytes, card, tmp_path / "model.onnx")
    write_weights(network, tmp_path / "weights.pt")
    with pytest.raises(ModelNotFoundError, match=r"ood_detector\.pt: no such weights file"):
        reexport(tmp_path, tmp_path / "out.onnx")
    write_weights(network, tmp_path / "ood_detector.pt")
    with pytest.raises(ExportError, match=r"ood_detector\.pt: not the weights of an OOD detector"):
        reexport(tmp_path, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_real_negatives_are_copied_and_augmented() -> None:
    negatives = probe_inputs(SPEC)[:3]
    made = augmented_negatives(negatives, 4, seed=0)
    assert made.shape == (12, *negatives.shape[1:])
    assert np.array_equal(made, augmented_negatives(negatives, 4, seed=0))
    assert made.min() >= 0
    assert made.max() <= 1
    same = [any(np.array_equal(one, image) for image in negatives) for one in made]
    assert sum(same) == 4  # a third stays as it is


def test_real_negatives_join_the_synthetic_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def fit(
        scans: object, negatives: np.ndarray, for_threshold: object, seed: int, channels: object
    ) -> None:
        seen.append(len(negatives))

    monkeypatch.setattr("tumorlens.ood.fit.fit_to_statistics", fit)
    monkeypatch.setattr("tumorlens.ood.fit.statistics_of", lambda network, inputs: inputs)
    monkeypatch.setattr("tumorlens.ood.fit.channels_of", lambda network, inputs: [[1]])
    monkeypatch.setattr("tumorlens.ood.fit.N_SYNTHETIC_NEGATIVES", 5)
    scans = Scans(np.repeat(probe_inputs(SPEC)[:1], 60, axis=0), ["a"] * 60)
    for extra in (None, np.zeros((0, 1, 64, 64), np.float32), probe_inputs(SPEC)[:2]):
        fit_ood_head(torch.nn.Identity(), scans, scans, SPEC, 0, extra)
    assert seen == [5, 5, 5 + 2 * 6]
