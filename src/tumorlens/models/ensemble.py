"""Several default networks as one: the class map is the mean of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tumorlens.errors import ConfigError
from tumorlens.models.evidence import EvidenceNet
from tumorlens.models.output import Evidence, MapPooling


class EvidenceEnsemble(nn.Module):
    """Default networks of different trainings, their class maps averaged and then pooled.

    Trainings that started apart err apart, on scans of other origin above all, and the mean of
    their answers errs less than they do on average (Lakshminarayanan et al., Simple and scalable
    predictive uncertainty estimation using deep ensembles, NeurIPS 2017). Averaged are the maps,
    not the logits, so that the logit is still a pooling of the map that is shown.

    Args:
        members: How many networks, from 1.
        own: For each member, what it has instead of ``arguments``; None where all are alike.
        arguments: Of each, see :class:`~tumorlens.models.evidence.EvidenceNet`.

    Takes and returns what a member does, in the members' time together. Raises `ConfigError` for
    another number of members, for members whose maps differ in size or pooling, and what a member
    raises.
    """

    def __init__(
        self,
        members: int = 2,
        own: Sequence[Mapping[str, Any]] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        if isinstance(members, bool) or not isinstance(members, int) or members < 1:
            raise ConfigError(f"members is {members!r}; give a whole number from 1")
        each = [{}] * members if own is None else list(own)
        if len(each) != members:
            raise ConfigError(f"own has settings for {len(each)} of {members} members")
        built = [EvidenceNet(**{**arguments, **theirs}) for theirs in each]
        if any(_kind_of_map(one) != _kind_of_map(built[0]) for one in built):
            raise ConfigError("members differ in stride or pooling; their maps have no mean")
        self.members = nn.ModuleList(built)

    @property
    def pooling(self) -> MapPooling:
        """How the mean map becomes the logit: as every member's would."""
        return self._member(0).pooling

    def forward(self, image: Tensor) -> Evidence:
        """Return the logit and the class map."""
        return self.answer(self.features(image))

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the four stages of the first member, then those of each other."""
        return [
            stage for at in range(len(self.members)) for stage in self._member(at).features(image)
        ]

    def answer(self, features: list[Tensor]) -> Evidence:
        """Return the logit and the class map of what `features` has returned."""
        count = len(features) // len(self.members)
        maps = [
            self._member(at).evidence(features[at * count : (at + 1) * count])
            for at in range(len(self.members))
        ]
        mean = torch.stack(maps).mean(dim=0)
        return Evidence(self.pooling(mean), mean)

    def _member(self, at: int) -> EvidenceNet:
        member = self.members[at]
        assert isinstance(member, EvidenceNet)
        return member


def _kind_of_map(member: EvidenceNet) -> tuple[int, dict[str, Any]]:
    return len(member.lateral), member.pooling.describe()


def first_of(network: nn.Module) -> nn.Module:
    """Return an ensemble's first member; any other network as it is."""
    return network.members[0] if isinstance(network, EvidenceEnsemble) else network
