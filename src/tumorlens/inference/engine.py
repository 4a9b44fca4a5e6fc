"""The ONNX session: float32 batches in, logits and class maps out. No pixels, no labels."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from tumorlens.errors import ConfigError, InputError, ModelDamagedError, ModelFileError

Provider = Literal["cpu", "cuda"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# onnxruntime's exceptions share no base of their own; this is the family it registers.
_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    _state.EPFail,
    _state.EngineError,
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidGraph,
    _state.InvalidProtobuf,
    _state.NoModel,
    _state.NotImplemented,
    _state.RuntimeException,
)


class Engine:
    """An ONNX model ready to run. Several threads may call `run` at once.

    Args:
        onnx_bytes: The model; input ``image`` float32 ``[N, C, H, W]``, outputs ``logit``
            float32 ``[N]`` and, in some models, ``map`` float32 ``[N, h, w]``.
        threads: Threads one run may use; ``None`` takes every core this process may use.
        provider: ``cpu``, or ``cuda`` (needs the onnxruntime-gpu package).

    Raises:
        ModelDamagedError: The runtime refuses the graph, or it has other inputs or outputs.
        ConfigError: The provider is unknown or absent, or ``threads`` is below 1.
    """

    def __init__(
        self, onnx_bytes: bytes, *, threads: int | None = None, provider: Provider = "cpu"
    ) -> None:
        self.threads = _thread_count(threads)
        self.provider = provider
        options = onnxruntime.SessionOptions()
        # Set even when it is the default: the runtime would pin its own choice of threads to
        # cores, which fails noisily where a container lends only some of them.
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: they come as exceptions as well
        try:
            self._session = onnxruntime.InferenceSession(
                onnx_bytes, options, providers=_provider_list(provider)
            )
        except _RUNTIME_ERRORS as error:
            raise ModelDamagedError(f"the ONNX runtime refuses the model: {error}") from error
        self.has_map = self._check_signature()

    def run(
        self, batch: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Run a batch float32 ``[N, C, H, W]``.

        Returns logits float32 ``[N]`` and class maps float32 ``[N, h, w]`` in logit units, or
        ``None`` when the model has no map. Raises `InputError` for another dtype or rank, and
        `ModelFileError` when the runtime fails.
        """
        if batch.dtype != np.float32 or batch.ndim != 4:
            raise InputError(
                f"the network takes float32 [N, C, H, W], not {batch.dtype} {list(batch.shape)}"
            )
        names = ["logit", "map"] if self.has_map else ["logit"]
        try:
            outputs = self._session.run(names, {"image": batch})
        except _RUNTIME_ERRORS as error:
            raise ModelFileError(f"the ONNX runtime failed on this model: {error}") from error
        return outputs[0], outputs[1] if self.has_map else None

    def _check_signature(self) -> bool:
        inputs = {node.name: _rank(node) for node in self._session.get_inputs()}
        outputs = {node.name: _rank(node) for node in self._session.get_outputs()}
        wanted = {"logit": 1} | ({"map": 3} if "map" in outputs else {})
        if inputs != {"image": 4} or outputs != wanted:
            raise ModelDamagedError(
                f"the graph has inputs {inputs} and outputs {outputs} (name: rank); "
                "expected image: 4 in, logit: 1 and perhaps map: 3 out"
            )
        return "map" in outputs


def _rank(node: Any) -> int:
    return len(node.shape)


def _thread_count(threads: int | None) -> int:
    if threads is None:
        return _usable_cores()
    if threads < 1:
        raise ConfigError(f"threads is {threads}; give 1 or more, or leave it out")
    return threads


def _usable_cores() -> int:
    # Only Linux tells which cores this process may use.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _provider_list(provider: str) -> list[str]:
    if provider not in _PROVIDERS:
        raise ConfigError(f"provider '{provider}' is not one of {', '.join(_PROVIDERS)}")
    name = _PROVIDERS[provider]
    if name not in onnxruntime.get_available_providers():
        raise ConfigError(
            f"provider '{provider}' is not in this onnxruntime; "
            "install onnxruntime-gpu in place of onnxruntime, or use 'cpu'"
        )
    return [name]
