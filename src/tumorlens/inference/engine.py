"""The ONNX session: float32 batches in, logits and class maps out. No pixels, no labels."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from tumorlens.errors import ConfigError, InputError, ModelDamagedError, ModelFileError
from tumorlens.inference.cores import usable_cores

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


class Outputs(NamedTuple):
    """What a graph answers for a batch of N.

    Attributes:
        logits: float32 ``[N]``, before the temperature.
        maps: float32 ``[N, h, w]``, class maps in logit units; None in a model without.
        in_domain: float32 ``[N]``, the score of the OOD detector, high for brain MRI. None in a
            model without one.
    """

    logits: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    in_domain: NDArray[np.float32] | None


class Engine:
    """An ONNX model ready to run. Several threads may call it at once.

    Args:
        onnx_bytes: The model; input ``image`` float32 ``[N, C, H, W]``, outputs ``logit``
            float32 ``[N]`` and, in some models, ``map`` float32 ``[N, h, w]`` and
            ``in_domain`` float32 ``[N]``.
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
        self._names = self._check_signature()
        self.has_map, self.has_ood = "map" in self._names, "in_domain" in self._names

    def run(self, batch: NDArray[np.float32], batch_size: int | None = None) -> Outputs:
        """Run a batch float32 ``[N, C, H, W]``, ``batch_size`` rows at a time (None: all at once).

        Raises `InputError` for another dtype or rank, and `ModelFileError` when the runtime fails.
        """
        if batch.dtype != np.float32 or batch.ndim != 4:
            raise InputError(
                f"the network takes float32 [N, C, H, W], not {batch.dtype} {list(batch.shape)}"
            )
        step = batch_size or max(1, len(batch))
        try:
            chunks = [
                self._session.run(self._names, {"image": batch[start : start + step]})
                for start in range(0, max(1, len(batch)), step)
            ]
        except _RUNTIME_ERRORS as error:
            raise ModelFileError(f"the ONNX runtime failed on this model: {error}") from error
        found = (np.concatenate(rows) for rows in zip(*chunks, strict=True))
        outputs = dict(zip(self._names, found, strict=True))
        return Outputs(outputs["logit"], outputs.get("map"), outputs.get("in_domain"))

    def _check_signature(self) -> list[str]:
        inputs = {node.name: _rank(node) for node in self._session.get_inputs()}
        outputs = {node.name: _rank(node) for node in self._session.get_outputs()}
        known = {"logit": 1, "map": 3, "in_domain": 1}
        wanted = {name: rank for name, rank in known.items() if name in outputs or name == "logit"}
        if inputs != {"image": 4} or outputs != wanted:
            raise ModelDamagedError(
                f"the graph has inputs {inputs} and outputs {outputs} (name: rank); "
                "expected image: 4 in, logit: 1 and perhaps map: 3 and in_domain: 1 out"
            )
        return list(wanted)


def _rank(node: Any) -> int:
    return len(node.shape)


def _thread_count(threads: int | None) -> int:
    if threads is None:
        return usable_cores()
    if threads < 1:
        raise ConfigError(f"threads is {threads}; give 1 or more, or leave it out")
    return threads


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
