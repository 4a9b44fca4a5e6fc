"""Several networks as one: the mean map, whose pooling is the logit; weights in and out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tumorlens.errors import ConfigError
from tumorlens.models.ensemble import EvidenceEnsemble
from tumorlens.models.registry import build
from tumorlens.models.weights import load_network

SMALL = {"width": 8, "k": 3}


def drawn(members: int = 2) -> EvidenceEnsemble:
    """Fresh members of different weights, in evaluation."""
    torch.manual_seed(0)
    network = build("ensemble", members=members, **SMALL)
    assert isinstance(network, EvidenceEnsemble)
    return network.eval()


def pictures() -> Tensor:
    return torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_map_is_the_mean_of_the_members_and_the_logit_its_pooling() -> None:
    network, image = drawn(3), pictures()
    maps = [member(image).map for member in network.members]
    assert not torch.allclose(maps[0], maps[1])
    logit, evidence = network(image)
    assert torch.allclose(evidence, (maps[0] + maps[1] + maps[2]) / 3, atol=1e-6)
    assert torch.allclose(logit, evidence.flatten(1).topk(3).values.mean(1), atol=1e-6)
    mean_of_logits = torch.stack([member(image).logit for member in network.members]).mean(0)
    assert not torch.allclose(logit, mean_of_logits)


@torch.no_grad()
def test_an_ensemble_of_one_equals_its_member() -> None:
    network, image = drawn(1), pictures()
    alone = network.members[0](image)
    assert torch.equal(network(image).map, alone.map)
    assert torch.equal(network(image).logit, alone.logit)


@torch.no_grad()
def test_features_start_with_the_first_member_s() -> None:
    network, image = drawn(), pictures()
    features = network.features(image)
    for own, theirs in zip(network.members[0].features(image), features[:4], strict=True):
        assert torch.equal(own, theirs)
    assert [f.shape[1] for f in features] == [64, 128, 256, 512] * 2
    assert torch.equal(network.answer(features).logit, network(image).logit)


@torch.no_grad()
def test_members_may_have_different_arguments() -> None:
    own = [{"local_contrast": True}, {"instance_norm": True}]
    network = build("ensemble", own=own, **SMALL).eval()
    first, second = network.members  # type: ignore[misc]
    assert first.backbone.conv1.weight.shape[1] == 2
    assert second.backbone.conv1.weight.shape[1] == 1
    assert isinstance(second.backbone.bn1, nn.InstanceNorm2d)
    image = pictures()
    mean = (first(image).map + second(image).map) / 2
    assert torch.allclose(network(image).map, mean, atol=1e-6)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([{}], "own has settings for 1 of 2 members"),
        ([{}, {"stride": 4}], "differ in stride or pooling"),
        ([{}, {"k": 4}], "differ in stride or pooling"),
        ([{"pooling": "mean"}, {}], "differ in stride or pooling"),
        ([{}, {"none_such": 1}], "none_such"),
    ],
)
def test_incompatible_members_are_refused(own: list[dict], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("ensemble", own=own, **SMALL)


@pytest.mark.parametrize("members", [0, -1, 1.5, True, "two"])
def test_an_invalid_number_of_members_is_refused(members: object) -> None:
    with pytest.raises(ConfigError, match="give an integer of at least 1"):
        build("ensemble", members=members)


def test_arguments_of_members_are_checked() -> None:
    with pytest.raises(ConfigError, match="stride is 16"):
        build("ensemble", stride=16)
    with pytest.raises(ConfigError, match="none_such"):
        build("ensemble", none_such=1)


def test_a_single_network_starts_from_the_first_member(tmp_path: Path) -> None:
    ensemble = drawn()
    torch.save(ensemble.state_dict(), tmp_path / "weights.pt")
    single = build("evidence", **SMALL)
    assert load_network(single, tmp_path / "weights.pt") == []
    first = ensemble.members[0].state_dict()
    assert all(torch.equal(each, first[name]) for name, each in single.state_dict().items())
    again = build("ensemble", **SMALL)
    assert load_network(again, tmp_path / "weights.pt") == []
    whole = ensemble.state_dict()
    assert all(torch.equal(each, whole[name]) for name, each in again.state_dict().items())


def test_a_single_network_is_not_an_ensemble(tmp_path: Path) -> None:
    torch.save(build("evidence", **SMALL).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match="not the weights of the configured network"):
        load_network(build("ensemble", **SMALL), tmp_path / "weights.pt")


def test_gradients_reach_every_member() -> None:
    network = drawn().train()
    network(pictures()).logit.sum().backward()
    for member in network.members:
        head = member.head
        assert isinstance(head, nn.Conv2d)
        assert head.weight.grad is not None
        assert float(head.weight.grad.abs().max()) > 0
