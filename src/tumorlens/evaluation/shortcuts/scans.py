"""Scans as the shortcut tests need them: the network's input, head, lesion, and predictions."""

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
    """One scan and what is known of where things lie in it.

    Attributes:
        record: Where it comes from.
        side: Longer side of the image as it was read, in pixels.
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
        """What is masked or cut out as the tumour: outline or ellipse, grown by 3 % of the side.

        All False without annotation.
        """
        return grow(self.lesion == LESION, 0.03)

    def free_regions(self, excluded: Mask | None = None) -> tuple[Mask, Mask]:
        """Return where in the head something can be put: the brain, then anywhere."""
        free = np.ones_like(self.head) if excluded is None else ~excluded
        return grow(self.head, -0.08) & free, grow(self.head, -0.03) & free


@dataclass(frozen=True, eq=False)
class ScanSet:
    """A model, scans, and the model's outputs for them unmodified.

    Attributes:
        predictor: The opened model.
        scans: Labelled and grouped; N of them.
        outputs: For ``scans``.
        seed: Of locations, partners and the bootstrap.
        n_boot: Resamples.
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
        """Which scans are predicted positive, unmodified ``[N]``."""
        return self.is_positive(self.outputs)

    def is_positive(self, outputs: ModelOutputs) -> NDArray[np.bool_]:
        """Return which outputs reach the card's threshold."""
        return np.asarray(outputs.prob >= self.predictor.card.threshold.value)

    def infer(self, inputs: Sequence[ModelInput]) -> ModelOutputs:
        """Return the model's outputs for modified inputs."""
        return infer_all(self.predictor, inputs)

    def mean(self, values: ArrayLike, rows: ArrayLike) -> Estimate:
        """Return the mean of ``values`` ``[K]`` that belong to the scans ``rows`` ``[K]``."""
        index = np.asarray(rows, dtype=np.int64)
        return mean_estimate(values, self.groups[index], n_boot=self.n_boot, seed=self.seed)

    def auc(self, outputs: ModelOutputs) -> Estimate:
        """Return the ROC-AUC of outputs for all scans, in their order."""
        options = {"n_boot": self.n_boot, "seed": self.seed}
        return auc_estimate(self.labels, outputs.logits, self.groups, **options)

    def flips(self, outputs: ModelOutputs, rows: Sequence[int]) -> tuple[Estimate, Estimate]:
        """Return which share of positive tumour scans stays positive, and of healthy ones turns so.

        ``outputs`` belong to the modified scans ``rows``; only scans predicted as labelled count.
        """
        index = np.array(rows, dtype=np.int64)
        now, before, tumour = (
            self.is_positive(outputs),
            self.positive[index],
            self.labels[index] == 1,
        )
        kept, clear = before & tumour, ~before & ~tumour
        return self.mean(now[kept], index[kept]), self.mean(now[clear], index[clear])

    def generator(self, row: int) -> np.random.Generator:
        """Return the scan's own generator, so that a draw does not depend on the other scans."""
        key = self.scans[row].record.key.encode()
        return np.random.default_rng([self.seed, *key])

    def random_shift(self, patch: Mask, row: int, excluded: Mask | None = None) -> Shift | None:
        """Draw a shift that puts a patch into the head of a scan, into the brain if it fits."""
        rng = self.generator(row)
        for allowed in self.scans[row].free_regions(excluded):
            shift = random_shift(patch, allowed, rng)
            if shift is not None:
                return shift
        return None


def read_scan(predictor: Predictor, record: Record) -> Scan:
    """Read one record for the tests; raises `InputError` when its file cannot be decoded."""
    pixels = read_pixels(record)
    image = working_copy(pixels)
    ready = prepare_image(predictor, image)
    head = head_outline(image, ready.frame)
    return Scan(
        record, max(pixels.shape[:2]), image, ready.tensor, head, lesion_mask(record, ready.frame)
    )
