"""ResNet-18 and 34 from MONAI, whose weight names are torchvision's, with a class map."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tumorlens.errors import ConfigError, MissingExtraError
from tumorlens.models.hub import weights_path
from tumorlens.models.output import Evidence, MapPooling
from tumorlens.models.weights import read_weights

Depth = Literal[18, 34]

# What networks trained on ImageNet expect of RGB in 0..1: (x - mean) / std.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def build_backbone(depth: Depth, in_channels: int) -> Any:
    """Return MONAI's 2-D ResNet with parameters named ``conv1.weight``, ``layer1.0…``."""
    try:
        from monai.networks.nets.resnet import resnet18, resnet34
    except ImportError as error:
        raise MissingExtraError("ResNet", "train") from error
    builders = {18: resnet18, 34: resnet34}
    if depth not in builders:
        raise ConfigError(f"ResNet depth is {depth}; use 18 or 34")
    return builders[depth](
        spatial_dims=2,
        n_input_channels=in_channels,
        conv1_t_stride=2,
        num_classes=1,
        bias_downsample=False,
    )


def stages(backbone: Any, image: Tensor) -> list[Tensor]:
    """Return the outputs of the four stages, at strides 4, 8, 16 and 32."""
    x = backbone.act(backbone.bn1(backbone.conv1(image)))
    x = backbone.maxpool(x)
    outputs = []
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        x = stage(x)
        outputs.append(x)
    return outputs


class ResNetClassifier(nn.Module):
    """A classic ResNet: global average pooling and one linear layer, written as a map's mean.

    The linear layer is applied to every cell, and the logit is the mean of the cells: the
    same number, since both are linear. The map equals Grad-CAM's up to a positive factor.
    ``weights`` names a file or a repository of the Hub, see
    :func:`~tumorlens.models.hub.weights_path`. Takes float32 ``[N, in_channels, H, W]``; the
    map is ``[N, H / 32, W / 32]``.
    """

    def __init__(self, depth: Depth = 18, in_channels: int = 1, weights: str | None = None) -> None:
        super().__init__()
        self.backbone = build_backbone(depth, in_channels)
        self.pooling = MapPooling("mean")
        if weights is not None:
            load_backbone(self.backbone, weights_path(weights))

    def forward(self, image: Tensor) -> Evidence:
        """Return the logit and the class map."""
        return self.answer(self.features(image))

    def features(self, image: Tensor) -> list[Tensor]:
        """Return what the four stages make of ``image``, at strides 4, 8, 16 and 32."""
        return stages(self.backbone, image)

    def answer(self, features: list[Tensor]) -> Evidence:
        """Return the logit and the class map of an image's features."""
        last = features[-1]
        fc = self.backbone.fc
        evidence = torch.einsum("nchw,c->nhw", last, fc.weight[0]) + fc.bias
        return Evidence(self.pooling(evidence), evidence)


def load_backbone(backbone: Any, path: Path) -> list[str]:
    """Load torchvision-named weights from ``.safetensors`` or ``.pt``; return what was left out.

    The classifier (``fc.*``) is left out. A file with ImageNet's 1000 classes expects ImageNet's
    normalised input; that is folded into the first layer (see `_fold_imagenet`), so that it
    answers to images in 0..1. A 3-channel first convolution is summed to one channel where the
    backbone takes grey images, which keeps its response to a grey RGB image; where it takes their
    local contrast too, the weights of that start at 0. Every other tensor must fit: a file that
    fits only in part is refused.

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: Not a file of weights, or tensors are missing or have other shapes; the
            message names them.
    """
    # Our own weights and checkpoints hold the backbone inside a network.
    given = {
        name.removeprefix("network.").removeprefix("backbone."): tensor
        for name, tensor in read_weights(path).items()
    }
    wanted = backbone.state_dict()
    given |= _fold_imagenet(given)
    first = given.get("conv1.weight")
    rgb = first is not None and first.ndim == 4 and first.shape[1] == 3
    channels = wanted["conv1.weight"].shape[1]
    if first is not None and rgb and channels < 3:
        given["conv1.weight"] = first = first.sum(dim=1, keepdim=True)
    if first is not None and first.ndim == 4 and first.shape[1] == 1 and channels == 2:
        given["conv1.weight"] = torch.cat([first, torch.zeros_like(first)], dim=1)
    usable = {
        name: tensor
        for name, tensor in given.items()
        if name in wanted and not name.startswith("fc.") and wanted[name].shape == tensor.shape
    }
    missing = [name for name in wanted if name not in usable and not name.startswith("fc.")]
    # Files saved by timm omit this counter, and it does not change the function.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(f"{path}: does not fit this ResNet; missing or misshapen: {missing[:5]}")
    backbone.load_state_dict(usable, strict=False)
    return sorted(set(given) - set(usable))


def _fold_imagenet(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``conv1.weight`` and ``bn1.running_mean`` for input in 0..1, or nothing.

    ``conv(W, (x - mean) / std) = conv(W / std, x) - K`` with ``K`` the sum of
    ``W * mean / std`` over a filter; the norm behind takes ``K`` up in its mean. Exact but for
    the outermost pixels, where padding used to mean the average colour and now means black.
    A frozen backbone keeps its statistics, so without this it would see all inputs four times
    too faint.
    """
    first, mean, classes = (given.get(n) for n in ("conv1.weight", "bn1.running_mean", "fc.weight"))
    if first is None or mean is None or classes is None or classes.shape[0] != 1000:
        return {}
    if first.ndim != 4 or first.shape[1] != 3:
        return {}
    scaled = first / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    shift = (scaled * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    return {"conv1.weight": scaled, "bn1.running_mean": mean + shift}
