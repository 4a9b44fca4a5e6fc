"""Files of weights: flat ``name -> tensor``, from safetensors or from torch, never pickled code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from tumorlens.errors import ConfigError, MissingExtraError, ModelNotFoundError

# The last layer of each network, which a file may leave out.
_HEADS = ("head.", "backbone.fc.", "fc_model.4.")
_MEMBERS = "members."
MEMBER = _MEMBERS + "{}."
"""What the names of the weights of an ensemble's member start with, counted from 0."""


def load_network(network: nn.Module, path: Path, member: int = 0) -> list[str]:
    """Start a whole network from a file of weights; return the names of what was left fresh.

    The file is what :func:`read_weights` reads: a run's ``weights.pt``, a checkpoint, or a
    ``.safetensors`` with the same names. Every tensor of it must fit, and none may be missing,
    with one exception: a file without any tensor of the last layer (``head.*`` of the evidence
    network and the CNN, ``backbone.fc.*`` of a ResNet, ``fc_model.4.*`` of the notebook's
    network) leaves that layer as it is, freshly drawn. Nothing is loaded when anything misfits.
    Of an ensemble's file a single network takes one member, counted from 0.

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: Not a file of weights, of another network, or of an ensemble without this
            member; the message names what is missing, misshapen and unknown.
    """
    given = {name.removeprefix("network."): tensor for name, tensor in read_weights(path).items()}
    wanted = network.state_dict()
    if not any(name.startswith(_MEMBERS) for name in wanted):
        given = _one_member(given, member, path)
    head = [name for name in wanted if name.startswith(_HEADS)]
    fresh = head if not any(name in given for name in head) else []
    told = misfits(given, {name: each for name, each in wanted.items() if name not in fresh})
    if told:
        raise ConfigError(
            f"{path}: weights of another network than the configured one; {told}. Choose the "
            "model they were trained with, or start the backbone alone (model.arguments.weights)"
        )
    network.load_state_dict(given, strict=False)
    return fresh


def load_weights(network: nn.Module, path: Path) -> None:
    """Load all of a network's weights from a file that :func:`read_weights` reads.

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: Not a file of weights, or of another network; nothing is loaded.
    """
    given = read_weights(path)
    told = misfits(given, network.state_dict())
    if told:
        raise ConfigError(f"{path}: not the weights of this network; {told}")
    network.load_state_dict(given, strict=False)


def _one_member(given: dict[str, Tensor], member: int, path: Path) -> dict[str, Tensor]:
    """Return the weights of an ensemble's member under its own names; others' as given."""
    if not given or not all(name.startswith(_MEMBERS) for name in given):
        return given
    own = MEMBER.format(member)
    found = {name.removeprefix(own): given[name] for name in given if name.startswith(own)}
    if not found:
        count = len({name.split(".")[1] for name in given})
        raise ConfigError(f"{path}: an ensemble of {count} networks; it has no number {member + 1}")
    return found


def misfits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Say which tensors are missing, misshapen or unknown; empty when all fit.

    Counters of batches may be missing: some writers leave them out, and they do not change the
    function.
    """
    missing = [
        name for name in wanted if name not in given and not name.endswith("num_batches_tracked")
    ]
    shapes = [
        f"{name} {list(tensor.shape)}, not {list(wanted[name].shape)}"
        for name, tensor in given.items()
        if name in wanted and wanted[name].shape != tensor.shape
    ]
    unknown = [name for name in given if name not in wanted]
    found = (("missing", missing), ("misshapen", shapes), ("unknown", unknown))
    return "; ".join(f"{what}: {_few(names)}" for what, names in found if names)


def _few(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read ``name -> tensor`` from ``.safetensors``, ``.onnx``, or a file of ``torch.save``.

    A training checkpoint gives its ``state_dict``, one of our model files the network's weights
    (without counters of batches, and without the OOD detector's).

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: The file is damaged, of torch's format before 1.6, or holds more than
            tensors.
        MissingExtraError: A ``.safetensors`` or ``.onnx`` file, and its package is not installed.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"{path}: no such weights file")
    readers = {".safetensors": _read_safetensors, ".onnx": _read_model_file}
    loaded = readers.get(path.suffix, _read_torch)(path)
    nested = loaded.get("state_dict")
    named: dict[Any, Any] = nested if isinstance(nested, dict) else loaded
    tensors = {str(name): each for name, each in named.items() if isinstance(each, Tensor)}
    if len(tensors) < len(named):
        strangers = [str(name) for name in named if str(name) not in tensors]
        raise ConfigError(f"{path}: not a file of weights alone; also holds {strangers[:3]}")
    return tensors


def is_torch_archive(path: Path) -> bool:
    """Whether the file is a whole archive of ``torch.save``.

    Anything else torch would take for its format of 2018, and fail in ways of its own.
    """
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return any(name.endswith("/data.pkl") for name in archive.namelist())


def _read_safetensors(path: Path) -> dict[Any, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtraError(f"reading {path.name}", "train") from error
    try:
        return dict(load_file(str(path)))
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: not a safetensors file, or damaged ({error})") from error


def _read_model_file(path: Path) -> dict[Any, Any]:
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtraError(f"reading {path.name}", "train") from error
    try:
        graph = onnx.load_from_string(path.read_bytes()).graph
    except (OSError, DecodeError, ValueError) as error:
        raise ConfigError(f"{path}: not a model file, or damaged ({error})") from error
    # Names are those of the exported module: the network, and the OOD detector. Weights stored
    # in 16 bits end in .half, those in 8 bits in .int8 with their .scale beside them; the values of
    # both are exact in 32.
    stored = {
        each.name: torch.tensor(numpy_helper.to_array(each)).float()
        for each in graph.initializer
        if each.name.startswith("network.")
    }
    scales = {name: stored.pop(name) for name in list(stored) if name.endswith(".scale")}
    for name in [name for name in stored if name.endswith(".int8")]:
        plain = name.removesuffix(".int8")
        stored[plain] = stored.pop(name) * scales[f"{plain}.scale"]
    return {name.removesuffix(".half"): tensor for name, tensor in stored.items()}


def _read_torch(path: Path) -> dict[Any, Any]:
    if not is_torch_archive(path):
        raise ConfigError(f"{path}: not a file of torch.save, or damaged; download it again")
    foreign = get_unsafe_globals_in_checkpoint(path)
    if foreign:
        raise ConfigError(f"{path}: holds more than weights ({', '.join(foreign)}); not loaded")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path}: not a file of weights, or damaged ({error})") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: holds a {type(loaded).__name__}, not named weights")
    return loaded
