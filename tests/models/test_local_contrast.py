"""Local contrast: by its definition, blind to shading, and a channel of the default network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tumorlens.errors import ConfigError
from tumorlens.export.onnx import to_onnx
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.inference.engine import Engine
from tumorlens.models.evidence import EvidenceNet
from tumorlens.models.local_contrast import LocalContrast
from tumorlens.models.resnet import build_backbone, load_backbone


def pictures(side: int = 64, n: int = 2) -> Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))


def by_definition(picture: np.ndarray, reach: int) -> np.ndarray:
    padded = np.pad(picture, reach, mode="reflect")
    contrast = np.empty_like(picture)
    for row in range(picture.shape[0]):
        for column in range(picture.shape[1]):
            square = padded[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
            contrast[row, column] = (picture[row, column] - square.mean()) / (square.std() + 0.05)
    return contrast.clip(-3, 3) * 0.3


@pytest.mark.parametrize(("side", "reach"), [(128, 8), (64, 4), (16, 1)])
def test_local_contrast_is_normalised_by_local_deviation(side: int, reach: int) -> None:
    x = pictures(side, 1).double()
    seen = LocalContrast()(x)
    assert seen.shape == (1, 2, side, side)
    assert torch.equal(seen[:, :1], x)
    expected = by_definition(x[0, 0].numpy(), reach)
    assert np.allclose(seen[0, 1].numpy(), expected, atol=1e-9)
    assert np.abs(expected).max() > 0.3


def test_uniform_areas_have_none_and_brightness_changes_little() -> None:
    even = LocalContrast()(torch.full((1, 1, 32, 32), 0.7))[:, 1]
    assert even.abs().max() < 1e-3
    x = pictures()
    shaded = x * torch.linspace(0.5, 1.0, 64)
    before, after = (LocalContrast()(each)[:, 1] for each in (x, shaded))
    moved = (after - before).abs().mean() / before.abs().mean()
    assert moved < 0.1 < (shaded - x).abs().mean() / x.abs().mean()


def test_the_default_network_takes_it_as_second_channel() -> None:
    torch.manual_seed(0)
    network = EvidenceNet(width=8, local_contrast=True).eval()
    assert network.backbone.conv1.weight.shape[1] == 2
    x = pictures()
    with torch.no_grad():
        answer = network(x)
        network.backbone.conv1.weight[:, 1] = 0
        blind = network(x)
    assert answer.map is not None
    assert answer.map.shape == (2, 8, 8)
    assert not torch.allclose(answer.logit, blind.logit, atol=1e-4)
    plain = EvidenceNet(width=8).eval()
    weights = network.state_dict()
    weights["backbone.conv1.weight"] = weights["backbone.conv1.weight"][:, :1]
    plain.load_state_dict(weights)
    with torch.no_grad():
        assert torch.allclose(plain(x).logit, blind.logit, atol=1e-5)


def test_rgb_is_refused() -> None:
    with pytest.raises(ConfigError, match="local_contrast needs in_channels=1, not 3"):
        EvidenceNet(in_channels=3, local_contrast=True)


def test_it_is_inside_the_exported_file() -> None:
    network = EvidenceNet(width=8, local_contrast=True).eval()
    engine = Engine(to_onnx(network, PreprocessSpec(size=64, channels=1)), threads=1)
    x = pictures()
    with torch.no_grad():
        expected = network(x)
    logits, maps, *_ = engine.run(x.numpy())
    assert np.abs(logits - expected.logit.numpy()).max() < 1e-4
    assert maps is not None
    assert np.abs(maps - expected.map.numpy()).max() < 1e-4


@pytest.mark.parametrize("channels", [1, 3])
def test_pretrained_weights_start_without_it(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = build_backbone(18, channels)
    del given.fc
    path = tmp_path / "weights.pt"
    torch.save(given.state_dict(), path)
    backbone = build_backbone(18, 2)
    load_backbone(backbone, path)
    weight = backbone.conv1.weight
    assert torch.equal(weight[:, 1], torch.zeros_like(weight[:, 1]))
    assert torch.allclose(weight[:, 0], given.conv1.weight.sum(dim=1))
