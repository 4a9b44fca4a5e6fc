"""The ONNX session: what it computes, what it refuses, from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.models_for_tests import tiny_onnx
from tumorlens.errors import ConfigError, InputError, ModelDamagedError, ModelFileError
from tumorlens.inference.engine import Engine, Provider


def checkerboard(n: int) -> NDArray[np.float32]:
    """Return ``[n, 1, 64, 64]``: image i holds i/n everywhere but in its first 8x8 cell (1)."""
    batch = np.zeros((n, 1, 64, 64), dtype=np.float32)
    batch += (np.arange(n, dtype=np.float32) / n)[:, None, None, None]
    batch[:, :, :8, :8] = 1
    return batch


def with_graph(inputs: dict[str, list[int | str]], outputs: dict[str, list[int | str]]) -> bytes:
    """Return a model whose outputs are its first input, under any names and shapes."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [next(iter(inputs))], [name]) for name in outputs],
        "odd",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
    )
    opsets = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString())


def test_logit_and_map_equal_the_graph_outputs() -> None:
    engine = Engine(tiny_onnx(), threads=1)
    logits, maps, *_ = engine.run(checkerboard(4))
    assert engine.has_map
    assert maps is not None
    # map = 4 * mean of the cell - 1, logit = mean of the 64 cells
    np.testing.assert_allclose(maps[:, 0, 0], 3, rtol=1e-6)
    np.testing.assert_allclose(maps[:, 5, 5], [-1, 0, 1, 2], atol=1e-6)
    np.testing.assert_allclose(logits, (3 + 63 * np.array([-1, 0, 1, 2])) / 64, atol=1e-6)


def test_a_model_without_a_map_gives_none() -> None:
    engine = Engine(tiny_onnx(has_map=False), threads=1)
    logits, maps, *_ = engine.run(checkerboard(2))
    assert not engine.has_map
    assert maps is None
    np.testing.assert_array_equal(logits, Engine(tiny_onnx(), threads=1).run(checkerboard(2))[0])


def test_many_threads_get_their_own_answers() -> None:
    engine = Engine(tiny_onnx(), threads=1)
    batch = checkerboard(16)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: engine.run(batch[i : i + 1])[0][0], [*range(16)] * 8))
    np.testing.assert_allclose(answers, np.tile(engine.run(batch)[0], 8), atol=1e-6)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 64, 64), dtype=np.float32),
        np.zeros((1, 1, 64, 64), dtype=np.float64),
        np.zeros((1, 1, 64, 64), dtype=np.uint8),
    ],
)
def test_another_dtype_or_rank_is_refused(batch: NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match=r"expects float32 \[N, C, H, W\], not"):
        Engine(tiny_onnx(), threads=1).run(batch)


def test_an_ood_score_is_a_third_output() -> None:
    batch = checkerboard(3)
    detecting = Engine(tiny_onnx(ood=0.25), threads=1)
    logits, maps, scores, *_ = detecting.run(batch)
    assert detecting.has_ood
    assert maps is not None
    assert scores is not None
    np.testing.assert_allclose(scores, 0.25 - logits, atol=1e-6)
    np.testing.assert_array_equal(detecting.run(batch)[0], logits)
    plain = Engine(tiny_onnx(), threads=1)
    assert not plain.has_ood
    assert plain.run(batch).in_domain is None


def test_a_failure_inside_the_runtime_is_translated() -> None:
    with pytest.raises(ModelFileError, match="ONNX Runtime failed"):
        Engine(tiny_onnx(), threads=1).run(np.zeros((1, 1, 32, 32), dtype=np.float32))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (b"", "cannot load the model"),
        (b"no model", "cannot load the model"),
        (tiny_onnx()[:-40], "cannot load the model"),
        (with_graph({"x": ["N", 1, 8, 8]}, {"logit": ["N", 1, 8, 8]}), "expected input image: 4"),
        (with_graph({"image": ["N", 1, 8, 8]}, {"y": ["N", 1, 8, 8]}), "expected input image: 4"),
        (with_graph({"image": ["N", 1, 8, 8]}, {"logit": ["N", 1, 8, 8]}), "'logit': 4"),
        (with_graph({"image": ["N"]}, {"logit": ["N"]}), "'image': 1"),
        (with_graph({"image": ["N"]}, {"logit": ["N"], "map": ["N"]}), "'map': 1"),
        (
            with_graph({"image": ["N"]}, {"logit": ["N"], "in_domain": ["N"]}),
            "map: 3, in_domain: 1",
        ),
    ],
)
def test_a_graph_with_another_signature_is_refused(model: bytes, reason: str) -> None:
    with pytest.raises(ModelDamagedError, match=reason):
        Engine(model, threads=1)


def test_an_operator_the_runtime_lacks_is_translated() -> None:
    model = onnx.load_from_string(tiny_onnx())
    model.graph.node[0].op_type = "FromTheFuture"
    with pytest.raises(ModelDamagedError, match="FromTheFuture"):
        Engine(model.SerializeToString(), threads=1)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one_are_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match="give 1 or more"):
        Engine(tiny_onnx(), threads=threads)


def test_threads_default_to_the_cores_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tumorlens.inference.engine.usable_cores", lambda: 3)
    assert Engine(tiny_onnx()).threads == 3


def test_an_absent_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    only_cpu = ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: only_cpu)
    with pytest.raises(ConfigError, match="install onnxruntime-gpu"):
        Engine(tiny_onnx(), provider="cuda")
    with pytest.raises(ConfigError, match="'tpu' is not one of cpu, cuda"):
        Engine(tiny_onnx(), provider="tpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_does_not_start_is_told_instead_of_using_the_cpu(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu, asked = onnxruntime.InferenceSession, []

    def falls_back(model: bytes, options: object, providers: list[object]) -> object:
        asked.append(providers)
        return on_cpu(model, options, providers=["CPUExecutionProvider"])

    built = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    with pytest.raises(ConfigError, match=f"provider '{provider}' cannot start"):
        Engine(tiny_onnx(), provider=provider)
    exact = ("CUDAExecutionProvider", {"use_tf32": "0"})
    assert asked[0][-2:] == [exact, "CPUExecutionProvider"]
