"""EfficientNet-Lite0: its padding, its pretrained weights, and what it costs."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tumorlens.errors import ConfigError, MissingExtraError, ModelNotFoundError
from tumorlens.models.efficientnet import (
    PACKAGED_WEIGHTS,
    EfficientNetLite0,
    SameConv2d,
    backbone_path,
    load_backbone,
)
from tumorlens.models.registry import build


@pytest.fixture(scope="module")
def packaged() -> dict[str, Tensor]:
    """The tensors of the installed package's file, as they are."""
    tensors: dict[str, Tensor] = torch.load(backbone_path(PACKAGED_WEIGHTS), weights_only=True)
    return tensors


def same_by_hand(
    image: NDArray[np.float64], kernel: NDArray[np.float64], stride: int
) -> NDArray[np.float64]:
    """TensorFlow's "same" convolution of one channel, as its documentation writes it."""
    height, width = image.shape
    size = len(kernel)
    out_height, out_width = -(-height // stride), -(-width // stride)
    pad_height = max((out_height - 1) * stride + size - height, 0)
    pad_width = max((out_width - 1) * stride + size - width, 0)
    top, left = pad_height // 2, pad_width // 2
    padded = np.pad(image, ((top, pad_height - top), (left, pad_width - left)))
    return np.array(
        [
            [
                (padded[y * stride : y * stride + size, x * stride : x * stride + size] * kernel)
                .sum()
                for x in range(out_width)
            ]
            for y in range(out_height)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_padding_is_tensorflow_s(size: int, stride: int) -> None:
    g = np.random.default_rng(size + stride)
    image, kernel = g.standard_normal((12, 8)), g.standard_normal((size, size))
    layer = SameConv2d(1, 1, size, stride, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(kernel)[None, None])
        found = layer(torch.tensor(image, dtype=torch.float32)[None, None])[0, 0]
    np.testing.assert_allclose(found.numpy(), same_by_hand(image, kernel, stride), atol=1e-4)


def test_the_packaged_weights_fit_layer_by_layer(packaged: dict[str, Tensor]) -> None:
    backbone = EfficientNetLite0()
    load_backbone(backbone, backbone_path(PACKAGED_WEIGHTS))
    state = backbone.state_dict()
    assert {name for name in state if name not in packaged} <= {
        name for name in state if name.endswith("num_batches_tracked")
    }
    for name, tensor in state.items():
        if name in packaged and name != "_conv_stem.weight":
            assert torch.equal(tensor, packaged[name]), name
    # What is left out lies behind stride 16.
    behind = {name.split(".")[0] + name.split(".")[1] for name in packaged.keys() - state.keys()}
    assert not {f"_blocks{at}" for at in range(11)} & behind
    assert "_blocks11" in behind


def test_the_stem_answers_to_grey_as_imagenet_s_does_to_three_equal_channels(
    packaged: dict[str, Tensor],
) -> None:
    backbone = EfficientNetLite0()
    load_backbone(backbone, backbone_path(PACKAGED_WEIGHTS))
    grey = torch.rand((2, 1, 32, 48), generator=torch.Generator().manual_seed(0))
    coloured = (grey.expand(-1, 3, -1, -1) - 0.5) / 0.5
    expected = functional.conv2d(
        functional.pad(coloured, [0, 1, 0, 1]), packaged["_conv_stem.weight"], stride=2
    )
    with torch.no_grad():
        found = backbone._conv_stem(2 * grey - 1)
    assert torch.allclose(found, expected, atol=1e-5)


def test_its_stages_have_strides_4_8_and_16() -> None:
    backbone = EfficientNetLite0().eval()
    seen: list[Tensor] = []
    backbone.last_stage.register_forward_hook(lambda *each: seen.append(each[2]))
    with torch.no_grad():
        stages = backbone(torch.rand(2, 1, 64, 96))
    assert [tuple(stage.shape) for stage in stages] == [
        (2, 24, 16, 24), (2, 40, 8, 12), (2, 112, 4, 6),
    ]  # fmt: skip
    assert torch.equal(seen[0], stages[-1])


def test_the_network_is_small_and_its_map_fine() -> None:
    network = build("efficient", weights=PACKAGED_WEIGHTS).eval()
    assert sum(each.numel() for each in network.parameters()) < 1_000_000
    with torch.no_grad():
        answer = network(torch.rand(2, 1, 160, 160))
    assert answer.map.shape == (2, 40, 40)
    top = answer.map.flatten(1).sort(dim=1, descending=True).values[:, :8]
    assert torch.allclose(answer.logit, top.mean(dim=1), atol=1e-5)


def test_its_layers_are_registered_from_the_image_to_the_map() -> None:
    for architecture in ("efficient", "evidence"):
        names = [name for name, _ in build(architecture, width=8).named_parameters()]
        order = list(dict.fromkeys(name.split(".")[0] for name in names))
        assert order == ["backbone", "lateral", "smooth", "head"]


def test_its_residuals_are_added_where_the_shapes_allow_it() -> None:
    blocks = EfficientNetLite0()._blocks
    assert [at for at, block in enumerate(blocks) if block.residual] == [2, 4, 6, 7, 9, 10]


@pytest.mark.parametrize("change", ["missing", "reshaped"])
def test_weights_of_another_network_are_refused(
    change: str, packaged: dict[str, Tensor], tmp_path: Path
) -> None:
    tensors = dict(packaged)
    name = "_blocks.3._project_conv.weight"
    if change == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][:, :5].clone()
    torch.save(tensors, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=r"not the weights of EfficientNet-Lite0.*_blocks\.3"):
        load_backbone(EfficientNetLite0(), tmp_path / "weights.pt")


def test_a_run_s_weights_give_their_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("efficient", width=8)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other = build("efficient", width=16, weights=str(tmp_path / "weights.pt"))
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(other.backbone.state_dict()[name], tensor), name


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_file_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ConfigError, match=r"weights\.pth: not written by torch\.save"):
        load_backbone(EfficientNetLite0(), tmp_path / "weights.pth")
    with pytest.raises(ModelNotFoundError, match="no such weights file"):
        load_backbone(EfficientNetLite0(), tmp_path / "absent.pth")


def test_only_the_package_s_own_file_is_read_in_torch_s_old_format(
    packaged: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(packaged, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ConfigError, match=r"weights\.pth: not written by torch\.save"):
        load_backbone(EfficientNetLite0(), path)
    torch.save(packaged, path)
    load_backbone(EfficientNetLite0(), path)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("efficientnet_lite0"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    for name in [each for each in sys.modules if each.startswith("efficientnet_lite0")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="train"):
        backbone_path(PACKAGED_WEIGHTS)
