"""The ONNX Runtime session: float32 batches in; logits, class maps and OOD scores out."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from tumorlens.errors import ConfigError, InputError, ModelDamagedError, ModelFileError
from tumorlens.inference.cores import usable_cores

Provider = Literal["cpu", "cuda", "tensorrt"]

# What TensorRT does not take runs on CUDA, and what that does not on the CPU.
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": (
        "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider",
    ),
}  # fmt: skip
# TensorFloat-32 keeps 10 bits of a product: answers would differ from the CPU's.
_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}

# onnxruntime's exceptions have no common base class.
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
    """Outputs of the network for a batch of N.

    Attributes:
        logits: float32 ``[N]``, before calibration.
        maps: float32 ``[N, h, w]``, class maps in logit units; None if the model has none.
        in_domain: float32 ``[N]``, score of the OOD detector, high for brain MRI; None if the model
            has none.
        enough_brain: float32 ``[N]``, from 0 on the slice shows enough brain; None if the model
            has no such output.
    """

    logits: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    in_domain: NDArray[np.float32] | None
    enough_brain: NDArray[np.float32] | None = None


class Engine:
    """A loaded ONNX model, safe to call from several threads.

    Args:
        onnx_bytes: The model; input ``image`` float32 ``[N, C, H, W]``, outputs ``logit``
            float32 ``[N]`` and, in some models, ``map`` float32 ``[N, h, w]``,
            ``in_domain`` and ``enough_brain`` float32 ``[N]``.
        threads: Threads per run; ``None``: one per core available to this process.
        provider: ``cpu``; ``cuda`` or ``tensorrt`` (need the onnxruntime-gpu package).

    Raises:
        ModelDamagedError: ONNX Runtime refuses the graph, or its inputs or outputs differ.
        ConfigError: The provider is unknown or not installed, or ``threads`` is below 1.
    """

    def __init__(
        self, onnx_bytes: bytes, *, threads: int | None = None, provider: Provider = "cpu"
    ) -> None:
        self.threads = _thread_count(threads)
        self.provider = provider
        options = onnxruntime.SessionOptions()
        # By default the runtime pins threads to all cores of the machine, which logs errors in a
        # container that may use only some of them.
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(
                onnx_bytes, options, providers=_provider_list(provider)
            )
        except _RUNTIME_ERRORS as error:
            raise ModelDamagedError(f"ONNX Runtime cannot load the model: {error}") from error
        # The runtime falls back to the CPU with a line in its log.
        if _PROVIDERS[provider][0] not in self._session.get_providers():
            raise ConfigError(
                f"provider '{provider}' cannot start: is there a GPU, and CUDA, cuDNN and TensorRT "
                "of the versions that this onnxruntime-gpu asks for? Or use 'cpu'"
            )
        self._names = self._check_signature()
        self.has_map, self.has_ood = "map" in self._names, "in_domain" in self._names
        self.has_brain = "enough_brain" in self._names

    def run(self, batch: NDArray[np.float32], batch_size: int | None = None) -> Outputs:
        """Run on float32 ``[N, C, H, W]``, ``batch_size`` images at a time (None: all at once).

        Raises `InputError` for another dtype or rank, and `ModelFileError` when the runtime fails.
        """
        if batch.dtype != np.float32 or batch.ndim != 4:
            raise InputError(
                f"the network expects float32 [N, C, H, W], not {batch.dtype} {list(batch.shape)}"
            )
        step = batch_size or max(1, len(batch))
        try:
            chunks = [
                self._session.run(self._names, {"image": batch[start : start + step]})
                for start in range(0, max(1, len(batch)), step)
            ]
        except _RUNTIME_ERRORS as error:
            raise ModelFileError(f"ONNX Runtime failed to run the model: {error}") from error
        arrays = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        outputs = dict(zip(self._names, arrays, strict=True))
        return Outputs(
            outputs["logit"],
            outputs.get("map"),
            outputs.get("in_domain"),
            outputs.get("enough_brain"),
        )

    def _check_signature(self) -> list[str]:
        inputs = {node.name: len(node.shape) for node in self._session.get_inputs()}
        outputs = {node.name: len(node.shape) for node in self._session.get_outputs()}
        ranks = {"logit": 1, "map": 3, "in_domain": 1, "enough_brain": 1}
        expected = {name: rank for name, rank in ranks.items() if name in {"logit", *outputs}}
        if inputs != {"image": 4} or outputs != expected:
            raise ModelDamagedError(
                f"the graph has inputs {inputs} and outputs {outputs} (name: rank); "
                "expected input image: 4; outputs logit: 1 and optionally map: 3, in_domain: 1, "
                "enough_brain: 1"
            )
        return list(expected)


def _thread_count(threads: int | None) -> int:
    if threads is None:
        return usable_cores()
    if threads < 1:
        raise ConfigError(f"threads is {threads}; give 1 or more, or omit it")
    return threads


def _provider_list(provider: str) -> list[str | tuple[str, dict[str, str]]]:
    if provider not in _PROVIDERS:
        raise ConfigError(f"provider '{provider}' is not one of {', '.join(_PROVIDERS)}")
    names = _PROVIDERS[provider]
    if names[0] not in onnxruntime.get_available_providers():
        raise ConfigError(
            f"provider '{provider}' is not available in the installed onnxruntime; "
            "install onnxruntime-gpu instead of onnxruntime, or use 'cpu'"
        )
    if provider != "cpu" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA and cuDNN of their Python packages, where they are
    return [(each, _OPTIONS[each]) if each in _OPTIONS else each for each in names]
