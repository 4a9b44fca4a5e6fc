"""Every network, layer by layer where it copies another, and its promise about the map."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tumorlens.errors import ConfigError
from tumorlens.models.baseline import NotebookCNN
from tumorlens.models.cnn import ImprovedCNN
from tumorlens.models.output import MapPooling
from tumorlens.models.registry import ARCHITECTURES, build
from tumorlens.models.resnet import ResNetClassifier, stages

SMALL: dict[str, dict[str, Any]] = {
    "notebook": {},
    "cnn": {"widths": (4, 8)},
    "resnet": {"depth": 18},
    "evidence": {"depth": 18, "width": 8},
    "efficient": {"width": 8, "k": 3},
    "ensemble": {"depth": 18, "width": 8, "members": 2},
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_notebook_s_network_layer_by_layer() -> None:
    network = NotebookCNN().eval()
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for layer in (*network.cnn_model, *network.fc_model):
        layer.register_forward_hook(
            lambda layer, _, out: shapes.append((type(layer).__name__, tuple(out.shape[1:])))
        )
    answer = network(noise(2, 3, 128, 128))
    assert shapes == [
        ("Conv2d", (6, 124, 124)),
        ("Tanh", (6, 124, 124)),
        ("AvgPool2d", (6, 25, 25)),
        ("Conv2d", (16, 21, 21)),
        ("Tanh", (16, 21, 21)),
        ("AvgPool2d", (16, 4, 4)),
        ("Linear", (120,)),
        ("Tanh", (120,)),
        ("Linear", (84,)),
        ("Tanh", (84,)),
        ("Linear", (1,)),
    ]
    assert answer.map is None
    assert network.pooling is None
    assert answer.logit.shape == (2,)


def test_the_notebook_s_parameters() -> None:
    network = NotebookCNN()
    assert {name: tuple(p.shape) for name, p in network.named_parameters()} == {
        "cnn_model.0.weight": (6, 3, 5, 5),
        "cnn_model.0.bias": (6,),
        "cnn_model.3.weight": (16, 6, 5, 5),
        "cnn_model.3.bias": (16,),
        "fc_model.0.weight": (120, 256),
        "fc_model.0.bias": (120,),
        "fc_model.2.weight": (84, 120),
        "fc_model.2.bias": (84,),
        "fc_model.4.weight": (1, 84),
        "fc_model.4.bias": (1,),
    }
    # 456 + 2416 + 30840 + 10164 + 85
    assert parameters(network) == 43_961


def test_the_notebook_s_function_by_hand() -> None:
    network = NotebookCNN().eval()
    image = noise(3, 3, 128, 128, seed=1)
    x = image
    state = network.state_dict()
    for at in (0, 3):
        weight, bias = state[f"cnn_model.{at}.weight"], state[f"cnn_model.{at}.bias"]
        x = torch.tanh(nn.functional.conv2d(x, weight, bias))
        x = nn.functional.avg_pool2d(x, kernel_size=2, stride=5)
    x = x.reshape(3, 256)
    for at in (0, 2):
        x = torch.tanh(x @ state[f"fc_model.{at}.weight"].T + state[f"fc_model.{at}.bias"])
    x = x @ state["fc_model.4.weight"].T + state["fc_model.4.bias"]
    assert torch.allclose(network(image).logit, x[:, 0], atol=1e-6)


def test_the_notebook_s_training_forward_equals_its_evaluation() -> None:
    network, image = NotebookCNN(), noise(4, 3, 128, 128, seed=2)
    slopes = []
    for training in (True, False):
        network.train(training).zero_grad()
        logit = network(image).logit
        logit.square().sum().backward()
        slopes.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        assert len(slopes[-1]) == 10
    assert torch.allclose(logit, network.train()(image).logit, atol=1e-6)
    for fast, plain in zip(*slopes, strict=True):
        assert torch.allclose(fast, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("activation", "layer"), [("relu", nn.ReLU), ("silu", nn.SiLU)])
def test_the_improved_network_layer_by_layer(activation: str, layer: type[nn.Module]) -> None:
    network = build("cnn", in_channels=3, widths=[4, 8], activation=activation)
    assert [type(each) for each in network.features] == [
        *(nn.Conv2d, nn.BatchNorm2d, layer, nn.MaxPool2d),
        *(nn.Conv2d, nn.BatchNorm2d, layer, nn.MaxPool2d),
    ]
    pool = network.features[3]
    assert (pool.kernel_size, pool.stride) == (2, 2)
    # 3·4·9 + 2·4 + 4·8·9 + 2·8 + 8 + 1: convolutions without a bias, norms, the map's head
    assert parameters(network) == 108 + 8 + 288 + 16 + 9
    answer = network.eval()(noise(2, 3, 32, 48))
    assert answer.map.shape == (2, 8, 12)
    assert torch.allclose(answer.logit, answer.map.mean(dim=(1, 2)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_logit_is_the_stated_pooling_of_the_map(architecture: str) -> None:
    network = build(architecture, **SMALL[architecture]).eval()
    channels = 3 if architecture == "notebook" else 1
    with torch.no_grad():
        answer = network(noise(2, channels, 128, 128))
    assert answer.logit.shape == (2,)
    assert torch.isfinite(answer.logit).all()
    if architecture == "notebook":
        assert answer.map is None
        return
    stated = network.pooling.describe()
    kind = stated.pop("kind")
    assert torch.allclose(answer.logit, pooled(answer.map, kind, **stated), atol=1e-5)
    assert answer.map.std() > 0


@pytest.mark.parametrize("pooling", ["mean", "topk"])
def test_the_default_network_uses_the_configured_pooling(pooling: Any) -> None:
    network = build("evidence", width=8, pooling=pooling, k=3).eval()
    with torch.no_grad():
        answer = network(noise(2, 1, 64, 96))
    assert answer.map.shape == (2, 8, 12)
    given = {"mean": {}, "topk": {"k": 3}}[pooling]
    assert network.pooling.describe() == {"kind": pooling, **given}
    assert torch.allclose(answer.logit, pooled(answer.map, pooling, **given), atol=1e-5)


@pytest.mark.parametrize(("stride", "cells"), [(4, (16, 24)), (8, (8, 12))])
def test_the_default_network_has_the_configured_map_stride(
    stride: int, cells: tuple[int, int]
) -> None:
    network = build("evidence", width=8, stride=stride).eval()
    assert network(noise(2, 1, 64, 96)).map.shape == (2, *cells)
    with pytest.raises(ConfigError, match="stride is 16; use 4 or 8"):
        build("evidence", stride=16)


def pooled(evidence: Tensor, kind: str, k: int = 0) -> Tensor:
    """The pooling as the card's reader would write it down."""
    cells = evidence.flatten(1).double()
    if kind == "topk":
        cells = cells.sort(dim=1, descending=True).values[:, :k]
    return cells.mean(dim=1).float()


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (MapPooling("mean"), 2.5),
        (MapPooling("topk", k=1), 4.0),
        (MapPooling("topk", k=2), 3.5),
        (MapPooling("topk", k=4), 2.5),
    ],
)
def test_pooling_known_answers(pooling: MapPooling, expected: float) -> None:
    cells = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert pooling(cells).tolist() == pytest.approx([expected], abs=2e-3)
    # Adding evidence everywhere adds it to the logit, also far outside exp's range.
    assert pooling(cells + 500).tolist() == pytest.approx([expected + 500], abs=2e-2)


@pytest.mark.parametrize("arguments", [("max",), ("topk", 0), ("topk", -1)])
def test_an_invalid_pooling_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="pooling"):
        MapPooling(*arguments)


def test_k_larger_than_the_map_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"k = 5 cells, but the map has 4"):
        MapPooling("topk", k=5)(torch.zeros(1, 2, 2))


@pytest.mark.parametrize(
    ("architecture", "arguments", "reason"),
    [
        ("vgg", {}, "no architecture 'vgg'"),
        ("notebook", {"depth": 18}, "depth"),
        ("resnet", {"depth": 50}, "18 or 34"),
        ("cnn", {"activation": "tanh"}, "relu"),
        ("evidence", {"pooling": "max"}, "mean or topk"),
    ],
)
def test_invalid_arguments_are_refused(
    architecture: str, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        build(architecture, **arguments)


def test_a_resnet_s_map_is_its_global_pooling_and_linear_layer() -> None:
    network = ResNetClassifier(18).eval()
    image = noise(2, 1, 96, 64)
    with torch.no_grad():
        last = stages(network.backbone, image)[-1]
        classic = network.backbone.fc(last.mean(dim=(2, 3)))[:, 0]
        answer = network(image)
        whole = network.backbone(image)[:, 0]
    assert answer.map.shape == (2, 3, 2)
    assert torch.allclose(answer.logit, classic, atol=1e-5)
    assert torch.allclose(answer.logit, whole, atol=1e-5)  # and MONAI's own forward pass


def test_the_improved_network_is_what_is_exported_under_its_name() -> None:
    assert ARCHITECTURES["cnn"] is ImprovedCNN
    assert ARCHITECTURES["notebook"] is NotebookCNN
