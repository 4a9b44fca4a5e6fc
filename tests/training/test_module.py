"""Optimiser, schedule and the two steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DistributedSampler

from tumorlens.augmentation.geometry import RandAffineElastic
from tumorlens.augmentation.intensity import RandInvert, RandRicianNoise
from tumorlens.augmentation.lesions import RandLesionInsertion
from tumorlens.augmentation.policy import AugmentationPolicy, Intensity, Lesions
from tumorlens.errors import ConfigError
from tumorlens.models.registry import build
from tumorlens.runs.config import LossConfig, OptimizerConfig
from tumorlens.training.module import (
    Classifier,
    in_order,
    learning_rate_factor,
)

COSINE = OptimizerConfig(schedule="cosine")
CONSTANT = OptimizerConfig()
WARM = OptimizerConfig(schedule="cosine", warmup=0.1)
OFF = AugmentationPolicy()


@pytest.mark.parametrize(
    ("spec", "step", "expected"),
    [
        (CONSTANT, 0, 1.0),
        (CONSTANT, 99, 1.0),
        (COSINE, 0, 1.0),
        (COSINE, 50, 0.505),
        (COSINE, 100, 0.01),
        (COSINE, 130, 0.01),  # past the end it stays
        (WARM, 0, 0.1),
        (WARM, 4, 0.5),
        (WARM, 9, 1.0),
        (WARM, 10, 1.0),
        (WARM, 55, 0.505),
        (WARM, 100, 0.01),
        (OptimizerConfig(warmup=0.1), 4, 0.5),
        (OptimizerConfig(warmup=0.1), 50, 1.0),
    ],
)
def test_the_schedule(spec: OptimizerConfig, step: int, expected: float) -> None:
    assert learning_rate_factor(step, 100, spec) == pytest.approx(expected)


class Head(nn.Module):
    """A backbone of one layer, a norm and a head: enough for parameter groups."""

    pooling = None

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Conv2d(2, 1, 1)

    def forward(self, image: Tensor) -> Any:
        cells = self.head(self.norm(self.backbone(image))).squeeze(1)
        return SimpleNamespace(logit=cells.mean(dim=(1, 2)), map=None)


def classifier(network: nn.Module | None = None, **settings: Any) -> Classifier:
    given: dict[str, Any] = {
        "loss": LossConfig(),
        "optimizer": CONSTANT,
        "augmentation": OFF,
        "seed": 0,
    }
    return Classifier(network or Head(), **({"seed": 0} | given | settings))


def groups_of(module: Classifier) -> list[tuple[float, float, set[str]]]:
    """Rate, decay and names of each group."""
    configured: Any = module.configure_optimizers()
    names = {id(parameter): name for name, parameter in module.network.named_parameters()}
    return [
        (round(group["lr"], 9), group["weight_decay"], {names[id(p)] for p in group["params"]})
        for group in configured["optimizer"].param_groups
    ]


def test_weight_decay_spares_biases_and_norms_and_the_backbone_has_its_rate() -> None:
    spec = OptimizerConfig(lr=0.01, weight_decay=0.05, backbone_lr=0.1)
    assert groups_of(classifier(optimizer=spec)) == [
        (0.001, 0.05, {"backbone.weight"}),
        (0.001, 0.0, {"backbone.bias"}),
        (0.01, 0.0, {"norm.weight", "norm.bias", "head.bias"}),
        (0.01, 0.05, {"head.weight"}),
    ]


def test_a_frozen_backbone_keeps_its_statistics() -> None:
    class Normed(Head):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))

    for backbone_lr, moves in ((0.0, False), (0.1, True)):
        module = classifier(Normed(), optimizer=OptimizerConfig(backbone_lr=backbone_lr))
        quiet(module)
        mean = module.network.backbone[1].running_mean.clone()  # type: ignore[index,union-attr]
        module.train()
        module.on_train_epoch_start()
        module.training_step(batch(), 0)
        after = module.network.backbone[1].running_mean  # type: ignore[index,union-attr]
        assert torch.equal(mean, after) != moves
        assert module.network.norm.training  # type: ignore[union-attr]
        assert not torch.equal(module.network.norm.running_mean, torch.zeros(2))  # type: ignore[union-attr,arg-type]


def test_a_network_without_a_backbone_cannot_freeze_one() -> None:
    module = classifier(build("cnn", widths=[4]), optimizer=OptimizerConfig(backbone_lr=0.0))
    with pytest.raises(ConfigError, match="no backbone"):
        module.configure_optimizers()


@pytest.mark.parametrize(("count", "world"), [(7, 2), (8, 2), (5, 3), (2, 4)])
def test_shares_of_several_processes_are_put_in_order(count: int, world: int) -> None:
    shares = [
        list(DistributedSampler(range(count), world, rank, shuffle=False)) for rank in range(world)
    ]
    assert {len(share) for share in shares} == {-(-count // world)}
    gathered = torch.tensor(shares)
    assert in_order(gathered, count).tolist() == list(range(count))
    assert in_order(torch.arange(4), None).tolist() == [0, 1, 2, 3]


def test_a_frozen_backbone_is_not_trained() -> None:
    module = classifier(optimizer=OptimizerConfig(lr=0.1, backbone_lr=0))
    names = set().union(*(names for _, _, names in groups_of(module)))
    assert names == {"head.weight", "head.bias", "norm.weight", "norm.bias"}
    assert not module.network.backbone.weight.requires_grad  # type: ignore[union-attr]
    assert module.network.head.weight.requires_grad  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_optimisers_by_name(name: Any, kind: type) -> None:
    configured: Any = classifier(optimizer=OptimizerConfig(name=name)).configure_optimizers()
    assert type(configured["optimizer"]) is kind


def batch(n: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(n, 1, 32, 32, generator=generator),
        "label": (torch.arange(n) % 2).float(),
        "lesion": torch.zeros(n, 1, 32, 32),
        "annotated": torch.ones(n),
        "view": torch.zeros(n, dtype=torch.int64),
    }


def quiet(module: Classifier) -> dict[str, Any]:
    """Collect what the module logs, outside a trainer."""
    logged: dict[str, Any] = {}
    module.log = lambda name, value, **_: logged.update(
        {name: float(torch.as_tensor(value).detach())}
    )  # type: ignore[method-assign,assignment]
    module.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign,assignment]
    module.all_gather = lambda tensors: tensors  # type: ignore[method-assign,assignment]
    return logged


def test_validation_never_augments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    network = Head().eval()
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    strong = AugmentationPolicy(
        geometry=RandAffineElastic(flip_prob=1.0, rotation=30),
        intensity=Intensity(invert=RandInvert(prob=1.0), rician_noise=RandRicianNoise(prob=1.0)),
        lesions=Lesions(insertion=RandLesionInsertion(prob=1.0)),
    )
    module = classifier(network, augmentation=strong)
    logged = quiet(module)

    def fail(*_: object) -> None:
        raise AssertionError("augmentation outside training")

    with monkeypatch.context() as patch:
        patch.setattr("tumorlens.training.module.augmented", fail)
        with torch.no_grad():
            module.validation_step(batch(), 0)
            module.on_validation_epoch_end()
    assert torch.equal(seen[0], batch()["image"])
    assert set(logged) == {"val/loss", "val/accuracy", "val/balanced_accuracy", "val/roc_auc"}
    module.training_step(batch(), 0)
    assert not torch.allclose(seen[1], batch()["image"], atol=0.1)


def test_a_batch_that_a_worker_has_augmented_is_taken_as_it_is() -> None:
    seen: list[Tensor] = []
    network = Head()
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    flipped = AugmentationPolicy(geometry=RandAffineElastic(flip_prob=1.0, rotation=30))
    module = classifier(network, augmentation=flipped)
    quiet(module)
    done = {name: values for name, values in batch().items() if name != "view"}
    module.training_step(done, 0)
    assert torch.equal(seen[0], done["image"])


def test_validation_metrics_are_those_of_all_batches() -> None:
    class Told(nn.Module):
        pooling = None

        def forward(self, image: Tensor) -> Any:
            return SimpleNamespace(logit=image[:, 0, 0, 0], map=None)

    module = classifier(Told())
    logged = quiet(module)
    for logits, labels in (([2.0, -2.0], [1.0, 0.0]), ([-2.0, 3.0], [1.0, 1.0])):
        image = torch.tensor(logits).view(2, 1, 1, 1)
        module.validation_step({"image": image, "label": torch.tensor(labels)}, 0)
    module.on_validation_epoch_end()
    assert logged["val/accuracy"] == 0.75
    assert logged["val/balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert logged["val/roc_auc"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert logged["val/loss"] == pytest.approx((0.126928 * 2 + 2.126928 + 0.048587) / 4, rel=1e-4)
    module.validation_step({"image": torch.ones(1, 1, 1, 1), "label": torch.ones(1)}, 0)
    module.on_validation_epoch_end()  # the second epoch starts anew, and one class has no AUC
    assert logged["val/accuracy"] == 1.0


def test_a_step_is_seeded_by_its_place_in_the_run() -> None:
    policy = AugmentationPolicy(
        geometry=RandAffineElastic(rotation=20),
        intensity=Intensity(rician_noise=RandRicianNoise(prob=1.0)),
    )
    module = classifier(Head().eval(), augmentation=policy)
    quiet(module)
    losses = [float(module.training_step(batch(), at).detach()) for at in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    other = classifier(module.network, augmentation=policy, seed=1)
    quiet(other)
    assert float(other.training_step(batch(), 0).detach()) != losses[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(value: float) -> None:
    module = classifier(loss=LossConfig(positive_weight=value))
    quiet(module)
    with pytest.raises(ConfigError, match=r"epoch 0, batch 3.*optimizer\.lr"):
        module.training_step(batch(), 3)


def test_the_map_s_loss_is_added_where_there_is_a_map() -> None:
    network = build("cnn", widths=[4])
    for loss, parts in ((LossConfig(), 1), (LossConfig(cell_bce=0.5), 2)):
        module = classifier(network.eval(), loss=loss)
        logged = quiet(module)
        total = float(module.training_step(batch(), 0).detach())
        named = [logged[name] for name in ("train/image_loss", "train/map_loss") if name in logged]
        assert len(named) == parts
        assert total == pytest.approx(sum(named))
