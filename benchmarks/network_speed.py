"""The network of a model file beside ResNet-18 at 128 pixels: time, size, nodes and loading.

    python -m benchmarks.network_speed [MODEL] [--repeats 60] [--out network_speed.json]

Both run in ONNX Runtime in float32 in one process, alternating, on one image, with one and with two
threads. ResNet-18 is a plain classifier with one grey channel and random weights; its time does not
depend on them. Ratios are medians over the repeats, with the 5th and 95th percentile.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tumorlens.export.onnx import to_onnx
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.inference.predictor import Predictor, find_model
from tumorlens.modelfile import read_model
from tumorlens.models.registry import build


def session(onnx_bytes: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def race(model: bytes, resnet: bytes, size: int, threads: int, repeats: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ours, theirs = session(model, threads), session(resnet, threads)
    own = {"image": rng.random((1, 1, size, size), dtype=np.float32)}
    other = {"image": rng.random((1, 1, 128, 128), dtype=np.float32)}
    pairs = np.array(
        [
            (seconds(lambda: ours.run(None, own)), seconds(lambda: theirs.run(None, other)))
            for _ in range(repeats + 5)
        ][5:]
    )
    ratio = pairs[:, 0] / pairs[:, 1]
    return {
        "ours, ms": round(1000 * float(np.median(pairs[:, 0])), 2),
        "ResNet-18 at 128, ms": round(1000 * float(np.median(pairs[:, 1])), 2),
        "ratio": round(float(np.median(ratio)), 3),
        "ratio, 5 to 95 %": [round(float(each), 3) for each in np.percentile(ratio, (5, 95))],
        "repeats": repeats,
    }


def main() -> None:
    """Measure and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    path = find_model(args.model)
    model = read_model(path)
    resnet = to_onnx(build("resnet", depth=18).eval(), PreprocessSpec(size=128))
    size = model.card.preprocess.size
    loads = [
        seconds(lambda: session(model.onnx_bytes, 1).get_inputs()) for _ in range(args.repeats // 6)
    ]
    opens = [seconds(lambda: Predictor.open(path, threads=1)) for _ in range(args.repeats // 6)]
    result = {
        "file, MB": round(path.stat().st_size / 1e6, 3),
        "nodes": len(onnx.load_from_string(model.onnx_bytes).graph.node),
        "session loads, s": round(float(np.median(loads)), 4),
        "Predictor.open with verification and self-test, s": round(float(np.median(opens)), 4),
        **{
            f"{threads} thread{'s' * (threads > 1)}": race(
                model.onnx_bytes, resnet, size, threads, args.repeats
            )
            for threads in (1, 2)
        },
    }
    text = json.dumps(result, indent=1)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
