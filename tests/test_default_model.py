"""The model in the package: whole, small, ours, and honest about itself."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from tumorlens import Predictor
from tumorlens.data.label_issues import label_issue_of
from tumorlens.data.sources import load_source
from tumorlens.evaluation.corruptions import page
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.default_model import find_model

# Metrics that the card must give for scans held out of training, with n and interval.
PROMISED = {"roc_auc", "sensitivity", "specificity", "balanced_accuracy"}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.open(threads=1)


def test_the_file_is_small_and_tells_nothing_of_where_it_was_made() -> None:
    content = find_model(None).read_bytes()
    assert len(content) <= 6 * 10**6
    assert not re.search(rb"site-packages|stack_trace|/home/|\.py\"", content)


def test_the_card_says_how_it_was_made_and_measured(predictor: Predictor) -> None:
    card = predictor.card
    assert card.has_map
    assert card.pooling is not None
    assert card.recipe["seed"] == 0
    assert card.recipe["data"]["split"]["kind"] == "grouped"
    measured = {metric.name: metric for metric in card.metrics if metric.split == "test"}
    assert set(measured) >= PROMISED
    assert all(measured[name].n > 500 for name in PROMISED)
    rounding = 1e-12  # the interval of a source of one group has no width
    assert all(m.low - rounding <= m.value <= m.high + rounding for m in card.metrics)
    # Where its map lies, each sequence, and what it says of other lesions and of clear slices.
    assert "pointing" in {metric.name for metric in card.metrics}
    splits = {metric.split for metric in card.metrics}
    named = ("T1", "T1C", "T2", "FLAIR", "clear", "other_lesion")
    assert {f"test/{name}" for name in named} <= splits
    assert card.brain is not None
    assert any("without contrast" in line for line in card.limitations)
    # Nothing from scans that weights, temperature or threshold were fitted on; validation's are
    # learnt from.
    assert card.recipe["data"]["split"]["learn_validation"]
    assert {metric.split.partition("/")[0] for metric in card.metrics} == {"test"}
    licences = {source.source: source.licence for source in card.data}
    assert licences.pop("cheng2017") == "CC-BY-4.0"
    assert len(licences) > 40
    assert not any(licence.startswith("unknown") for licence in licences.values())


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_drawn_lesion_raises_the_answer_and_lights_the_map(
    predictor: Predictor, plane: str
) -> None:
    # Drawn heads are no MRI, so only the direction is asked for: the same head, with and without,
    # in logits over six heads: one without a lesion may be called a tumour more surely than
    # with it.
    rises, lit = [], []
    for seed in range(6):
        with_lesion = draw_phantom(seed, lesion=True, plane=plane)  # type: ignore[arg-type]
        without = draw_phantom(seed, lesion=False, plane=plane)  # type: ignore[arg-type]
        seen = predictor.explain(with_lesion.image)
        rises.append(logit(seen.prediction.prob) - logit(predictor.predict(without.image).prob))
        inside, outside = seen.heatmap[with_lesion.mask], seen.heatmap[~with_lesion.mask]
        lit.append(inside.mean() > 2 * outside.mean())
    assert np.median(rises) > 2
    assert sum(rise > 0 for rise in rises) >= 5
    assert sum(lit) >= 5


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_head_on_a_page_is_answered_as_the_head_alone(predictor: Predictor, plane: str) -> None:
    for seed in range(3):
        head = draw_phantom(seed, lesion=True, plane=plane).image  # type: ignore[arg-type]
        alone = predictor.predict(head)
        for breadth in (5, 15, 50):
            paper = page(head, breadth, np.random.default_rng(seed))
            answer = predictor.predict(paper)
            assert answer.in_domain, answer.in_domain_reason
            assert logit(answer.prob) == pytest.approx(logit(alone.prob), abs=2.5)


@pytest.mark.real
@pytest.mark.slow
def test_every_image_of_the_first_set_gets_an_answer(predictor: Predictor, data_root: Path) -> None:
    folder = data_root / "brain_tumor_dataset"
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    answers = list(predictor.predict_many(paths))
    assert len(answers) == len(paths) == 253
    assert all(0 <= answer.prob <= 1 for answer in answers)
    # An abdomen and a CT slice may be refused, and one per cent of the others.
    hashed = [replace(record, sha256=sha256(record.path.read_bytes()).hexdigest())
              for record in load_source(folder)]  # fmt: skip
    not_mri = {each.path.resolve() for each in hashed if label_issue_of(each) == "not_mri"}
    refused = [path.resolve() for path, answer in zip(paths, answers, strict=True)
               if not answer.in_domain]  # fmt: skip
    assert len(not_mri) == 2
    assert len(set(refused) - not_mri) <= 2
