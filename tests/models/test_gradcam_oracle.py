"""Grad-CAM and a mean-pooling ResNet's class map against the package pytorch-grad-cam."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tumorlens.models.gradcam import grad_cam
from tumorlens.models.resnet import ResNetClassifier


@pytest.fixture
def raw_grad_cam(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give the package's Grad-CAM before its rectifier and its stretch to 0..1.

    The package imports torchvision and ttach for parts that are not asked here (boxes of
    detectors, test-time augmentation), and torchvision's wheels do not fit every torch. Empty
    modules stand for them while this test runs, and only the modules of Grad-CAM are loaded.
    """
    spec = find_spec("pytorch_grad_cam")
    if spec is None:
        pytest.skip("pytorch-grad-cam is not installed; `make test` installs it")
    package = ModuleType("pytorch_grad_cam")
    package.__path__ = list(spec.submodule_search_locations or ())
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", package)
    for name, members in (
        ("torchvision", ()),
        ("torchvision.transforms", ("Compose", "Normalize", "ToTensor")),
        ("ttach", ("Compose", "HorizontalFlip", "Multiply")),
    ):
        module = ModuleType(name)
        for member in members:
            setattr(module, member, lambda *_arguments, **_named: None)
        monkeypatch.setitem(sys.modules, name, module)
    before = set(sys.modules)
    from pytorch_grad_cam.grad_cam import GradCAM

    class Raw(GradCAM):  # type: ignore[misc]
        def get_cam_image(self, *arguments: Any, **named: Any) -> NDArray[np.float32]:
            self.raw = np.asarray(super().get_cam_image(*arguments, **named))
            return self.raw

    yield Raw
    for name in set(sys.modules) - before:  # it must not be found by others, made of empty modules
        if name.startswith("pytorch_grad_cam."):
            del sys.modules[name]


class _Logits(nn.Module):
    """A network as the package wants it: ``[N, classes]`` out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logit: Tensor = self.network(image).logit
        return logit[:, None]


def test_map_and_grad_cam_equal_pytorch_grad_cam(raw_grad_cam: Any) -> None:
    torch.manual_seed(4)
    network = ResNetClassifier(18).eval()
    # Trained statistics differ from fresh ones; so that norms do not hide a mistake.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    image = torch.rand(2, 1, 160, 128)
    with raw_grad_cam(model=_Logits(network), target_layers=[network.backbone.layer4]) as oracle:
        shown = oracle(image, targets=[lambda output: output[0]] * 2)
    with torch.no_grad():
        evidence = network(image).map.numpy()
    ours = grad_cam(network, network.backbone.layer4, image).numpy()
    assert oracle.raw.shape == evidence.shape == (2, 5, 4)
    np.testing.assert_allclose(ours, oracle.raw, rtol=1e-3, atol=1e-5 * np.abs(oracle.raw).max())
    for theirs, drawn in zip(oracle.raw, evidence, strict=True):
        assert np.corrcoef(theirs.ravel(), drawn.ravel())[0, 1] >= 0.999
        # The linear layer's bias aside, the factor is the number of cells.
        np.testing.assert_allclose(
            (theirs - theirs.mean()) * theirs.size, drawn - drawn.mean(), rtol=1e-2, atol=1e-4
        )
    # What the package hands out is rectified and stretched: there the evidence against is lost.
    assert shown.shape == (2, 160, 128)
    assert shown.min() == 0
    assert (oracle.raw < 0).any() or (oracle.raw > 0).all()
