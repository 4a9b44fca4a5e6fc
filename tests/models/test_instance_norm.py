"""Instance normalisation: each picture by itself, in half of the channels of early norms."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tumorlens.export.onnx import to_onnx
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.inference.engine import Engine
from tumorlens.models.evidence import EvidenceNet
from tumorlens.models.instance_norm import IBN


def test_half_of_the_channels_use_instance_normalisation() -> None:
    norm = IBN(5).train()
    scale = torch.tensor([1.0, 10.0])[:, None, None, None]
    x = scale * torch.randn(2, 5, 16, 16, generator=torch.Generator().manual_seed(0)) + scale
    y = norm(x)
    assert y.shape == x.shape
    own, common = y[:, :2], y[:, 2:]
    assert torch.allclose(own.mean((2, 3)), torch.zeros(2, 2), atol=1e-4)
    assert torch.allclose(own.std((2, 3)), torch.ones(2, 2), atol=0.01)
    assert torch.allclose(common.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert (common[1].std((1, 2)) > 3 * common[0].std((1, 2))).all()
    assert set(norm.state_dict()) >= {"IN.weight", "IN.bias", "BN.weight", "BN.running_mean"}


def test_it_is_used_in_the_stem_and_three_stages() -> None:
    backbone = EvidenceNet(width=8, instance_norm=True).backbone
    assert isinstance(backbone.bn1, nn.InstanceNorm2d)
    for stage, kind in (
        (backbone.layer1, IBN), (backbone.layer2, IBN), (backbone.layer3, IBN),
        (backbone.layer4, nn.BatchNorm2d),
    ):  # fmt: skip
        assert all(type(block.bn1) is kind for block in stage)
        assert all(type(block.bn2) is nn.BatchNorm2d for block in stage)


@torch.no_grad()
def test_a_gain_does_not_change_the_features() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 1, 64, 64)
    moved = {}
    for instance_norm in (False, True):
        network = EvidenceNet(width=8, instance_norm=instance_norm).eval()
        bright, dark = network(8 * image).logit, network(4 * image).logit
        moved[instance_norm] = float(((bright - dark) / bright).abs().max())
    assert moved[True] < 0.01 < moved[False]


@torch.no_grad()
def test_the_exported_file_equals_torch_on_black_images_too() -> None:
    torch.manual_seed(0)
    network = EvidenceNet(width=8, instance_norm=True).eval()
    engine = Engine(to_onnx(network, PreprocessSpec(size=64, channels=1)), threads=1)
    image = torch.rand(2, 1, 64, 64)
    image[1] = 0
    expected = network(image)
    logits, maps, *_ = engine.run(image.numpy())
    assert maps is not None
    assert np.abs(logits - expected.logit.numpy()).max() < 1e-4
    assert np.abs(maps - expected.map.numpy()).max() < 1e-4
