"""What only the torch network can tell: Grad-CAM, random weights, randomised layers, parity."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tumorlens.errors import ConfigError
from tumorlens.evaluation.localization.baselines import MapMethod
from tumorlens.evaluation.localization.cases import Case, Heat
from tumorlens.inference.overlay import to_heatmap
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.localization import rank_correlation
from tumorlens.metrics.shares import mean_estimate
from tumorlens.modelfile import ModelCard
from tumorlens.models.ensemble import EvidenceEnsemble, first_of
from tumorlens.models.gradcam import grad_cam
from tumorlens.models.registry import build
from tumorlens.models.weights import MEMBER, load_weights

# A network whose logit is further off than this is not the one in the file.
_SAME = 0.01


@dataclass(frozen=True)
class Parity:
    """The largest differences between torch and the model file over ``n`` real images.

    ``logit`` and ``map`` are absolute, in logit units.
    """

    logit: float
    map: float
    n: int


def load_network(run_dir: Path, card: ModelCard) -> nn.Module:
    """Return the network that ``card`` describes with the weights of a run folder, to evaluate.

    Raises:
        ModelNotFoundError: The folder has no ``weights.pt``.
        ConfigError: It is damaged or does not fit the card's architecture, or that is unknown.
    """
    network = _fresh(card)
    load_weights(network, run_dir / "weights.pt")
    return network.eval()


def parity(predictor: Predictor, network: nn.Module, inputs: NDArray[np.float32]) -> Parity:
    """Compare torch and the model file on float32 ``[N, C, S, S]`` in 0..1.

    A map counts as equal when neither has one; see `Parity`.
    """
    logits, maps, _ = predictor.infer(inputs)
    with torch.no_grad():
        ours = network.eval()(torch.from_numpy(inputs))
    worst = float(np.abs(logits - ours.logit.numpy()).max())
    apart = 0.0 if maps is None else float(np.abs(maps - ours.map.numpy()).max())
    return Parity(worst, apart, len(inputs))


def last_stage(network: nn.Module) -> nn.Module:
    """Return the layer that Grad-CAM is customarily taken at: the last of the backbone.

    Of an ensemble it is the first member's. Raises `ConfigError` for a network that has none.
    """
    network = first_of(network)
    backbone = getattr(network, "backbone", None)
    layer = getattr(network, "features", None) if backbone is None else backbone.layer4
    if not isinstance(layer, nn.Module):
        raise ConfigError(f"{type(network).__name__} has no last stage to take Grad-CAM at")
    return layer


def random_network(card: ModelCard, seed: int) -> nn.Module:
    """Return the card's architecture with fresh weights; torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _fresh(card).eval()


def randomised_from_above(network: nn.Module, fresh: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the network with ever more layers replaced by ``fresh``'s, from the output down.

    The cascading randomisation of Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
    A step is named after the layer that it adds, which it adds in every member of an ensemble;
    running statistics are replaced as well.
    """
    network = copy.deepcopy(network).eval()
    members = [""]
    if isinstance(network, EvidenceEnsemble):
        members = [MEMBER.format(at) for at in range(len(network.members))]
    for name in reversed(_layers(first_of(network))):
        for member in members:
            theirs = fresh.get_submodule(member + name).state_dict()
            network.get_submodule(member + name).load_state_dict(theirs)
        yield name, network


class NetworkTests:
    """Collects, image by image, what needs the torch network.

    Raises `ConfigError` when the network has no last stage.
    """

    def __init__(self, predictor: Predictor, network: nn.Module, seed: int) -> None:
        self.parity = Parity(0.0, 0.0, 0)
        self._predictor = predictor
        self._network = network.eval().float().cpu()
        self._layer = last_stage(self._network)
        self._random = random_network(predictor.card, seed)
        self._kept: list[tuple[NDArray[np.float32], Heat]] = []
        self._groups: list[int] = []

    def methods(self) -> dict[str, MapMethod]:
        """Return the baselines that are made by torch."""
        return {"Grad-CAM": self._grad_cam, "random weights": self._random_map}

    def add(self, case: Case, group: int, *, randomise: bool) -> None:
        """Take one image's parity, and its share of the weight randomisation when asked.

        Raises `ConfigError` when the network gives other outputs than the model file.
        """
        found = parity(self._predictor, self._network, case.inputs[None])
        if not found.logit <= _SAME:
            raise ConfigError(
                f"the run's network gives {case.record.key} a logit {found.logit:.3g} away "
                "from the model file's; give the run that the file came from"
            )
        known = self.parity
        self.parity = replace(
            known,
            logit=max(known.logit, found.logit),
            map=max(known.map, found.map),
            n=known.n + 1,
        )
        if randomise:
            self._kept.append((case.inputs, case.class_map))
            self._groups.append(group)

    def randomised(self, n_boot: int, seed: int) -> dict[str, Estimate]:
        """Return the rank correlation after each step of the randomisation."""
        return {
            name: mean_estimate(
                [rank_correlation(seen, _map_of(stage, inputs)) for inputs, seen in self._kept],
                self._groups,
                n_boot=n_boot,
                seed=seed,
            )
            for name, stage in randomised_from_above(self._network, self._random)
        }

    def _grad_cam(self, case: Case) -> Heat:
        cam = grad_cam(self._network, self._layer, torch.from_numpy(case.inputs[None]))
        return np.maximum(case.frame.map_to_image(cam[0].numpy()), np.float32(0))

    def _random_map(self, case: Case) -> Heat:
        drawn = _map_of(self._random, case.inputs)
        return to_heatmap(drawn, case.frame, self._predictor.card.temperature)


def _fresh(card: ModelCard) -> nn.Module:
    # The weights to start from need not be on this machine; the run's replace them.
    start = {"weights": None} if "weights" in card.architecture_args else {}
    return build(card.architecture, **(card.architecture_args | start))


@torch.no_grad()
def _map_of(network: nn.Module, inputs: NDArray[np.float32]) -> Heat:
    found = network(torch.from_numpy(inputs[None])).map[0].numpy()
    return np.asarray(found, dtype=np.float32)


def _layers(network: nn.Module) -> list[str]:
    """Return the names of layers that hold weights, the backbone's one by one, input first."""
    names = []
    for name, child in network.named_children():
        inner = [f"{name}.{each}" for each, _ in child.named_children()]
        names += inner if name == "backbone" else [name]
    return [name for name in names if network.get_submodule(name).state_dict()]
