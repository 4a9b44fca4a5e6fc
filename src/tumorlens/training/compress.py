"""A graph without traces of its machine, and weights of half the size.

Weights are rounded to 16 bits once, before the network is calibrated, measured and exported,
so every figure is that of the file. The rounded values are exact in both formats: the file
stores them as float16 and casts them when it is loaded, and inference computes in float32.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from tumorlens.errors import ExportError

# Smaller tensors (biases, norms) are left alone: they weigh nothing and matter most.
_SMALLEST = 1024


def round_weights(network: nn.Module) -> None:
    """Round the network's large weights to the nearest float16 value, in place, as float32.

    Raises:
        ExportError: A weight is too large for float16 (above 65504).
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.numel() < _SMALLEST:
                continue
            rounded = parameter.half().float()
            if not torch.isfinite(rounded).all():
                raise ExportError(f"{name}: a weight does not fit 16 bits; set half_weights=false")
            parameter.copy_(rounded)


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


def store_half(onnx_bytes: bytes) -> bytes:
    """Store every large float32 initializer that loses nothing by it as float16 with a cast.

    The runtime folds the casts when it loads the model, so answers and speed are unchanged.
    """
    model = onnx.load_from_string(onnx_bytes)
    casts = []
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < _SMALLEST:
            continue
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = initializer.name
        stored = f"{name}.half"
        initializer.CopyFrom(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
