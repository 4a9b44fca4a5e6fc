"""``tumorlens export``: weights and card become a model file again, or the reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.cli.app import run
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import write_model

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

Capture = pytest.CaptureFixture[str]
SPEC = PreprocessSpec(size=64)
ARGUMENTS = {"widths": [4, 8], "dropout": 0.0}


def network(seed: int) -> Any:
    from tumorlens.models.registry import build

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("cnn", **ARGUMENTS).eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder as training leaves it, as far as export reads it."""
    from tumorlens.export.onnx import to_onnx, write_weights

    folder = tmp_path_factory.mktemp("run")
    model = network(seed=0)
    onnx_bytes = to_onnx(model, SPEC)
    card = tiny_card(onnx_bytes, SPEC, architecture="cnn", architecture_args=ARGUMENTS)
    write_model(onnx_bytes, card, folder / "model.onnx")
    write_weights(model, folder / "weights.pt")
    return folder


def test_the_exported_model_predicts_like_the_model_of_the_run(
    trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "release.onnx"
    arguments = ["--output", str(out), "--name", "released", "--version", "2.0"]
    assert run(["export", str(trained), *arguments]) == 0
    assert capsys.readouterr().out == f"{out}: released 2.0\n"
    before, after = Predictor.open(trained / "model.onnx"), Predictor.open(out)
    assert (after.card.name, after.card.version) == ("released", "2.0")
    unchanged = {"name": "tiny", "version": "1.0"}
    assert after.card.model_copy(update=unchanged) == before.card
    for seed in range(3):
        scan = draw_phantom(seed, lesion=True).image
        one, other = before.explain(scan), after.explain(scan)
        assert one.prediction.prob == pytest.approx(other.prediction.prob, abs=1e-6)
        np.testing.assert_allclose(one.heatmap, other.heatmap, atol=1e-6)


def test_weights_of_another_run_are_refused(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    from tumorlens.export.onnx import write_weights

    (tmp_path / "model.onnx").write_bytes((trained / "model.onnx").read_bytes())
    write_weights(network(seed=1), tmp_path / "weights.pt")
    assert run(["export", str(tmp_path), "--output", str(tmp_path / "out.onnx")]) == 2
    assert "not the weights the card measured" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_holds_no_weights_is_refused(
    content: bytes | None, trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "model.onnx").write_bytes((trained / "model.onnx").read_bytes())
    if content is not None:
        (tmp_path / "weights.pt").write_bytes(content)
    assert run(["export", str(tmp_path), "--output", str(tmp_path / "out.onnx")]) == 2
    assert "weights" in capsys.readouterr().err


def test_weights_of_another_network_are_refused(
    trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "model.onnx").write_bytes((trained / "model.onnx").read_bytes())
    torch.save({"other": torch.zeros(1)}, tmp_path / "weights.pt")
    assert run(["export", str(tmp_path), "--output", str(tmp_path / "out.onnx")]) == 2
    assert "not the weights of this network" in capsys.readouterr().err


def test_a_pickled_module_is_not_loaded(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "model.onnx").write_bytes((trained / "model.onnx").read_bytes())
    torch.save(network(seed=0), tmp_path / "weights.pt")
    assert run(["export", str(tmp_path), "--output", str(tmp_path / "out.onnx")]) == 2
    assert "contains pickled code" in capsys.readouterr().err


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.onnx").write_bytes(tiny_onnx())
    for folder, reason in [("absent", "no such model file"), ("foreign", "without a TumorLens")]:
        assert run(["export", str(tmp_path / folder), "--output", str(tmp_path / "o.onnx")]) == 2
        assert reason in capsys.readouterr().err
