"""A ResNet with a decoder for a class map of high resolution."""

from __future__ import annotations

from torch import Tensor, nn

from tumorlens.errors import ConfigError
from tumorlens.models.decoder import PyramidNet
from tumorlens.models.hub import weights_path
from tumorlens.models.instance_norm import use_instance_norm
from tumorlens.models.local_contrast import LocalContrast
from tumorlens.models.output import PoolingKind
from tumorlens.models.resnet import Depth, build_backbone, load_backbone, stages

# Channels of a ResNet's stages, and the number of stages (from the coarsest) used per map stride.
_CHANNELS = (64, 128, 256, 512)
_STAGES = {8: 3, 4: 4}


class EvidenceNet(PyramidNet):
    """ResNet stages at strides up to 32, merged top-down into a class map at stride 4 or 8.

    Args:
        depth: 18 or 34.
        in_channels: 1 or 3.
        width: Channels of the decoder.
        stride: Stride of the map in pixels of the input, 4 or 8.
        pooling, k: See :class:`~tumorlens.models.output.MapPooling`.
        dropout: Probability of dropping a decoder channel before the class map.
        local_contrast: Append the image's local contrast as an input channel; see
            :class:`~tumorlens.models.local_contrast.LocalContrast`. Needs one channel.
        instance_norm: Use instance normalisation in early layers; see
            :func:`~tumorlens.models.instance_norm.use_instance_norm`.
        weights: Pretrained backbone weights (a file, or a name on the Hub: see
            :func:`~tumorlens.models.hub.weights_path`), or None.

    Takes float32 ``[N, in_channels, H, W]``; H and W divisible by 32. The map is
    ``[N, H / stride, W / stride]``.

    Raises `ConfigError` for another depth or stride or for local contrast of RGB, and whatever
    `load_backbone` raises.
    """

    def __init__(
        self,
        depth: Depth = 18,
        in_channels: int = 1,
        width: int = 96,
        pooling: PoolingKind = "topk",
        k: int = 6,
        dropout: float = 0.1,
        weights: str | None = None,
        stride: int = 8,
        local_contrast: bool = False,
        instance_norm: bool = False,
    ) -> None:
        if stride not in _STAGES:
            raise ConfigError(f"the map's stride is {stride}; use 4 or 8")
        if local_contrast and in_channels != 1:
            raise ConfigError(f"local_contrast needs in_channels=1, not {in_channels}")
        backbone = build_backbone(depth, in_channels + local_contrast)
        del backbone.fc
        if instance_norm:
            use_instance_norm(backbone)
        super().__init__(backbone, _CHANNELS[-_STAGES[stride] :], width, pooling, k, dropout)
        self.local_contrast = LocalContrast() if local_contrast else nn.Identity()
        if weights is not None:
            load_backbone(backbone, weights_path(weights))

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the outputs of the four stages, at strides 4, 8, 16 and 32."""
        return stages(self.backbone, self.local_contrast(image))
