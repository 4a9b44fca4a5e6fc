"""Weights of several trainings from one start, averaged: one network as good as many at once."""

from __future__ import annotations

import copy
from pathlib import Path

import structlog
import torch
from omegaconf import DictConfig, ListConfig
from torch import nn

from tumorlens.errors import ConfigError
from tumorlens.models.weights import load_network
from tumorlens.training.parts import Parts
from tumorlens.training.start import init_path, noted, refuse_leaks, sha256_of

log = structlog.get_logger(__name__)


def soup_paths(config: DictConfig) -> list[Path]:
    """Return the files of weights that ``config.soup`` names, in its order.

    Raises:
        ConfigError: It is no list.
        ModelNotFoundError: A file does not exist.
    """
    named = config.get("soup") or []
    if not isinstance(named, list | ListConfig):
        raise ConfigError(f"soup is {named!r}; give a list of run folders: soup=[runs/A,runs/B]")
    return [init_path(str(each), "soup") for each in named]


def note_soup(config: DictConfig) -> None:
    """Set ``config.averaged_with`` to name and SHA-256 of the files that join the average.

    None where there are none. Raises as `soup_paths` and, where one cannot be read, `ConfigError`.
    """
    found = [noted(path) for path in soup_paths(config)]
    config.averaged_with = found or None


def check_soup(network: nn.Module, config: DictConfig, parts: Parts) -> None:
    """Refuse, before anything is trained, weights that misfit or have seen held-out scans.

    Raises:
        ConfigError: A file is of another network, or lacks its last layer.
        LeakageError: As `check_start` says of ``init``.
    """
    for path in soup_paths(config):
        _load(copy.deepcopy(network), path)
        refuse_leaks("soup", path, parts)


def average_with_soup(network: nn.Module, config: DictConfig) -> None:
    """Average a trained network's weights with those of ``config.soup``, equal parts, in place.

    Trainings from one start end in one basin, where the mean of their weights answers about as
    the mean of their answers would, at the price of one (a uniform soup: Wortsman et al., Model
    soups, ICML 2022). Statistics of batch normalisation are averaged too, counters are not.

    Raises:
        ConfigError: A file is not the one that `note_soup` has hashed, or misfits.
        ModelNotFoundError: A file is gone.
    """
    paths = soup_paths(config)
    if not paths:
        return
    state = network.state_dict()
    sums = {name: each.double() for name, each in state.items() if each.is_floating_point()}
    for path, known in zip(paths, config.averaged_with, strict=True):
        if sha256_of(path) != known.sha256:
            raise ConfigError(f"soup: {path} was changed while the run was under way")
        other = copy.deepcopy(network)
        _load(other, path)
        for name, tensor in other.state_dict().items():
            if name in sums:
                sums[name] += tensor.double()
    with torch.no_grad():
        for name, total in sums.items():
            state[name].copy_(total / (len(paths) + 1))
    log.info("weights averaged", trainings=len(paths) + 1)


def _load(network: nn.Module, path: Path) -> None:
    """Load weights that must hold every layer, the last one included."""
    fresh = load_network(network, path)
    if fresh:
        raise ConfigError(f"soup: {path} lacks the last layer ({', '.join(fresh)})")
