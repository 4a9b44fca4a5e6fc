"""Scans prepared for the shortcut tests: network input, head, lesion, and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import LESION, lesion_mask, read_pixels
from tumorlens.evaluation.sampling import (
    Mask,
    ModelInput,
    ModelOutputs,
    infer_all,
    prepare_image,
    working_copy,
)
from tumorlens.evaluation.shortcuts.interventions import Shift, grow, head_outline, random_shift
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.shares import auc_estimate, mean_estimate


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan with the positions of head and lesion.

    Attributes:
        record: The scan's record.
        side: Longer side of the image before downscaling, in pixels.
        image: uint8 ``[H, W]``, at most `WORKING_SIDE` a side.
        tensor: The network's input, float32 ``[C, S, S]``.
        head: The head's convex outline in the input, bool ``[S, S]``.
        lesion: The annotation in the input, uint8 ``[S, S]``, as `lesion_mask` gives it.
    """

    record: Record
    side: int
    image: NDArray[np.uint8]
    tensor: ModelInput
    head: Mask
    lesion: NDArray[np.uint8]

    @cached_property
    def tumour(self) -> Mask:
        """The tumour mask, bool ``[S, S]``: the annotation dilated by 3 % of the side.

        All False without annotation.
        """
        return grow(self.lesion == LESION, 0.03)

    def free_regions(self, excluded: Mask | None = None) -> tuple[Mask, Mask]:
        """Return where a patch may be inserted: inside the brain, and inside the whole head."""
        free = np.ones_like(self.head) if excluded is None else ~excluded
        return grow(self.head, -0.08) & free, grow(self.head, -0.03) & free


@dataclass(frozen=True, eq=False)
class ScanSet:
    """A model, scans, and the model's outputs for the unmodified scans.

    Attributes:
        predictor: The opened model.
        scans: N labelled and grouped scans.
        outputs: The model's outputs for ``scans``.
        seed: Seed of the random positions, of partner scans and of the bootstrap.
        n_boot: Number of resamples of the bootstrap.
    """

    predictor: Predictor
    scans: tuple[Scan, ...]
    outputs: ModelOutputs
    seed: int
    n_boot: int

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """0 healthy or 1 tumour ``[N]``."""
        return np.array([scan.record.label for scan in self.scans], dtype=np.int64)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Group ids ``[N]``."""
        return np.array([scan.record.group for scan in self.scans], dtype=np.int64)

    @cached_property
    def positive(self) -> NDArray[np.bool_]:
        """Which unmodified scans are predicted positive, bool ``[N]``."""
        return self.is_positive(self.outputs)

    def is_positive(self, outputs: ModelOutputs) -> NDArray[np.bool_]:
        """Return which outputs reach the card's threshold."""
        return np.asarray(outputs.prob >= self.predictor.card.threshold.value)

    def infer(self, inputs: Sequence[ModelInput]) -> ModelOutputs:
        """Return the model's outputs for modified inputs."""
        return infer_all(self.predictor, inputs)

    def mean(self, values: ArrayLike, rows: ArrayLike) -> Estimate:
        """Return the mean of ``values`` ``[K]`` for the scans with the indices ``rows`` ``[K]``."""
        index = np.asarray(rows, dtype=np.int64)
        return mean_estimate(values, self.groups[index], n_boot=self.n_boot, seed=self.seed)

    def auc(self, outputs: ModelOutputs) -> Estimate:
        """Return the ROC-AUC of outputs for all scans, in their order."""
        return auc_estimate(
            self.labels, outputs.logits, self.groups, n_boot=self.n_boot, seed=self.seed
        )

    def flips(self, outputs: ModelOutputs, rows: Sequence[int]) -> tuple[Estimate, Estimate]:
        """Return the shares of true positives and of true negatives that are now positive.

        ``outputs`` belong to the modified scans with the indices ``rows``.
        """
        index = np.array(rows, dtype=np.int64)
        now, before, tumour = (
            self.is_positive(outputs),
            self.positive[index],
            self.labels[index] == 1,
        )
        hit, reject = before & tumour, ~before & ~tumour
        return self.mean(now[hit], index[hit]), self.mean(now[reject], index[reject])

    def generator(self, row: int) -> np.random.Generator:
        """Return a generator seeded by the scan's key, independent of the other scans."""
        key = self.scans[row].record.key.encode()
        return np.random.default_rng([self.seed, *key])

    def random_shift(self, patch: Mask, row: int, excluded: Mask | None = None) -> Shift | None:
        """Draw a shift that moves a patch into the head of a scan, into its brain if it fits."""
        rng = self.generator(row)
        for allowed in self.scans[row].free_regions(excluded):
            shift = random_shift(patch, allowed, rng)
            if shift is not None:
                return shift
        return None


def read_scan(predictor: Predictor, record: Record) -> Scan:
    """Read and prepare one record; raises `InputError` when its file cannot be decoded."""
    pixels = read_pixels(record)
    image = working_copy(pixels)
    ready = prepare_image(predictor, image)
    head = head_outline(image, ready.frame)
    return Scan(
        record, max(pixels.shape[:2]), image, ready.tensor, head, lesion_mask(record, ready.frame)
    )
