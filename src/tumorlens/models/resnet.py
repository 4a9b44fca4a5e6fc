"""ResNet-18 and 34 from MONAI (parameter names as in torchvision), with a class map."""

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

# ImageNet normalisation of RGB in 0..1: (x - mean) / std.
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
    """A standard ResNet classifier whose logit is the mean of a class map.

    The linear layer is applied to every cell and the result averaged, which is equivalent to
    global average pooling first, since both are linear. The map equals Grad-CAM up to a positive
    factor. ``weights`` is a file or a repository on the Hub, see
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
        """Return the outputs of the four stages, at strides 4, 8, 16 and 32."""
        return stages(self.backbone, image)

    def answer(self, features: list[Tensor]) -> Evidence:
        """Return the logit and the class map of an image's features."""
        last = features[-1]
        fc = self.backbone.fc
        evidence = torch.einsum("nchw,c->nhw", last, fc.weight[0]) + fc.bias
        return Evidence(self.pooling(evidence), evidence)


def load_backbone(backbone: Any, path: Path) -> list[str]:
    """Load weights with torchvision's names; return the names of tensors that were not loaded.

    The classifier (``fc.*``) is skipped. For a file with ImageNet's 1000 classes the input
    normalisation is folded into the first layer (see `_fold_imagenet`), so that the network takes
    images in 0..1. For a grey backbone the first convolution is summed over RGB, which preserves
    the response to grey RGB images; weights of a local contrast channel start at 0. Every other
    tensor must match.

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: Not a weights file, or tensors are missing or have other shapes (listed in
            the message).
    """
    # TumorLens weights and checkpoints contain the backbone within a network.
    tensors = {
        name.removeprefix("network.").removeprefix("backbone."): tensor
        for name, tensor in read_weights(path).items()
    }
    expected = backbone.state_dict()
    tensors |= _fold_imagenet(tensors)
    first = tensors.get("conv1.weight")
    rgb = first is not None and first.ndim == 4 and first.shape[1] == 3
    channels = expected["conv1.weight"].shape[1]
    if first is not None and rgb and channels < 3:
        tensors["conv1.weight"] = first = first.sum(dim=1, keepdim=True)
    if first is not None and first.ndim == 4 and first.shape[1] == 1 and channels == 2:
        tensors["conv1.weight"] = torch.cat([first, torch.zeros_like(first)], dim=1)
    usable = {
        name: tensor
        for name, tensor in tensors.items()
        if name in expected and not name.startswith("fc.") and expected[name].shape == tensor.shape
    }
    missing = [name for name in expected if name not in usable and not name.startswith("fc.")]
    # timm omits this counter, which does not affect inference.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(
            f"{path}: does not match this ResNet; missing or of another shape: {missing[:5]}"
        )
    backbone.load_state_dict(usable, strict=False)
    return sorted(set(tensors) - set(usable))


def _fold_imagenet(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``conv1.weight`` and ``bn1.running_mean`` for input in 0..1, or nothing.

    ``conv(W, (x - mean) / std) = conv(W / std, x) - K`` with ``K`` the sum of
    ``W * mean / std`` over a filter; ``K`` is absorbed by the running mean of the following norm.
    Exact except at the border, where zero padding means black instead of the mean colour. Needed
    for frozen backbones, whose batch statistics do not adapt.
    """
    first, mean, classes = (
        tensors.get(n) for n in ("conv1.weight", "bn1.running_mean", "fc.weight")
    )
    if first is None or mean is None or classes is None or classes.shape[0] != 1000:
        return {}
    if first.ndim != 4 or first.shape[1] != 3:
        return {}
    scaled = first / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    shift = (scaled * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    return {"conv1.weight": scaled, "bn1.running_mean": mean + shift}
