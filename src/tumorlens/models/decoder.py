"""Feature pyramid decoder: from a backbone's stages to a class map and its pooled logit."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from tumorlens.models.output import Evidence, MapPooling, PoolingKind


class PyramidNet(nn.Module):
    """A backbone's stages, merged top-down into a class map whose pooling is the logit.

    The decoder is a feature pyramid (Lin et al., CVPR 2017) reduced to its finest level: coarse
    stages contribute context, fine ones location. The logit is a pooling of the map alone, so
    the map is the evidence itself and not a post-hoc explanation. A subclass returns the backbone's
    stages in `features`, each at half the resolution of the one before.

    Args:
        backbone: The network below the decoder. Layers are registered from input to output: the
            randomisation of weights from the output down relies on their order.
        channels: Channels of the stages that the decoder uses, from the finest to the coarsest.
        width: Channels of the decoder.
        pooling, k: See :class:`~tumorlens.models.output.MapPooling`.
        dropout: Probability of dropping a decoder channel before the class map.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        width: int,
        pooling: PoolingKind,
        k: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.lateral = nn.ModuleList(nn.Conv2d(each, width, kernel_size=1) for each in channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )
        self.head = nn.Conv2d(width, 1, kernel_size=1)
        self.pooling = MapPooling(pooling, k)

    def forward(self, image: Tensor) -> Evidence:
        """Return the logit and the class map."""
        return self.answer(self.features(image))

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the stages of the backbone, from the finest to the coarsest."""
        raise NotImplementedError

    def answer(self, features: list[Tensor]) -> Evidence:
        """Return the logit and the class map of an image's features."""
        evidence = self.evidence(features)
        return Evidence(self.pooling(evidence), evidence)

    def evidence(self, features: list[Tensor]) -> Tensor:
        """Return the class map of an image's features, float32 ``[N, H / stride, W / stride]``."""
        used = features[-len(self.lateral) :]
        narrow = [lateral(stage) for lateral, stage in zip(self.lateral, used, strict=True)]
        merged, *finer = reversed(narrow)
        for stage in finer:
            merged = stage + functional.interpolate(merged, scale_factor=2.0, mode="nearest")
        class_map: Tensor = self.head(self.smooth(merged)).squeeze(1)
        return class_map
