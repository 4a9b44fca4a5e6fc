"""Tiny real models: ONNX graphs of two or three nodes, wrapped as model files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.inference.engine import Engine
from tumorlens.metrics.decision import Conformal, Threshold
from tumorlens.modelfile import (
    BrainDetector,
    ModelCard,
    OodDetector,
    Pooling,
    SelfTest,
    write_model,
)

TINY_SPEC = PreprocessSpec(size=64)
_CELL = 8


def tiny_onnx(
    spec: PreprocessSpec = TINY_SPEC, *, has_map: bool = True, ood: float | None = None,
    brain: float | None = None, gain: float = 4.0, offset: float = -1.0, top_k: int | None = None,
) -> bytes:  # fmt: skip
    """Return an ONNX model: ``map = 4 * (mean of 8x8 pixels) - 1``, ``logit = mean(map)``.

    ``gain`` and ``offset`` replace 4 and -1; with ``top_k`` the logit is the mean of the largest
    cells. With ``ood`` it has the output ``in_domain = ood - logit``: bright images are refused.
    With ``brain`` it has ``enough_brain = logit - brain``: dark images show too little.
    """
    weight = np.full((1, spec.channels, _CELL, _CELL), gain / (_CELL * _CELL * spec.channels))
    cells = spec.size // _CELL
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["planes"], strides=[_CELL, _CELL]),
        helper.make_node("Squeeze", ["planes", "one"], ["map"]),
        *_pooling(top_k),
    ]
    outputs = [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"])]
    if has_map:
        shape = ["N", cells, cells]
        outputs.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, shape))
    constants = []
    if top_k is not None:
        constants.append(numpy_helper.from_array(np.array([top_k], dtype=np.int64), "k"))
    if ood is not None:
        nodes.append(helper.make_node("Sub", ["ood", "logit"], ["in_domain"]))
        outputs.append(helper.make_tensor_value_info("in_domain", TensorProto.FLOAT, ["N"]))
        constants.append(numpy_helper.from_array(np.array(ood, dtype=np.float32), "ood"))
    if brain is not None:
        nodes.append(helper.make_node("Sub", ["logit", "brain"], ["enough_brain"]))
        outputs.append(helper.make_tensor_value_info("enough_brain", TensorProto.FLOAT, ["N"]))
        constants.append(numpy_helper.from_array(np.array(brain, dtype=np.float32), "brain"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.FLOAT, ["N", spec.channels, spec.size, spec.size]
            )
        ],
        outputs,
        [
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(np.array([offset], dtype=np.float32), "bias"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
            *constants,
        ],
    )
    # Old versions on purpose: every onnxruntime of the supported range reads them.
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)], producer_name="tests"
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _pooling(top_k: int | None) -> list[Any]:
    if top_k is None:
        return [helper.make_node("ReduceMean", ["map"], ["logit"], axes=[1, 2], keepdims=0)]
    return [
        helper.make_node("Flatten", ["map"], ["cells"], axis=1),
        helper.make_node("TopK", ["cells", "k"], ["largest", "where"], axis=1),
        helper.make_node("ReduceMean", ["largest"], ["logit"], axes=[1], keepdims=0),
    ]


def tiny_card(onnx_bytes: bytes, spec: PreprocessSpec = TINY_SPEC, **changes: Any) -> ModelCard:
    """Return a card that is true for ``onnx_bytes``; ``changes`` replace fields."""
    engine = Engine(onnx_bytes, threads=1)
    batch = preprocess(draw_phantom(7, lesion=True).image, spec)[None]
    logit = float(engine.run(batch)[0][0])
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": "1.0",
        "created": "2026-11-23",
        "architecture": "tiny",
        "preprocess": spec,
        "pooling": Pooling(kind="mean") if engine.has_map else None,
        "has_map": engine.has_map,
        "ood": OodDetector(method="brightness", n_mri=1, n_negatives=1) if engine.has_ood else None,
        "brain": BrainDetector(method="darkness", n_enough=1, n_too_little=1)
        if engine.has_brain
        else None,
        "temperature": 0.5,
        "threshold": Threshold(value=0.5, target=None, origin="default", n=0),
        "conformal": (Conformal(alpha=0.1, tumor=0.6, healthy=0.6, n_tumor=50, n_healthy=50),),
        "intended_use": "tests",
        "limitations": ("knows brightness only",),
        "licence": "Apache-2.0",
        "self_test": SelfTest(seed=7, lesion=True, logit=logit, tolerance=1e-4),
    }
    return ModelCard(**(fields | changes))


def write_tiny_model(
    path: Path, spec: PreprocessSpec = TINY_SPEC, *, has_map: bool = True, **changes: Any
) -> Path:
    """Write a tiny model file that opens and passes its self-test; ``changes`` edit the card."""
    onnx_bytes = tiny_onnx(spec, has_map=has_map)
    write_model(onnx_bytes, tiny_card(onnx_bytes, spec, **changes), path)
    return path
