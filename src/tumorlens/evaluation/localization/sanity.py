"""Sanity checks that need the torch network: Grad-CAM, weight randomisation, parity."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tumorlens.errors import ConfigError
from tumorlens.evaluation.localization.baselines import MapMethod
from tumorlens.evaluation.localization.cases import Case, HeatMap
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

# A network whose logit differs more than this is not the one in the model file.
_MAX_LOGIT_DIFFERENCE = 0.01


@dataclass(frozen=True)
class Parity:
    """The largest differences between torch and the model file over ``n`` images.

    ``logit`` and ``map`` are absolute differences in logit units.
    """

    logit: float
    map: float
    n: int


def load_network(run_dir: Path, card: ModelCard) -> nn.Module:
    """Return the network that ``card`` describes, with a run folder's weights, in eval mode.

    Raises:
        ModelNotFoundError: The folder has no ``weights.pt``.
        ConfigError: The weights are damaged or of another architecture than the card's, or that is
            unknown.
    """
    network = _build(card)
    load_weights(network, run_dir / "weights.pt")
    return network.eval()


def parity(predictor: Predictor, network: nn.Module, inputs: NDArray[np.float32]) -> Parity:
    """Compare torch and the model file on float32 ``[N, C, S, S]`` in 0..1.

    Without maps their difference is 0; see `Parity`.
    """
    logits, maps, *_ = predictor.infer(inputs)
    with torch.no_grad():
        outputs = network.eval()(torch.from_numpy(inputs))
    logit = float(np.abs(logits - outputs.logit.numpy()).max())
    map_difference = 0.0 if maps is None else float(np.abs(maps - outputs.map.numpy()).max())
    return Parity(logit, map_difference, len(inputs))


def last_stage(network: nn.Module) -> nn.Module:
    """Return the layer that Grad-CAM is usually computed at: the last of the backbone.

    Of an ensemble it is the first member's. Raises `ConfigError` for a network without one.
    """
    network = first_of(network)
    backbone = getattr(network, "backbone", None)
    if backbone is None:
        layer = getattr(network, "features", None)
    else:
        layer = getattr(backbone, "last_stage", None) or backbone.layer4
    if not isinstance(layer, nn.Module):
        raise ConfigError(f"{type(network).__name__} has no last stage to compute Grad-CAM at")
    return layer


def untrained_network(card: ModelCard, seed: int) -> nn.Module:
    """Return the card's network with random weights, without changing torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(card).eval()


def cascading_randomisation(
    network: nn.Module, untrained: nn.Module
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the network with more and more layers replaced by ``untrained``'s, output first.

    Cascading randomisation of Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018. Each
    step is named after the layer it replaces, in every member of an ensemble, with its running
    statistics.
    """
    network = copy.deepcopy(network).eval()
    members = [""]
    if isinstance(network, EvidenceEnsemble):
        members = [MEMBER.format(index) for index in range(len(network.members))]
    for name in reversed(_layers(first_of(network))):
        for member in members:
            random_state = untrained.get_submodule(member + name).state_dict()
            network.get_submodule(member + name).load_state_dict(random_state)
        yield name, network


class NetworkChecks:
    """Runs the checks that need the torch network, image by image.

    Raises `ConfigError` when the network has no last stage.
    """

    def __init__(self, predictor: Predictor, network: nn.Module, seed: int) -> None:
        self.parity = Parity(0.0, 0.0, 0)
        self._predictor = predictor
        self._network = network.eval().float().cpu()
        self._layer = last_stage(self._network)
        self._random = untrained_network(predictor.card, seed)
        self._randomised_cases: list[tuple[NDArray[np.float32], HeatMap]] = []
        self._groups: list[int] = []

    def methods(self) -> dict[str, MapMethod]:
        """Return the baseline maps that torch computes."""
        return {"Grad-CAM": self._grad_cam, "random weights": self._random_map}

    def add(self, case: Case, group: int, *, randomise: bool) -> None:
        """Check one image's parity, and keep it for the weight randomisation if ``randomise``.

        Raises `ConfigError` when the outputs of network and model file differ.
        """
        found = parity(self._predictor, self._network, case.inputs[None])
        if not found.logit <= _MAX_LOGIT_DIFFERENCE:
            raise ConfigError(
                f"the run's network gives {case.record.key} a logit {found.logit:.3g} away "
                "from the model file's; give the run that the file was exported from"
            )
        worst = self.parity
        self.parity = Parity(max(worst.logit, found.logit), max(worst.map, found.map), worst.n + 1)
        if randomise:
            self._randomised_cases.append((case.inputs, case.class_map))
            self._groups.append(group)

    def randomised(self, n_boot: int, seed: int) -> dict[str, Estimate]:
        """Return the rank correlation after each step of the randomisation."""
        return {
            name: mean_estimate(
                [
                    rank_correlation(class_map, _map_of(stage, inputs))
                    for inputs, class_map in self._randomised_cases
                ],
                self._groups,
                n_boot=n_boot,
                seed=seed,
            )
            for name, stage in cascading_randomisation(self._network, self._random)
        }

    def _grad_cam(self, case: Case) -> HeatMap:
        cam = grad_cam(self._network, self._layer, torch.from_numpy(case.inputs[None]))
        return np.maximum(case.frame.map_to_image(cam[0].numpy()), np.float32(0))

    def _random_map(self, case: Case) -> HeatMap:
        class_map = _map_of(self._random, case.inputs)
        card = self._predictor.card
        return to_heatmap(class_map, case.frame, card.temperature, card.bias)


def _build(card: ModelCard) -> nn.Module:
    # Pretrained weights would be replaced anyway, and may not be available on this machine.
    arguments = dict(card.architecture_args)
    if "weights" in arguments:
        arguments["weights"] = None
    return build(card.architecture, **arguments)


@torch.no_grad()
def _map_of(network: nn.Module, inputs: NDArray[np.float32]) -> HeatMap:
    found = network(torch.from_numpy(inputs[None])).map[0].numpy()
    return np.asarray(found, dtype=np.float32)


def _layers(network: nn.Module) -> list[str]:
    """Return the names of the layers with weights, input first; the backbone's one by one."""
    names = []
    for name, child in network.named_children():
        inner = [f"{name}.{each}" for each, _ in child.named_children()]
        names += inner if name == "backbone" else [name]
    return [name for name in names if network.get_submodule(name).state_dict()]
