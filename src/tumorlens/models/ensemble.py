"""An ensemble of default networks, averaged at the class map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tumorlens.errors import ConfigError
from tumorlens.models.evidence import EvidenceNet
from tumorlens.models.output import Evidence, MapPooling


class EvidenceEnsemble(nn.Module):
    """Independently trained default networks; their class maps are averaged, then pooled.

    Independently trained networks make different errors, above all on external sets, and their
    mean errs less than they do on average (Lakshminarayanan et al., Simple and scalable
    predictive uncertainty estimation using deep ensembles, NeurIPS 2017). The maps are averaged
    rather than the logits, so that the logit is still a pooling of the map that is shown.

    Args:
        members: Number of networks, at least 1.
        own: For each member, arguments that override ``arguments``; None: none.
        arguments: Of all members, see :class:`~tumorlens.models.evidence.EvidenceNet`.

    Inputs and outputs are those of a member. Raises `ConfigError` for a wrong number of members,
    for members whose maps differ in size or pooling, and whatever a member raises.
    """

    def __init__(
        self,
        members: int = 2,
        own: Sequence[Mapping[str, Any]] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        if isinstance(members, bool) or not isinstance(members, int) or members < 1:
            raise ConfigError(f"members is {members!r}; give an integer of at least 1")
        overrides = [{}] * members if own is None else list(own)
        if len(overrides) != members:
            raise ConfigError(f"own has settings for {len(overrides)} of {members} members")
        networks = [EvidenceNet(**{**arguments, **each}) for each in overrides]
        if any(_map_format(each) != _map_format(networks[0]) for each in networks):
            raise ConfigError("members differ in stride or pooling; their maps cannot be averaged")
        self.members = nn.ModuleList(networks)

    @property
    def pooling(self) -> MapPooling:
        """The pooling of the mean map, the same as of every member."""
        return self._member(0).pooling

    def forward(self, image: Tensor) -> Evidence:
        """Return the logit and the class map."""
        return self.answer(self.features(image))

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the four stages of the first member, then those of the other members."""
        return [
            stage for at in range(len(self.members)) for stage in self._member(at).features(image)
        ]

    def answer(self, features: list[Tensor]) -> Evidence:
        """Return the logit and the class map from the output of `features`."""
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


def _map_format(member: EvidenceNet) -> tuple[int, dict[str, Any]]:
    return len(member.lateral), member.pooling.describe()


def first_of(network: nn.Module) -> nn.Module:
    """Return an ensemble's first member; any other network unchanged."""
    return network.members[0] if isinstance(network, EvidenceEnsemble) else network
