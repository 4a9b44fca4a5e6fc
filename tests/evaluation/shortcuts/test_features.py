"""Input features of the last layer, for a network with known features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.errors import ExportError, ModelNotFoundError
from tumorlens.evaluation.shortcuts.features import decoder_features, last_layer_inputs
from tumorlens.export.onnx import write_weights
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.modelfile import Pooling, SelfTest
from tumorlens.models.registry import build

SPEC = PreprocessSpec(size=32)


class Doubling(nn.Module):
    """Two features, once and twice the picture, and a last layer that must not be included."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, kernel_size=1, bias=False)
        self.head = nn.Conv2d(2, 1, kernel_size=1)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.head(self.first(image))
        return out


def test_the_last_layer_s_input_is_averaged_over_positions() -> None:
    pictures = [np.full((1, 4, 4), level, dtype=np.float32) for level in np.linspace(0, 1, 20)]
    pictures[3][0, :2] += 0.5
    found = last_layer_inputs(Doubling(), pictures)
    means = np.array([picture.mean() for picture in pictures])
    np.testing.assert_allclose(found, np.stack([means, 2 * means], axis=1), atol=1e-6)


def test_weights_of_another_model_are_rejected(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arguments = {"widths": [4, 8], "in_channels": 1}
    network = build("cnn", **arguments).eval()
    write_weights(network, tmp_path / "weights.pt")
    phantom = preprocess(draw_phantom(7, lesion=True).image, SPEC)
    with torch.no_grad():
        logit = float(network(torch.from_numpy(phantom)[None]).logit[0])
    changes = {
        "architecture": "cnn",
        "architecture_args": arguments,
        "preprocess": SPEC,
        "pooling": Pooling(kind="mean"),
    }
    onnx_bytes = tiny_onnx(SPEC)
    mine = SelfTest(seed=7, lesion=True, logit=logit, tolerance=1e-3)
    card = tiny_card(onnx_bytes, SPEC, **changes, self_test=mine)
    found = decoder_features(tmp_path, card, [phantom] * 3)
    assert found.shape == (3, 8)
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    other = tiny_card(onnx_bytes, SPEC, **changes, self_test=mine.model_copy(update={"logit": 9.0}))
    with pytest.raises(ExportError, match=r"9\.000000 as on the card; give the run folder"):
        decoder_features(tmp_path, other, [phantom])
    with pytest.raises(ModelNotFoundError, match="no such weights file"):
        decoder_features(tmp_path / "nowhere", card, [phantom])
