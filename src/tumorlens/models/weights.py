"""Weights files: ``name -> tensor`` from safetensors, ONNX or torch, never pickled code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from tumorlens.errors import ConfigError, MissingExtraError, ModelNotFoundError

# The last layer of each network, which may be missing from a file.
_HEADS = ("head.", "backbone.fc.", "fc_model.4.")
_MEMBERS = "members."
MEMBER = _MEMBERS + "{}."
"""Prefix of the parameter names of an ensemble's member, counted from 0."""


def load_network(network: nn.Module, path: Path, member: int = 0) -> list[str]:
    """Initialise a network from a weights file; return the names of parameters not in the file.

    The file is read by :func:`read_weights`: a run's ``weights.pt``, a checkpoint, or a
    ``.safetensors`` with the same names. All tensors must match and none may be missing, with one
    exception: a file without the last layer (``head.*`` of the evidence network and the CNN,
    ``backbone.fc.*`` of a ResNet, ``fc_model.4.*`` of the notebook's network) leaves that layer
    as initialised. On a mismatch nothing is loaded. From an ensemble's file a single network
    loads one member, counted from 0.

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: Not a weights file, or that of another network or of an ensemble without this
            member; the message lists missing, mismatched and unknown tensors.
    """
    given = {name.removeprefix("network."): tensor for name, tensor in read_weights(path).items()}
    wanted = network.state_dict()
    if not any(name.startswith(_MEMBERS) for name in wanted):
        given = _one_member(given, member, path)
    head = [name for name in wanted if name.startswith(_HEADS)]
    fresh = head if not any(name in given for name in head) else []
    mismatches = describe_mismatches(
        given, {name: each for name, each in wanted.items() if name not in fresh}
    )
    if mismatches:
        raise ConfigError(
            f"{path}: not the weights of the configured network; {mismatches}. Choose the model "
            "they were trained with, or load only the backbone (model.arguments.weights)"
        )
    network.load_state_dict(given, strict=False)
    return fresh


def load_weights(network: nn.Module, path: Path) -> None:
    """Load all of a network's weights from a file that :func:`read_weights` reads.

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: Not a weights file, or that of another network; nothing is loaded.
    """
    given = read_weights(path)
    mismatches = describe_mismatches(given, network.state_dict())
    if mismatches:
        raise ConfigError(f"{path}: not the weights of this network; {mismatches}")
    network.load_state_dict(given, strict=False)


def _one_member(given: dict[str, Tensor], member: int, path: Path) -> dict[str, Tensor]:
    """Return the weights of one member of an ensemble; other weights unchanged."""
    if not given or not all(name.startswith(_MEMBERS) for name in given):
        return given
    prefix = MEMBER.format(member)
    weights = {
        name.removeprefix(prefix): each for name, each in given.items() if name.startswith(prefix)
    }
    if not weights:
        count = len({name.split(".")[1] for name in given})
        raise ConfigError(
            f"{path}: an ensemble of {count} networks; there is no number {member + 1}"
        )
    return weights


def describe_mismatches(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Describe which tensors are missing, of another shape or unknown; empty if all match.

    ``num_batches_tracked`` may be missing: it does not affect inference.
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
    problems = (("missing", missing), ("of another shape", shapes), ("unknown", unknown))
    return "; ".join(f"{what}: {_first_three(names)}" for what, names in problems if names)


def _first_three(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read ``name -> tensor`` from ``.safetensors``, ``.onnx``, or a file of ``torch.save``.

    From a training checkpoint, its ``state_dict``; from a TumorLens model file, the network
    (without ``num_batches_tracked`` and the OOD detector).

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: The file is damaged, in torch's format before 1.6, or contains other objects
            than tensors.
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
        others = [str(name) for name in named if str(name) not in tensors]
        raise ConfigError(f"{path}: not only weights; it also contains {others[:3]}")
    return tensors


def is_torch_archive(path: Path) -> bool:
    """Return whether the file is a complete archive written by ``torch.save``.

    For anything else ``torch.load`` assumes its legacy format, with unclear errors.
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
    # Names are those of the exported module (network and OOD detector). Names of 16-bit weights end
    # in .half, of 8-bit weights in .int8 with a separate .scale; both convert to float32 exactly.
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
        raise ConfigError(f"{path}: not written by torch.save, or damaged; download it again")
    unsafe = get_unsafe_globals_in_checkpoint(path)
    if unsafe:
        raise ConfigError(f"{path}: contains pickled code ({', '.join(unsafe)}); not loaded")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path}: not a weights file, or damaged ({error})") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: contains a {type(loaded).__name__}, not named weights")
    return loaded
