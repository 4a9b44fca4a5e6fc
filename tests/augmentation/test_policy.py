"""The policy: settings by name, doses by the training's progress, one row of transforms."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from tests.augmentation.images import blobs, heads, seeded
from tumorlens.augmentation.policy import AugmentationPolicy, Intensity, Lesions, Schedule
from tumorlens.augmentation.transform import Batch, Settings
from tumorlens.errors import ConfigError

EVERYTHING = AugmentationPolicy.from_mapping(
    {
        "geometry": {"flip_prob": 0.5, "rotation": 20, "scale": 0.2, "elastic_prob": 0.5},
        "intensity": {each.name: {"prob": 0.5} for each in fields(Intensity)},
        "lesions": {each.name: {"prob": 0.5} for each in fields(Lesions)},
    }
)


def batch(n: int = 8) -> Batch:
    label = (torch.arange(n) % 2 == 0).float()
    lesion = blobs(n) * label.view(-1, 1, 1, 1)
    return Batch(heads(n), lesion, label, torch.ones(n), torch.zeros(n).long())


def test_the_same_generator_gives_the_same_images() -> None:
    transforms = EVERYTHING.transforms(0.5, 64)
    first, second, other = (transforms(batch(), seeded(seed)) for seed in (3, 3, 4))
    for each in fields(Batch):
        assert torch.equal(getattr(first, each.name), getattr(second, each.name)), each.name
    assert not torch.equal(first.image, other.image)


def test_the_global_generator_takes_no_part() -> None:
    transforms = EVERYTHING.transforms(0.5, 64)
    torch.manual_seed(1)
    first = transforms(batch(), seeded()).image
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(transforms(batch(), seeded()).image, first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_everything_at_once_stays_in_range() -> None:
    for seed in range(5):
        done = EVERYTHING.transforms(0.0, 64)(batch(), seeded(seed))
        assert 0 <= done.image.min() <= done.image.max() <= 1
        assert 0 <= done.lesion.min() <= done.lesion.max() <= 1


def test_what_is_off_is_left_out() -> None:
    assert len(AugmentationPolicy().transforms(0.0, 64).transforms) == 1
    assert len(EVERYTHING.transforms(0.0, 64).transforms) == 15


def test_doses_follow_the_training() -> None:
    policy = AugmentationPolicy.from_mapping(
        {
            "intensity": {"invert": {"prob": 0.2, "t2_prob": 0.5}, "rician_noise": {"prob": 0.3}},
            "lesions": {"insertion": {"prob": 0.4}, "removal": {"prob": 0.4}},
            "schedule": {
                "sequence_from": 0.4, "sequence_factor": 2.0, "lesions_reduced_from": 0.8,
            },
        }
    )  # fmt: skip

    def doses(progress: float) -> list[float]:
        now = policy.at(progress)
        lesions, intensity = now.lesions, now.intensity
        return [
            lesions.insertion.prob, intensity.invert.prob, lesions.removal.prob,
            intensity.rician_noise.prob, intensity.invert.t2_prob,
        ]  # fmt: skip

    assert doses(0.39) == pytest.approx([0.4, 0.2, 0.4, 0.3, 0.0])
    assert doses(0.4) == pytest.approx([0.8, 0.4, 0.4, 0.3, 0.5])
    assert doses(0.8) == pytest.approx([0.2, 0.4, 0.1, 0.3, 0.5])
    much = {"intensity": {"invert": {"prob": 0.7}}, "schedule": {"sequence_from": 0.0,
            "sequence_factor": 2.0}}  # fmt: skip
    assert AugmentationPolicy.from_mapping(much).at(0.5).intensity.invert.prob == 1.0


@pytest.mark.parametrize(
    ("initial", "progress", "size"),
    [(0, 0.0, 160), (96, 0.0, 96), (96, 0.29, 96), (96, 0.31, 128), (96, 0.59, 128), (96, 0.6, 160),
     (96, 1.0, 160), (160, 0.0, 160), (200, 0.0, 160), (20, 0.0, 32)],
)  # fmt: skip
def test_the_size_grows_to_the_network_s_own(initial: int, progress: float, size: int) -> None:
    schedule = Schedule(initial_size=initial, full_size_at=0.6)
    assert schedule.size_at(progress, 160) == size


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"swirl": {"prob": 1}}, r"augment: unknown settings \['swirl'\]; known are"),
        ({"intensity": {"swirl": {}}}, r"augment\.intensity: unknown settings \['swirl'\]"),
        ({"intensity": {"invert": 0.5}}, r"augment\.intensity\.invert is 0\.5; give its settings"),
        ({"intensity": {"invert": {"prob": 1.5}}},
         r"augment\.intensity\.invert\.prob is 1\.5; give a probability"),
        ({"lesions": {"crop": {"prob": "often"}}}, r"augment\.lesions\.crop\.prob is 'often'"),
        ({"geometry": {"rotation": None}}, r"augment\.geometry\.rotation is None; give a number"),
        ({"geometry": {"flip_prob": True}}, r"augment\.geometry\.flip_prob is True"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AugmentationPolicy.from_mapping(given)


def test_no_group_has_more_than_ten_settings() -> None:
    for group in (AugmentationPolicy().geometry, Intensity(), Lesions(), Schedule()):
        assert isinstance(group, Settings)
        assert len(fields(group)) <= 10
