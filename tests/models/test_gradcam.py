"""The class map of a mean-pooling network is Grad-CAM, up to a positive factor."""

from __future__ import annotations

import pytest
import torch

from tumorlens.models.cnn import ImprovedCNN
from tumorlens.models.gradcam import grad_cam
from tumorlens.models.resnet import ResNetClassifier


def test_metrics_match_hand_computed_values() -> None:
    # Two channels: the picture and its negative. score = 3·mean(first) - mean(second).
    layer = torch.nn.Conv2d(1, 2, 1, bias=False)
    layer.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    cam = grad_cam(layer, layer, image, lambda x: 3 * x[:, 0].mean((1, 2)) - x[:, 1].mean((1, 2)))
    # Each cell's slope is 3 / 4 and -1 / 4: 0.75·x + 0.25·x.
    assert torch.allclose(cam, image[:, 0])


@pytest.mark.parametrize("depth", [18, 34])
def test_a_resnet_s_map_is_grad_cam(depth: int) -> None:
    torch.manual_seed(depth)
    network = ResNetClassifier(depth).eval()  # type: ignore[arg-type]
    image = torch.rand(3, 1, 160, 128)
    _equal_up_to_a_positive_factor(network, network.backbone.layer4, image)


def test_the_improved_network_s_map_is_grad_cam() -> None:
    torch.manual_seed(1)
    network = ImprovedCNN(widths=(8, 16)).eval()
    _equal_up_to_a_positive_factor(network, network.features, torch.rand(3, 1, 48, 32))


def _equal_up_to_a_positive_factor(
    network: torch.nn.Module, layer: torch.nn.Module, image: torch.Tensor
) -> None:
    cam = grad_cam(network, layer, image)
    with torch.no_grad():
        evidence = network(image).map
    assert cam.shape == evidence.shape
    assert not cam.requires_grad
    for one, other in zip(cam.flatten(1), evidence.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] >= 0.999
        # The linear layer's bias aside, the factor is the number of cells.
        centred, drawn = one - one.mean(), other - other.mean()
        assert torch.allclose(centred * one.numel(), drawn, atol=1e-4)


def test_the_network_is_unchanged() -> None:
    network = ImprovedCNN(widths=(4,)).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    image = torch.rand(1, 1, 8, 8)
    grad_cam(network, network.features, image)
    assert not image.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.features._forward_hooks
    with pytest.raises(ZeroDivisionError):
        grad_cam(network, network.features, image, lambda answer: answer.logit / (1 // 0))
    assert not network.features._forward_hooks
