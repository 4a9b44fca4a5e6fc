"""Localisation scores on drawn discs with a bright square, whose values are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.models_for_tests import write_tiny_model
from tumorlens.data.manifest import Record
from tumorlens.errors import ConfigError, DataError, ExplanationUnavailableError, ModelNotFoundError
from tumorlens.evaluation.localization.baselines import (
    centre_prior,
    class_map,
    occlusion,
    positive_evidence,
)
from tumorlens.evaluation.localization.cases import Case, read_case, regions, score_map
from tumorlens.evaluation.localization.gallery import draw_case, write_gallery
from tumorlens.evaluation.localization.sanity import (
    cascading_randomisation,
    load_network,
    parity,
    untrained_network,
)
from tumorlens.evaluation.localization.scores import MEASURES, ExplanationScores, explanation_scores
from tumorlens.inference.predictor import Predictor
from tumorlens.models.output import Evidence
from tumorlens.models.registry import ARCHITECTURES

SIDE = 256
LESION = (0.25, 0.5, 0.375, 0.625)
ELSEWHERE = (0.625, 0.375, 0.75, 0.5)


class Brightness(nn.Module):
    """The tiny model file's function in torch: 4 · (mean of 8×8 pixels) - 1, and its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 8, stride=8)
        self.scale = nn.Conv2d(1, 1, 1)

    def forward(self, image: Tensor) -> Evidence:
        evidence = self.scale(self.features(image)).squeeze(1)
        return Evidence(evidence.mean(dim=(1, 2)), evidence)


def brightness(gain: float = 4.0) -> Brightness:
    network = Brightness()
    with torch.no_grad():
        network.features.weight.fill_(1 / 64)
        network.features.bias.zero_()
        network.scale.weight.fill_(gain)
        network.scale.bias.fill_(-1.0)
    return network.eval()


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "tiny", Brightness)


@pytest.fixture(scope="module")
def predictor(tiny_model_path: Path) -> Predictor:
    return Predictor.open(tiny_model_path, threads=1)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """A hit and a miss of one source, a hit of another; one without boxes, one healthy."""
    root = tmp_path_factory.mktemp("drawn")
    picture = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(picture, (SIDE // 2, SIDE // 2), 100, 110, cv2.FILLED)
    cv2.circle(picture, (SIDE // 2, 180), 30, 40, cv2.FILLED)  # else the grey would be the darkest
    cv2.rectangle(picture, (64, 128), (95, 159), 255, cv2.FILLED)
    path = root / "scan.png"
    assert cv2.imwrite(str(path), picture)
    hit = Record("a:hit <1>", path, "a", 1, "glioma", "axial", boxes=(LESION,), group=0)
    return [
        hit,
        replace(hit, key="a:miss", boxes=(ELSEWHERE,), group=1),
        replace(hit, key="b:hit", source="b", group=2),
        replace(hit, key="b:plain", source="b", boxes=None, group=3),
        replace(hit, key="b:healthy", source="b", label=0, group=4),
    ]


@pytest.fixture(scope="module")
def case(records: list[Record], predictor: Predictor) -> Case:
    return read_case(records[0], predictor)


@pytest.fixture(scope="module")
def scores(records: list[Record], predictor: Predictor) -> ExplanationScores:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "tiny", Brightness)
        return explanation_scores(predictor, records, network=brightness(), n_boot=50, occluded=1)


def test_each_map_has_scores_by_source_with_n(scores: ExplanationScores) -> None:
    own = scores.scores["class map"]
    assert {name: values["pointing"].value for name, values in own.items()} == {
        "all": pytest.approx(2 / 3), "a": 0.5, "b": 1.0,
    }  # fmt: skip
    assert {name: values["pointing"].n for name, values in own.items()} == {
        "all": 3, "a": 2, "b": 1,
    }  # fmt: skip
    assert set(own["all"]) == set(MEASURES)
    assert own["all"]["pointing"].low < 2 / 3 < own["all"]["pointing"].high
    assert set(scores.scores) == {
        "class map", "positive evidence", "centre prior", "Grad-CAM", "random weights", "occlusion",
    }  # fmt: skip
    assert scores.scores["occlusion"]["all"]["pointing"].n == 2  # one of each source
    assert scores.scores["centre prior"]["all"]["pointing"].value == 0


def test_checks_that_need_the_network(scores: ExplanationScores) -> None:
    assert scores.skipped == ()
    assert scores.parity is not None
    assert scores.parity.n == 3
    assert scores.parity.logit < 1e-4
    assert scores.parity.map < 1e-4
    assert list(scores.randomised) == ["scale", "features"]
    assert abs(scores.randomised["features"].value) < 0.99


def test_scores_become_json(scores: ExplanationScores) -> None:
    plain = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert plain["maps"]["class map"]["a"]["pointing"]["value"] == 0.5
    assert set(plain["measures"]) == set(MEASURES)


def test_without_a_network_its_checks_are_skipped(
    records: list[Record], predictor: Predictor
) -> None:
    found = explanation_scores(predictor, records[:1], part=None, n_boot=10)
    assert found.parity is None
    assert not {"Grad-CAM", "random weights"} & set(found.scores)
    assert "Grad-CAM" in found.skipped[0]
    assert set(found.scores["class map"]) == {"a"}  # of one source there is no "all" beside it


def test_invalid_input_is_rejected(
    records: list[Record], predictor: Predictor, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="boxes"):
        explanation_scores(predictor, records[3:])
    with pytest.raises(ConfigError, match="give the run that the file was exported from"):
        explanation_scores(predictor, records, network=brightness(gain=4.2))
    mapless = Predictor.open(write_tiny_model(tmp_path / "m.onnx", has_map=False), threads=1)
    with pytest.raises(ExplanationUnavailableError, match="no class map"):
        explanation_scores(mapless, records)
    with pytest.raises(ModelNotFoundError, match=r"weights\.pt"):
        load_network(tmp_path, predictor.card)
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match="not the weights of this network; missing"):
        load_network(tmp_path, predictor.card)


def test_a_network_loads_the_weights_of_its_run(
    predictor: Predictor, tmp_path: Path, case: Case
) -> None:
    torch.save(brightness().state_dict(), tmp_path / "weights.pt")
    found = parity(predictor, load_network(tmp_path, predictor.card), case.inputs[None])
    assert found.logit < 1e-5
    assert found.map < 1e-5
    assert parity(predictor, brightness(5.0), case.inputs[None]).map == pytest.approx(
        float(case.inputs.reshape(8, 8, 8, 8).mean(axis=(1, 3)).max()), abs=1e-4
    )


def test_a_map_on_the_lesion_scores_well_on_every_measure(case: Case) -> None:
    values = score_map(class_map(case), case)
    assert values["pointing"] == values["pointing_15px"] == 1
    assert values["distance"] == 0
    assert 0.5 < values["iou_at_area"] <= 1
    assert values["energy_on_background"] < 0.2
    # The perfect map, and one that is only where it must not be.
    exact = np.zeros((SIDE, SIDE), np.float32)
    exact[128:160, 64:96] = 1
    perfect = score_map(exact, case)
    assert [perfect[name] for name in ("energy_in_box", "iou_at_area", "box_iou")] == [1, 1, 1]
    outside = score_map(case.background.astype(np.float32), case)
    assert outside["energy_on_background"] == 1
    assert outside["energy_in_box"] == outside["energy_on_rim"] == outside["pointing"] == 0
    assert score_map(case.rim.astype(np.float32), case)["energy_on_rim"] == 1


def test_saturated_pixels_are_ranked_by_evidence(case: Case) -> None:
    heat, order = np.zeros((2, SIDE, SIDE), np.float32)
    heat[20:160, 64:96] = 1  # the first in reading order lies above the box
    order[130, 70], order[0, 0] = 5, 9  # the latter is not among the highest
    assert score_map(heat, case)["pointing"] == 0
    assert score_map(heat, case, order)["pointing"] == 1


def test_a_constant_map_is_a_miss(case: Case) -> None:
    values = score_map(np.zeros((SIDE, SIDE), np.float32), case)
    assert values["pointing"] == values["pointing_15px"] == values["energy_in_box"] == 0
    assert values["distance"] == 1


def test_the_rim_is_the_head_s_outer_band() -> None:
    rows, columns = np.mgrid[:200, :200]
    head = (rows - 150) ** 2 + (columns - 100) ** 2 < 80**2  # cut by the picture's lower edge
    background, rim = regions(head, np.array([[0.45, 0.3, 0.55, 0.45]]))
    width = 0.08 * np.sqrt(head.sum())
    depth = 80 - np.hypot(rows - 150, columns - 100)
    free = ~((rows >= 60) & (rows < 90) & (columns >= 90) & (columns < 110))
    near = head & free & (depth < width - 1.5) & (rows < 140)
    assert rim[near].all()
    assert not rim[depth > width + 1.5].any()
    assert not rim[199, 60:140].any()  # the edge cuts through the head: no skull there
    assert not rim[~free].any()
    assert not background[~free].any()
    np.testing.assert_array_equal(background & free, ~head & free)


def test_the_centre_prior_is_a_gaussian_on_the_head(case: Case) -> None:
    heat = centre_prior(case)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    assert abs(row - 128) <= 2
    assert abs(column - 128) <= 2
    # At the head's edge, two standard deviations out, it has fallen to exp(-2).
    assert heat[row, column + 100] == pytest.approx(np.exp(-2), abs=0.02)


def test_positive_evidence_is_the_map_where_it_is_above_neutral(case: Case) -> None:
    heat, spread = positive_evidence(case), case.frame.map_to_image(case.class_map)
    assert heat.min() == 0
    assert (spread < 0).any()
    np.testing.assert_array_equal(heat[spread > 0], spread[spread > 0])


def test_occlusion_is_the_drop_of_the_logit(case: Case, predictor: Predictor) -> None:
    heat = occlusion(predictor)(case)
    top, left = np.unravel_index(int(heat.argmax()), heat.shape)
    assert 64 <= left < 96
    assert 128 <= top < 160
    # The cell (4, 1) covers input rows 28..44 and columns 4..20; the model is linear.
    pixels = case.inputs[0]
    fall = 4 * (pixels[28:44, 4:20] - pixels.mean()).sum() / pixels.size
    centre_x = int(case.frame.x0 + (1 + 0.5) / 8 * case.frame.w)
    centre_y = int(case.frame.y0 + (4 + 0.5) / 8 * case.frame.h)
    assert heat[centre_y, centre_x] == pytest.approx(fall, rel=0.05)


def test_randomisation_cascades_from_the_output(predictor: Predictor) -> None:
    before = torch.random.get_rng_state()
    fresh = untrained_network(predictor.card, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    again = untrained_network(predictor.card, seed=3)
    assert torch.equal(fresh.state_dict()["features.weight"], again.state_dict()["features.weight"])
    network, seen = brightness(), []
    for name, stage in cascading_randomisation(network, fresh):
        kept = torch.equal(stage.state_dict()["features.weight"], network.features.weight)
        seen.append((name, kept))
    assert seen == [("scale", True), ("features", False)]
    assert network.scale.weight.item() == 4  # the network itself is untouched


def test_the_gallery_is_self_contained_and_shows_misses_first(
    records: list[Record], predictor: Predictor, scores: ExplanationScores, tmp_path: Path
) -> None:
    page = tmp_path / "new" / "page.html"
    write_gallery(predictor, records, scores, page, hits=1)
    text = page.read_text()
    assert text.index("Misses: 1 of 1") < text.index("a:miss") < text.index("Hits: 1 of 2")
    assert "default-src 'none'" in text
    assert text.count("src=") == text.count('src="data:image/png;base64,') == 2
    assert "<1>" not in text  # names of files are escaped
    far = round(scores.images["class map"][1].values["distance"] * 256)
    assert f"{far} px off" in text


def test_a_drawn_case_shows_box_and_peak(case: Case) -> None:
    drawn = draw_case(case)
    assert drawn.shape == (SIDE, SIDE, 3)
    assert drawn[128, 70].tolist() == [0, 220, 90]
    row, column = np.unravel_index(int(case.explanation.heatmap.argmax()), (SIDE, SIDE))
    assert drawn[row, column].tolist() == [80, 220, 255]
