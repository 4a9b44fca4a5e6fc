"""Trained network → model file, refused when the exported graph disagrees with torch."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tumorlens.atomic import atomic_file
from tumorlens.errors import ExportError, OutputError
from tumorlens.export.compress import fold_constants, store_small, strip_provenance
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.inference.engine import Engine
from tumorlens.ood.brain import BrainHead
from tumorlens.ood.detector import OodHead, feature_statistics

OPSET = 18
TOLERANCE = 1e-4
# Of the OOD detector's score, whose logarithms of distances run into the tens.
OOD_TOLERANCE = 1e-3


class _Outputs(nn.Module):
    """The graph's outputs by name, without the None of a map-less network."""

    def __init__(
        self, network: nn.Module, has_map: bool, detector: OodHead | None, brain: BrainHead | None
    ) -> None:
        super().__init__()
        self.network, self.has_map, self.detector, self.brain = network, has_map, detector, brain

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        domain = enough = None
        if self.detector is None and self.brain is None:
            logit, evidence = self.network(image)
        else:
            features = self.network.features(image)  # type: ignore[operator]
            logit, evidence = self.network.answer(features)  # type: ignore[operator]
            statistics = feature_statistics(features)
            domain = None if self.detector is None else self.detector.score(statistics)
            enough = None if self.brain is None else self.brain.score(statistics)
        found = {
            "logit": logit,
            "map": evidence if self.has_map else None,
            "in_domain": domain,
            "enough_brain": enough,
        }
        return {name: tensor for name, tensor in found.items() if tensor is not None}


def to_onnx(
    network: nn.Module,
    spec: PreprocessSpec,
    detector: OodHead | None = None,
    brain: BrainHead | None = None,
) -> bytes:
    """Return the network as ONNX bytes: input ``image``, outputs ``logit`` and, if any, ``map``.

    With an OOD detector fitted to the network the graph has the output ``in_domain`` too, with a
    brain detector ``enough_brain``, both computed from the same features. The batch axis is
    dynamic. The graph is checked against torch on drawn heads and on noise before it is returned.

    Raises:
        ExportError: The graph cannot be written, or torch and ONNX differ (see `check_parity`).
        OutputError: The folder for temporary files is full.
    """
    network = network.eval().cpu().float()
    probe = torch.from_numpy(probe_inputs(spec))
    with torch.no_grad():
        has_map = network(probe[:1]).map is not None
        wrapped = _Outputs(network, has_map, detector, brain).eval()
        expected = wrapped(probe)
    with tempfile.TemporaryDirectory() as folder, _quiet_exporter():
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                wrapped,
                (probe[:2],),
                str(path),
                input_names=["image"],
                output_names=list(expected),
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
        onnx_bytes = store_small(strip_provenance(fold_constants(path.read_bytes())))
    check_parity(onnx_bytes, probe.numpy(), expected)
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
    onnx_bytes: bytes, inputs: NDArray[np.float32], expected: Mapping[str, Tensor]
) -> float:
    """Return the largest difference between torch's answer and ONNX Runtime's.

    Args:
        onnx_bytes: The graph.
        inputs: float32 ``[N, C, S, S]``.
        expected: torch's outputs by name: ``logit`` and, if any, ``map``, ``in_domain`` and
            ``enough_brain``.

    Raises:
        ExportError: It exceeds 1e-4 (1e-3 in the detectors' scores), or one of them has an output
            and the other has not.
    """
    found = Engine(onnx_bytes, threads=1).run(inputs)
    worst = 0.0
    checks = (
        ("logit", found.logits, expected["logit"], TOLERANCE),
        ("class map", found.maps, expected.get("map"), TOLERANCE),
        ("OOD score", found.in_domain, expected.get("in_domain"), OOD_TOLERANCE),
        ("brain score", found.enough_brain, expected.get("enough_brain"), OOD_TOLERANCE),
    )
    for name, ours, wanted, allowed in checks:
        if (ours is None) != (wanted is None):
            raise ExportError(f"the exported graph and the network disagree on having a {name}")
        if ours is None or wanted is None:
            continue
        difference = float(np.abs(ours - wanted.numpy()).max())
        if not difference <= allowed:  # also refuses NaN
            raise ExportError(
                f"torch and ONNX differ by {difference:.2e} in the {name} (allowed {allowed:.0e}); "
                "nothing was written"
            )
        worst = max(worst, difference)
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
