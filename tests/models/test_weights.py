"""Backbone weights: torchvision's names, files of both kinds, and files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tumorlens.errors import ConfigError, ModelNotFoundError
from tumorlens.models.evidence import EvidenceNet
from tumorlens.models.resnet import ResNetClassifier, build_backbone, load_backbone, stages

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def torchvision_names(depth: int) -> set[str]:
    """The keys of torchvision's ``resnet18().state_dict()`` and ``resnet34()``."""
    names = {"conv1.weight", "fc.weight", "fc.bias"} | {f"bn1.{part}" for part in NORM}
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            names |= {f"{at}.conv{n}.weight" for n in (1, 2)}
            names |= {f"{at}.bn{n}.{part}" for n in (1, 2) for part in NORM}
        if stage > 1:
            names |= {f"layer{stage}.0.downsample.0.weight"}
            names |= {f"layer{stage}.0.downsample.1.{part}" for part in NORM}
    return names


@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_177_025), (34, 21_285_185)])
def test_names_and_sizes_equal_torchvision(depth: Any, parameters: int) -> None:
    backbone = build_backbone(depth, 3)
    assert set(backbone.state_dict()) == torchvision_names(depth)
    # torchvision's 11,689,512 and 21,797,672, with 1 class instead of 1000 (513 for 513,000).
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    shapes = {name: tuple(t.shape) for name, t in backbone.state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer2.0.conv1.weight"] == (128, 64, 3, 3)
    assert shapes["layer4.0.downsample.0.weight"] == (512, 256, 1, 1)


def test_strides_equal_torchvision() -> None:
    backbone = build_backbone(18, 1).eval()
    with torch.no_grad():
        outputs = stages(backbone, torch.rand(1, 1, 64, 96))
    assert [tuple(x.shape[1:]) for x in outputs] == [
        (64, 16, 24),
        (128, 8, 12),
        (256, 4, 6),
        (512, 2, 3),
    ]


@pytest.fixture(scope="module")
def pretrained() -> dict[str, Tensor]:
    """Weights as a pretrained RGB ResNet-18 of 1000 classes has them, here drawn."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, tensor in build_backbone(18, 3).state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            # Variances are positive, and kernels small enough not to overflow.
            weights[name] = noise + 0.5 if tensor.ndim == 1 else (noise - 0.5) * 0.05
        else:
            weights[name] = torch.tensor(7)
    weights["fc.weight"] = torch.rand(1000, 512, generator=generator)
    weights["fc.bias"] = torch.rand(1000, generator=generator)
    return weights


def write(weights: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, str(path))
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_grey_network_equals_the_rgb_network_on_grey_images(
    suffix: str, pretrained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = write(pretrained, tmp_path / f"weights{suffix}")
    backbones = {channels: build_backbone(18, channels).eval() for channels in (1, 3)}
    for backbone in backbones.values():
        assert load_backbone(backbone, path) == ["fc.bias", "fc.weight"]
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one = stages(backbones[1], grey)
        three = stages(backbones[3], grey.expand(-1, 3, -1, -1).contiguous())
    for a, b in zip(one, three, strict=True):
        assert a.abs().max() > 0
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_the_imagenet_normalisation_is_folded_in(
    pretrained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = write(pretrained, tmp_path / "weights.pt")
    folded, plain = build_backbone(18, 3).eval(), build_backbone(18, 3).eval()
    load_backbone(folded, path)
    plain.load_state_dict({n: t for n, t in pretrained.items() if "fc" not in n}, strict=False)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        given = folded.bn1(folded.conv1(image))
        expected = plain.bn1(plain.conv1(normalised))
    inner = (..., slice(2, -2), slice(2, -2))  # at the rim padding means another grey
    assert torch.allclose(given[inner], expected[inner], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(given, plain.bn1(plain.conv1(image)), atol=0.1)


def test_weights_with_other_classes_are_not_folded(
    pretrained: dict[str, Tensor], tmp_path: Path
) -> None:
    weights = {**pretrained, "fc.weight": torch.zeros(1, 512), "fc.bias": torch.zeros(1)}
    backbone = build_backbone(18, 3)
    load_backbone(backbone, write(weights, tmp_path / "weights.pt"))
    assert torch.equal(backbone.conv1.weight, pretrained["conv1.weight"])
    assert torch.equal(backbone.bn1.running_mean, pretrained["bn1.running_mean"])


def test_weights_are_loaded_into_the_networks(
    pretrained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = write(pretrained, tmp_path / "weights.safetensors")
    for network in (ResNetClassifier(weights=str(path)), EvidenceNet(width=8, weights=str(path))):
        state = network.backbone.state_dict()
        assert torch.equal(state["layer3.1.conv2.weight"], pretrained["layer3.1.conv2.weight"])
        assert torch.equal(state["bn1.running_var"], pretrained["bn1.running_var"])


@pytest.mark.parametrize("wrap", ["backbone.", "nested"])
def test_weights_of_runs_are_read(wrap: str, pretrained: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    if wrap == "nested":
        inside = {f"network.backbone.{name}": tensor for name, tensor in pretrained.items()}
        torch.save({"state_dict": inside, "epoch": 3}, path)
    else:
        torch.save({f"{wrap}{name}": tensor for name, tensor in pretrained.items()}, path)
    backbone = build_backbone(18, 1)
    load_backbone(backbone, path)
    state = backbone.state_dict()
    assert torch.equal(state["layer4.1.bn2.bias"], pretrained["layer4.1.bn2.bias"])


def test_batch_counters_may_be_missing(pretrained: dict[str, Tensor], tmp_path: Path) -> None:
    kept = {n: t for n, t in pretrained.items() if not n.endswith("num_batches_tracked")}
    load_backbone(build_backbone(18, 1), write(kept, tmp_path / "weights.safetensors"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda weights: weights.pop("layer2.0.conv1.weight"), "layer2.0.conv1.weight"),
        (lambda weights: weights.pop("conv1.weight"), "conv1.weight"),
        (lambda weights: weights.pop("bn1.running_mean"), "bn1.running_mean"),
        (
            lambda weights: weights.update({"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}),
            "layer1.0.conv1.weight",
        ),
        (lambda weights: weights.update({"conv1.weight": torch.zeros(64, 4, 7, 7)}), "conv1"),
    ],
)
def test_a_partly_matching_file_is_refused_and_changes_nothing(
    change: Any, named: str, pretrained: dict[str, Tensor], tmp_path: Path
) -> None:
    weights = dict(pretrained)
    change(weights)
    backbone = build_backbone(18, 1)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(ConfigError, match=named):
        load_backbone(backbone, write(weights, tmp_path / "weights.pt"))
    after = backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_resnet_18_weights_do_not_fit_34(pretrained: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(pretrained, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=r"layer1\.2\.conv1"):
        load_backbone(build_backbone(34, 3), path)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        load_backbone(build_backbone(18, 1), tmp_path / name)


def test_a_pickled_object_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Path("anything")}, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=r"weights\.pt"):
        load_backbone(build_backbone(18, 1), tmp_path / "weights.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ConfigError, match=r"list\.pt"):
        load_backbone(build_backbone(18, 1), tmp_path / "list.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"none\.pt"):
        load_backbone(build_backbone(18, 1), tmp_path / "none.pt")
