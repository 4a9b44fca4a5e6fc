"""Initial weights of a run: located and hashed first, loaded later, and checked for leakage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog
from torch import nn

from tumorlens.data.splits import GROUPING_VERSION, read_split
from tumorlens.errors import ConfigError, LeakageError, ModelNotFoundError
from tumorlens.inference.default_model import find_model
from tumorlens.models.efficientnet import backbone_path
from tumorlens.models.hub import origin
from tumorlens.models.weights import load_network
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import RunFolder
from tumorlens.runs.provenance import WeightsFile, sha256_of, weights_file
from tumorlens.training.decoding import Parts

log = structlog.get_logger(__name__)

PACKAGED = "packaged"


def init_path(init: str, setting: str = "init") -> Path:
    """Return the file of weights that ``init``, the value of ``setting``, refers to.

    A run folder stands for its ``weights.pt``, ``packaged`` for the default model of
    `Predictor.open`.

    Raises:
        ModelNotFoundError: The file does not exist.
    """
    if init == PACKAGED:
        return find_model(None)
    path = Path(init).expanduser()
    if path.is_dir():
        path = RunFolder(path).weights
    if not path.is_file():
        raise ModelNotFoundError(
            f"{setting}: {path} does not exist; give a run folder, its weights.pt, a model "
            f"file, a .safetensors file, or {PACKAGED}"
        )
    return path


def starting_weights(config: RunConfig) -> Mapping[str, WeightsFile] | None:
    """Return name and SHA-256 of the initial weights, or None for random ones.

    ``init`` is for the whole network, ``backbone`` the file of ``model.arguments.weights``, which
    is downloaded from the Hub if necessary. Called before a run writes its settings, so that run
    folder, cross-validation plan and model card agree.

    Raises:
        ModelNotFoundError: ``init`` or the backbone's file does not exist.
        ConfigError: It cannot be read.
        DownloadError: It cannot be downloaded from the Hub.
    """
    started = {}
    backbone = config.model.arguments.get("weights")
    if backbone is not None:
        path = backbone_path(str(backbone))
        if not path.is_file():
            raise ModelNotFoundError(
                f"model.arguments.weights: {path} does not exist; give a file, hf:owner/repository "
                "of the Hub, or a name such as resnet18.a1_in1k"
            )
        started["backbone"] = weights_file(path, origin(str(backbone), path))
    if config.init is not None:
        started["init"] = weights_file(init_path(config.init))
    return started or None


def load_start(
    network: nn.Module, config: RunConfig, started_from: Mapping[str, WeightsFile] | None = None
) -> None:
    """Load the weights that ``config.init`` names, if any, into the network.

    From an ensemble, a single network takes the member ``config.init_member``.

    Raises:
        ModelNotFoundError: ``init`` names no file.
        ConfigError: It does not fit the network, or its hash differs from ``started_from``.
    """
    if config.init is None:
        return
    path = init_path(config.init)
    if started_from is not None and started_from["init"].sha256 != sha256_of(path):
        raise ConfigError(f"init: {path} was changed while the run was in progress; start it again")
    fresh = load_network(network, path, config.init_member)
    log.info("initial weights loaded", file=path.name, random=fresh or None)


def check_start(config: RunConfig, parts: Parts) -> None:
    """Refuse starting weights that have learnt from scans this run is to be measured on.

    Looks at the ``split.json`` beside ``init``; weights without one say nothing of their past.
    A group of near-duplicates counts as seen when one of its scans does. A split that
    says in its name that it leaks is left alone.

    Raises:
        LeakageError: Naming part and scans, and how to do better.
    """
    if config.init is not None:
        refuse_leaks("init", init_path(config.init), parts)


def refuse_leaks(setting: str, weights: Path, parts: Parts) -> None:
    """Do what `check_start` does for one file of weights, which ``setting`` has named."""
    if "leaky" in parts.split.name:
        return
    beside = RunFolder(weights.parent).split
    if not beside.is_file():
        log.warning(f"no split.json beside {setting}: its training scans are unknown")
        return
    trained_on = set(read_split(beside).train)
    # Groups of another grouping version do not match: there only the scan itself counts.
    whole_groups = parts.split.grouping == GROUPING_VERSION
    seen = {
        record.group if whole_groups else record.key
        for members in parts.records.values()
        for record in members
        if record.key in trained_on
    }
    for part in ("test", "calibration", "validation"):
        leaks = [
            record.key
            for record in parts.records.get(part, [])
            if (record.group if whole_groups else record.key) in seen
        ]
        if leaks:
            raise LeakageError(
                f"{setting}: the run it comes from was trained on {len(leaks)} of the "
                f"{len(parts.records[part])} scans of this run's {part} part, or on "
                f"near-duplicates of them, such as {leaks[0]}; its metrics would be optimistically "
                "biased. Start from a run trained without this source (data.split.held_out), or, "
                f"with the same sources, use its split (data.split.path={beside})"
            )
