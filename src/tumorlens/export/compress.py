"""A graph without traces of its machine, and weights of half or a quarter of the size.

Weights are rounded to 16 or 8 bits once, before the network is calibrated, measured and exported,
so every figure is that of the file. The rounded values are exact in both formats: the file
stores them as float16, or as int8 and a scale a channel, and casts them when it is loaded, and
inference computes in float32.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxscript import optimizer

from tumorlens.models.quantization import MAX_INT, MIN_QUANTISED_SIZE


def strip_provenance(onnx_bytes: bytes) -> bytes:
    """Drop what the exporter notes of the machine it ran on.

    It writes Python stack traces with the paths of source files into every node and value.
    """
    model = onnx.load_from_string(onnx_bytes)
    graph = model.graph
    noted = (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output)
    for part in (*noted, *graph.initializer, *model.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return bytes(model.SerializeToString())


def fold_constants(onnx_bytes: bytes) -> bytes:
    """Compute whatever depends on no input: shapes, limits and casts that the exporter spells out.

    Less than half of the nodes remain, and the runtime can then join a convolution with its limits.
    Batch norms stay apart: joined with weights of 16 bits they would no longer fit 16 bits.
    """
    model = ir.from_proto(onnx.load_from_string(onnx_bytes))
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    return bytes(ir.to_proto(model).SerializeToString())


def store_small(onnx_bytes: bytes) -> bytes:
    """Store every large float32 initializer that loses nothing by it in 16 or 8 bits.

    16 bits are cast, 8 bits cast and multiplied by their channel's step. The runtime folds both
    when it loads the model, so answers and speed are unchanged.
    """
    model = onnx.load_from_string(onnx_bytes)
    casts, scales = [], []
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < MIN_QUANTISED_SIZE:
            continue
        name = initializer.name
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            stored = f"{name}.half"
            initializer.CopyFrom(numpy_helper.from_array(half, stored))
            casts.append(helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
        elif (found := _quantisation_of(values)) is not None:
            whole, step = found
            stored, scale, wide = f"{name}.int8", f"{name}.scale", f"{name}.wide"
            initializer.CopyFrom(numpy_helper.from_array(whole, stored))
            scales.append(numpy_helper.from_array(step, scale))
            casts.append(helper.make_node("Cast", [stored], [wide], to=onnx.TensorProto.FLOAT))
            casts.append(helper.make_node("Mul", [wide, scale], [name]))
    model.graph.initializer.extend(scales)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _quantisation_of(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Return the whole numbers and steps that `round_weights` made weights of, None for others."""
    if values.ndim < 2:
        return None
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    step = (largest / np.float32(MAX_INT)).reshape(-1, *[1] * (values.ndim - 1))
    whole = np.rint(values / np.where(step > 0, step, np.float32(1)))
    if not np.isfinite(whole).all() or not np.array_equal(whole * step, values):
        return None
    return whole.astype(np.int8), step
