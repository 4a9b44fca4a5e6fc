"""Trained network → model file, refused when the exported graph disagrees with torch."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tumorlens.atomic import atomic_file
from tumorlens.errors import ExportError, OutputError
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.inference.engine import Engine
from tumorlens.training.compress import store_half, strip_provenance

OPSET = 18
TOLERANCE = 1e-4


class _Outputs(nn.Module):
    """The graph's outputs as a tuple of tensors, without the None of a map-less network."""

    def __init__(self, network: nn.Module, has_map: bool) -> None:
        super().__init__()
        self.network, self.has_map = network, has_map

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logit, evidence = self.network(image)
        return (logit, evidence) if self.has_map else logit


def to_onnx(network: nn.Module, spec: PreprocessSpec) -> bytes:
    """Return the network as ONNX bytes: input ``image``, outputs ``logit`` and, if any, ``map``.

    The batch axis is dynamic. The graph is checked against torch on drawn heads and on noise
    before it is returned.

    Raises:
        ExportError: The graph cannot be written, or logit or map differ by more than 1e-4.
        OutputError: The folder for temporary files is full.
    """
    network = network.eval().cpu().float()
    probe = torch.from_numpy(probe_inputs(spec))
    with torch.no_grad():
        expected = network(probe)
    has_map = expected.map is not None
    with tempfile.TemporaryDirectory() as folder, _quiet_exporter():
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                _Outputs(network, has_map).eval(),
                (probe[:2],),
                str(path),
                input_names=["image"],
                output_names=["logit", "map"] if has_map else ["logit"],
                dynamic_shapes=({0: torch.export.Dim("N", min=1, max=4096)},),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                optimize=False,  # it folds norms into weights, which then no longer fit 16 bits
                verbose=False,
            )
        except OSError as error:
            raise OutputError(
                f"{folder}: the graph cannot be written ({error.strerror or error}); free space "
                "there, or set TMPDIR"
            ) from error
        except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
            raise ExportError(f"the network cannot be written as ONNX: {error}") from error
        onnx_bytes = store_half(strip_provenance(path.read_bytes()))
    check_parity(onnx_bytes, probe.numpy(), expected.logit, expected.map)
    return onnx_bytes


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hold back the exporter's warnings about its own internals; parity is checked afterwards."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_parity(
    onnx_bytes: bytes, inputs: NDArray[np.float32], logit: Tensor, evidence: Tensor | None
) -> float:
    """Return the largest difference between torch's answer and ONNX Runtime's.

    Raises:
        ExportError: It exceeds 1e-4, or one of them has a map and the other has none.
    """
    logits, maps = Engine(onnx_bytes, threads=1).run(inputs)
    if (maps is None) != (evidence is None):
        raise ExportError("the exported graph and the network disagree on having a class map")
    worst = float(np.abs(logits - logit.numpy()).max())
    if maps is not None and evidence is not None:
        worst = max(worst, float(np.abs(maps - evidence.numpy()).max()))
    if not worst <= TOLERANCE:  # also refuses NaN
        raise ExportError(
            f"torch and ONNX differ by {worst:.2e} (allowed {TOLERANCE:.0e}); nothing was written"
        )
    return worst


def probe_inputs(spec: PreprocessSpec) -> NDArray[np.float32]:
    """Return eight inputs ``[8, C, S, S]`` to compare on: six drawn heads, noise and black."""
    heads = [preprocess(draw_phantom(seed, lesion=seed % 2 == 1).image, spec) for seed in range(6)]
    noise = np.random.default_rng(0).random(heads[0].shape, dtype=np.float32)
    return np.stack([*heads, noise, np.zeros_like(noise)])


def write_weights(network: nn.Module, path: Path) -> None:
    """Write the weights alone as ``.pt``: a flat ``name -> tensor`` file, no pickled module.

    Raises:
        OutputError: The place cannot be written; nothing is left behind.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    # Through memory: on a full disk torch's writer raises its own error instead of the system's.
    whole = io.BytesIO()
    torch.save(weights, whole)
    with atomic_file(path) as stream:
        stream.write(whole.getbuffer())
