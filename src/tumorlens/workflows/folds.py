"""How a cross-validation draws its folds: by group, or in one of two leaky ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from tumorlens.augmentation.geometry import RandAffineElastic
from tumorlens.augmentation.intensity import RandAdjustContrast
from tumorlens.augmentation.transform import Batch, Compose
from tumorlens.data.label_issues import exclude_label_issues
from tumorlens.data.manifest import Record
from tumorlens.data.pixels import load_inputs
from tumorlens.data.splits import Split, grouped_folds, random_folds, with_copies
from tumorlens.errors import ConfigError
from tumorlens.runs.config import RunConfig
from tumorlens.runs.records import excludes_label_issues
from tumorlens.training.datamodule import lesion_mask_of, lesion_share

Decoded = tuple[NDArray[np.float32], NDArray[np.uint8]]

# The usual offline augmentation of such data: flips, small rotations and shifts, brightness.
OFFLINE = Compose(
    [
        RandAffineElastic(flip_prob=0.5, rotation=15, scale=0.1, translation=0.05),
        RandAdjustContrast(prob=0.5, log_gamma=0.3),
    ]
)
_BATCH = 64


@dataclass(frozen=True)
class FoldPlan:
    """A way to draw folds.

    Attributes:
        name: ``grouped``, ``random-leaky`` (ignores groups) or ``augment-before-split-leaky``
            (ignores groups; over the scans and their augmented copies).
        copies: Augmented copies of each scan, made before the folds are drawn.
    """

    name: str
    copies: int = 0

    def __post_init__(self) -> None:
        if self.copies < 0:
            raise ConfigError(f"copies is {self.copies}; it must be at least 0")

    def settings(self) -> dict[str, Any]:
        """Return its entries in a cross-validation's plan; none for grouped folds."""
        return {} if self == GROUPED else {"protocol": self.name, "copies": self.copies}

    def records(self, records: Sequence[Record]) -> list[Record]:
        """Return the records that folds are drawn over: the given ones, then their copies."""
        return with_copies(records, self.copies)

    def splits(
        self, config: RunConfig, records: Sequence[Record], n_folds: int, repeats: int
    ) -> list[Split]:
        """Draw the folds over what :meth:`records` returned.

        The split's shares of validation and calibration are set aside from each training side.

        Raises:
            SplitError: Fewer groups than folds.
        """
        settings = config.data.split
        rest = 1 - settings.test
        draw = grouped_folds if self.name == GROUPED.name else random_folds
        splits = draw(
            records,
            n_folds=n_folds,
            repeats=repeats,
            seed=settings.seed,
            validation=settings.validation / rest,
            calibration=settings.calibration / rest,
        )
        if excludes_label_issues(config.data):
            return [exclude_label_issues(split, records) for split in splits]
        return splits

    def decoded(self, config: RunConfig, records: Sequence[Record]) -> Decoded:
        """Return inputs ``[N, C, S, S]`` and lesion masks of what :meth:`records` returned."""
        originals = records[: len(records) // (self.copies + 1)]
        inputs, lesions = load_inputs(
            originals, config.model.preprocess, cache_dir=config.data.cache_dir
        )
        if not self.copies:
            return inputs, lesions
        generator = Generator().manual_seed(config.seed)
        made = [augmented(inputs, lesions, generator) for _ in range(self.copies)]
        return (
            np.concatenate([inputs, *(images for images, _ in made)]),
            np.concatenate([lesions, *(masks for _, masks in made)]),
        )


GROUPED = FoldPlan("grouped")


def augmented(
    inputs: NDArray[np.float32], lesions: NDArray[np.uint8], generator: Generator
) -> Decoded:
    """Return one :data:`OFFLINE` copy of each input ``[N, C, S, S]`` and lesion mask."""
    images, masks = np.empty_like(inputs), np.empty_like(lesions)
    for start in range(0, len(inputs), _BATCH):
        rows = slice(start, start + _BATCH)
        image = torch.from_numpy(np.array(inputs[rows]))
        lesion = lesion_share(torch.from_numpy(np.array(lesions[rows])))[:, None]
        copy = OFFLINE(Batch.unlabelled(image, lesion), generator)
        images[rows] = copy.image.numpy()
        masks[rows] = lesion_mask_of(copy.lesion[:, 0]).numpy()
    return images, masks
