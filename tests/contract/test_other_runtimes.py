"""A model file is plain ONNX: what is not TumorLens opens it and computes the same answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.models_for_tests import tiny_card
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.inference.default_model import find_model
from tumorlens.inference.engine import Engine
from tumorlens.modelfile import read_model, write_model

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
openvino = pytest.importorskip("openvino")

SPEC = PreprocessSpec(size=64)
ARGUMENTS = {"widths": [4, 8], "dropout": 0.0}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the model file of a small network, its weights in 16 bits, as training exports it."""
    from tumorlens.export.onnx import to_onnx
    from tumorlens.models.quantization import round_weights
    from tumorlens.models.registry import build

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build("cnn", **ARGUMENTS).eval()
    round_weights(network, 16)
    onnx_bytes = to_onnx(network, SPEC)
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    card = tiny_card(onnx_bytes, SPEC, architecture="cnn", architecture_args=ARGUMENTS)
    write_model(onnx_bytes, card, path)
    return path


@pytest.fixture(scope="module")
def packaged() -> Path:
    return find_model(None)


@pytest.fixture(params=["exported", "packaged"])
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


def test_openvino_computes_the_answers_of_onnx_runtime(path: Path) -> None:
    model = read_model(path)
    heads = [draw_phantom(seed, lesion=seed % 2 == 1).image for seed in range(3)]
    batch = np.stack([preprocess(head, model.card.preprocess) for head in heads])
    ours = Engine(model.onnx_bytes, threads=1).run(batch)

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    theirs = core.compile_model(core.read_model(path), "CPU", settings)({"image": batch})
    np.testing.assert_allclose(theirs["logit"], ours.logits, atol=1e-4, rtol=0)
    if ours.maps is not None:
        np.testing.assert_allclose(theirs["map"], ours.maps, atol=1e-3, rtol=0)


def test_the_onnx_library_finds_it_sound(path: Path) -> None:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.SerializeToString() == path.read_bytes()
