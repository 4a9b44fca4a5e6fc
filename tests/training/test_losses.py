"""Losses: values worked out by hand, signs of slopes, and who takes part."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tumorlens.models.output import MapPooling, PoolingKind
from tumorlens.runs.config import LossConfig
from tumorlens.training.losses import cell_targets, image_loss, map_loss

LN2 = math.log(2)


@pytest.mark.parametrize(
    ("logits", "labels", "settings", "expected"),
    [
        ([0.0], [1], {}, LN2),
        ([0.0, 0.0], [0, 1], {}, LN2),
        ([2.0], [1], {}, 0.126928),  # log(1 + e^-2)
        ([2.0], [0], {}, 2.126928),
        ([2.0, -1.0], [1, 0], {}, (0.126928 + 0.313262) / 2),
        ([0.0, 0.0], [1, 0], {"positive_weight": 3.0}, 2 * LN2),  # (3 + 1) / 2
        ([2.0], [1], {"label_smoothing": 0.1}, 0.226928),  # 0.95·0.1269 + 0.05·2.1269
        ([2.0], [0], {"label_smoothing": 0.1}, 2.026928),
        ([200.0, -200.0], [0, 1], {}, 200.0),  # no overflow
    ],
)
def test_the_image_loss(
    logits: list[float], labels: list[int], settings: dict[str, float], expected: float
) -> None:
    loss = image_loss(torch.tensor(logits), torch.tensor(labels).float(), LossConfig(**settings))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_each_logit_is_pulled_to_its_label() -> None:
    logits = torch.tensor([-1.0, 0.5, 2.0, 0.0], requires_grad=True)
    image_loss(logits, torch.tensor([1.0, 1.0, 0.0, 0.0]), LossConfig()).backward()
    assert logits.grad is not None
    assert logits.grad.sign().tolist() == [-1, -1, 1, 1]


def lesion_of(*cells: tuple[int, int], side: int = 16, cell: int = 4) -> Tensor:
    picture = torch.zeros(1, 1, side, side)
    for row, column in cells:
        picture[..., row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 1
    return picture


@pytest.mark.parametrize(
    ("fill", "is_lesion", "is_clear"),
    [
        (lambda p: None, 0, 16),
        (lambda p: p[..., 0:4, 0:4].fill_(1), 1, 15),
        (lambda p: p[..., 0:4, 0:6].fill_(1), 2, 14),  # half of the second cell: lesion
        (lambda p: p[..., 0:4, 0:5].fill_(1), 1, 14),  # a quarter of it: takes no part
        (lambda p: p[..., 0:4, 0:4].fill_(0.5), 0, 15),  # only unsure: takes no part
        (lambda p: p[..., 0:1, 0:1].fill_(0.5), 0, 16),  # a sixteenth of it unsure: clear
        (lambda p: p[..., 1:3, 1:3].fill_(1), 1, 15),  # smaller than a cell marks its cell
        (lambda p: p.fill_(1), 16, 0),
    ],
)
def test_cells_are_lesion_clear_or_neither(fill: Any, is_lesion: int, is_clear: int) -> None:
    picture = torch.zeros(1, 1, 16, 16)
    fill(picture)
    inside, clear = cell_targets(picture, (4, 4))
    assert (int(inside.sum()), int(clear.sum())) == (is_lesion, is_clear)
    assert not (inside & clear).any()


def test_the_cells_loss_by_hand() -> None:
    evidence = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])
    lesion = lesion_of((0, 0), side=8)
    given = (MapPooling("mean"), LossConfig(cell_bce=1.0))
    tumour, known = torch.ones(1), torch.ones(1)
    # One lesion cell at 2 and three clear cells at 0: softplus(-2) + softplus(0).
    loss = map_loss(evidence, lesion, tumour, known, *given)
    assert loss.item() == pytest.approx(0.126928 + LN2, rel=1e-5)
    # The same map of a healthy head: every cell is clear.
    loss = map_loss(evidence, torch.zeros_like(lesion), torch.zeros(1), known, *given)
    assert loss.item() == pytest.approx((2.126928 + 3 * LN2) / 4, rel=1e-5)
    # Of 12 × 12 cells with one lesion in the corner the three beside it weigh as much as the rest.
    wide = torch.zeros(1, 12, 12)
    wide[0, :2, :2] = 2.0
    far = map_loss(wide, lesion_of((0, 0), side=48), tumour, known, *given)
    assert far.item() == pytest.approx(0.126928 + (2.126928 + LN2) / 2, rel=1e-5)
    half = map_loss(evidence, lesion, tumour, known, MapPooling("mean"), LossConfig(cell_bce=0.5))
    assert half.item() == pytest.approx((0.126928 + LN2) / 2, rel=1e-5)


def test_the_place_loss_by_hand() -> None:
    evidence = torch.tensor([[[2.0, -1.0], [-1.0, -1.0]]])
    loss = map_loss(
        evidence,
        lesion_of((0, 0), side=8),
        torch.ones(1),
        torch.ones(1),
        MapPooling("topk", k=1),
        LossConfig(localization=1.0),
    )
    # The highest clear cell is -1, the highest other cell is 2.
    assert loss.item() == pytest.approx(0.313262 + 0.126928, rel=1e-5)


def test_a_lesion_of_few_cells_need_not_fill_the_pooling() -> None:
    evidence = torch.full((1, 4, 4), -1.0)
    evidence[0, 0, 0] = 2.0
    given = (torch.ones(1), torch.ones(1), MapPooling("topk", k=3), LossConfig(localization=1.0))
    loss = map_loss(evidence, lesion_of((0, 0)), *given)
    assert loss.item() == pytest.approx(0.313262 + 0.126928, rel=1e-5)


@pytest.mark.parametrize("kind", ["mean", "topk"])
def test_evidence_is_pulled_into_the_lesion(kind: PoolingKind) -> None:
    evidence = torch.zeros(2, 4, 4, requires_grad=True)
    lesion = torch.cat([lesion_of((1, 2)), lesion_of()])
    pooling = MapPooling(kind, k=16)
    spec = LossConfig(cell_bce=0.5, localization=0.5)
    map_loss(evidence, lesion, torch.tensor([1.0, 0.0]), torch.ones(2), pooling, spec).backward()
    assert evidence.grad is not None
    up = evidence.grad < 0  # descent raises these cells
    assert torch.nonzero(up).tolist() == [[0, 1, 2]]
    assert (evidence.grad[1] > 0).all()


@pytest.mark.parametrize(
    "spec", [LossConfig(cell_bce=1.0), LossConfig(localization=1.0, cell_bce=1.0)]
)
def test_tumours_without_a_place_take_no_part(spec: LossConfig) -> None:
    pooling = MapPooling("topk", k=2)
    evidence = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    evidence.requires_grad_()
    lesion = torch.cat([lesion_of((0, 1)), lesion_of(), lesion_of()])
    label, annotated = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 1.0])
    loss = map_loss(evidence, lesion, label, annotated, pooling, spec)
    loss.backward()
    assert evidence.grad is not None
    assert not evidence.grad[1].any()
    assert evidence.grad[0].any()
    assert evidence.grad[2].any()
    known = [0, 2]
    alone = map_loss(evidence[known], lesion[known], label[known], annotated[known], pooling, spec)
    assert loss.item() == pytest.approx(alone.item())


def test_a_batch_without_any_known_place_costs_nothing() -> None:
    evidence = torch.ones(2, 4, 4, requires_grad=True)
    none = torch.zeros(2)
    lesion = torch.zeros(2, 1, 16, 16)
    loss = map_loss(
        evidence, lesion, torch.ones(2), none, MapPooling("mean"), LossConfig(cell_bce=1)
    )
    assert loss.item() == 0


def test_a_lesion_that_fills_the_picture_has_a_finite_loss() -> None:
    evidence = torch.zeros(1, 4, 4, requires_grad=True)
    loss = map_loss(
        evidence,
        torch.ones(1, 1, 16, 16),
        torch.ones(1),
        torch.ones(1),
        MapPooling("topk", k=6),
        LossConfig(cell_bce=1.0, localization=1.0),
    )
    loss.backward()
    assert math.isfinite(loss.item())
    assert evidence.grad is not None
    assert (evidence.grad < 0).any()
    assert (evidence.grad <= 0).all()
