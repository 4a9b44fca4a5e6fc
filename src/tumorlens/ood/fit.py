"""Fitting the OOD head to a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tumorlens.errors import DataError
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.models.ensemble import EvidenceEnsemble
from tumorlens.ood.detector import (
    BLOCKS,
    Floats,
    MemberScore,
    OodHead,
    classifier,
    feature_statistics,
    fit_distance,
)
from tumorlens.ood.sampling import Inputs, augmented_negatives, positives, synthetic_negatives

MAX_POSITIVES, N_SYNTHETIC_NEGATIVES = 3200, 2800
MIN_SCANS = 50  # fewer fit no head, and choose no threshold
# The threshold refuses at most this share of the scans that it is chosen on.
MAX_REFUSED_SHARE = 0.005
_TRAIN_FOR_THRESHOLD = 2000  # training scans, evenly spaced, that join the held-out ones
_STEPS, _BATCH = 2500, 256
# The mean of several classifiers: a single one varies with its seed.
_CLASSIFIERS, _HIDDEN = 5, 96
_COPIES = 6  # of each real image that is no brain MRI


@dataclass(frozen=True)
class Scans:
    """Scans as network inputs float32 ``[N, C, S, S]``; ``strata`` such as source and view."""

    inputs: Inputs
    strata: Sequence[str]


def has_features(network: nn.Module) -> bool:
    """Return whether a head can be fitted: the network gives its features and its answer apart."""
    return hasattr(network, "features") and hasattr(network, "answer")


def fit_ood_head(
    network: nn.Module,
    train: Scans,
    held_out: Scans,
    spec: PreprocessSpec,
    seed: int = 0,
    real_negatives: Inputs | None = None,
) -> OodHead:
    """Fit a head to a network with `features`; minutes on one core with the default counts.

    Args:
        network: Trained; its weights are not changed.
        train: The scans it was trained on.
        held_out: Other scans; with training scans they choose the threshold, and nothing else.
        spec: The network's preprocessing.
        seed: Of the synthetic images, the augmentation and the classifiers.
        real_negatives: Real images that are no brain MRI, such as CT slices, float32
            ``[N, C, S, S]``; they join the synthetic ones.

    Raises:
        DataError: Fewer than 50 scans in either.
    """
    if min(len(train.inputs), len(held_out.inputs)) < MIN_SCANS:
        raise DataError(
            f"an OOD detector needs {MIN_SCANS} training scans and {MIN_SCANS} held-out scans; got "
            f"{len(train.inputs)} and {len(held_out.inputs)}"
        )
    mri = positives(train.inputs, train.strata, MAX_POSITIVES, spec, seed)
    some = [np.asarray(scan[0]) for scan in train.inputs[:: max(1, len(train.inputs) // 100)]]
    negatives = synthetic_negatives(N_SYNTHETIC_NEGATIVES, some, spec, seed)
    if real_negatives is not None and len(real_negatives):
        negatives = np.concatenate([negatives, augmented_negatives(real_negatives, _COPIES, seed)])
    # Held-out scans come from few patients: alone, one image more would move the threshold.
    step = -(-len(train.inputs) // _TRAIN_FOR_THRESHOLD)
    for_threshold = np.concatenate([held_out.inputs, train.inputs[::step]])
    return fit_to_statistics(
        statistics_of(network, mri),
        statistics_of(network, negatives),
        statistics_of(network, for_threshold),
        seed,
        channels_of(network, train.inputs),
    )


def channels_of(network: nn.Module, inputs: Inputs) -> list[list[int]]:
    """Return the channels of each stage of each member, as its features give them."""
    with torch.no_grad():
        features: list[Tensor] = network.features(torch.from_numpy(np.array(inputs[:1])))  # type: ignore[operator]
    members = len(network.members) if isinstance(network, EvidenceEnsemble) else 1
    stages = [stage.shape[1] for stage in features]
    each = len(stages) // members
    return [stages[at * each : (at + 1) * each] for at in range(members)]


def fit_to_statistics(
    mri: Floats, negatives: Floats, for_threshold: Floats, seed: int, channels: list[list[int]]
) -> OodHead:
    """Fit a head to statistics of scans, of negatives, and of scans that choose its threshold.

    Each is ``[N, F]``, ``F`` counting the statistics of all members, one member after the other;
    ``channels`` are those of `channels_of`.
    """
    members = len(channels)
    by_member = zip(
        *(np.split(each, members, axis=1) for each in (mri, negatives)), channels, strict=True
    )
    head = OodHead([_fit_member(own, others, seed, c) for own, others, c in by_member]).eval()
    ranked = np.sort(scores_of(head, for_threshold))
    head.threshold.fill_(float(ranked[int(MAX_REFUSED_SHARE * len(ranked))]) - 1e-3)
    return head


def _fit_member(mri: Floats, negatives: Floats, seed: int, channels: list[int]) -> MemberScore:
    """Fit the score of one network."""
    order = np.random.default_rng([seed, 3]).permutation(len(mri))
    # The classifier also gets scans the whitening has not seen, or all would look too near.
    for_whitening = mri[order[: int(0.7 * len(order))]]
    distances = [fit_distance(for_whitening, columns, n) for columns, n in _columns(channels)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        member = MemberScore(distances, hidden=_CLASSIFIERS * _HIDDEN)
        _train_classifiers(member, mri[order], negatives)
    return member


def _columns(channels: list[int]) -> list[tuple[NDArray[np.int64], int]]:
    """Return each block's columns and directions.

    Of each stage the means of its channels come first, then their deviations.
    """
    starts = np.concatenate([[0], np.cumsum([2 * each for each in channels])])
    return [
        (np.concatenate([np.arange(starts[s], starts[s + 1]) for s in stages]), n_directions)
        for stages, n_directions in BLOCKS[len(channels)]
    ]


def _train_classifiers(member: MemberScore, mri: Floats, negatives: Floats) -> None:
    """Train classifiers separately and put them side by side into the member's, their mean."""
    statistics = torch.tensor(np.concatenate([mri, negatives]), dtype=torch.float32)
    with torch.no_grad():
        inputs, _ = member.classifier_inputs(statistics)
    is_mri = torch.cat([torch.ones(len(mri)), torch.zeros(len(negatives))])
    trained = [_trained_classifier(inputs, is_mri).state_dict() for _ in range(_CLASSIFIERS)]
    joined = {
        "0.weight": torch.cat([state["0.weight"] for state in trained]),
        "0.bias": torch.cat([state["0.bias"] for state in trained]),
        "3.weight": torch.cat([state["3.weight"] for state in trained], dim=1) / _CLASSIFIERS,
        "3.bias": torch.stack([state["3.bias"] for state in trained]).mean(dim=0),
    }
    # Rounded to what the model file stores: float16 halves its size.
    member.classifier.load_state_dict(
        {name: values.half().float() for name, values in joined.items()}
    )


def _trained_classifier(inputs: Tensor, is_mri: Tensor) -> nn.Sequential:
    network = classifier(inputs.shape[1], _HIDDEN)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.1)
    for _ in range(_STEPS):
        rows = torch.randint(len(inputs), (_BATCH,))
        logits = network(inputs[rows] + 0.1 * torch.randn(_BATCH, inputs.shape[1]))
        loss = functional.binary_cross_entropy_with_logits(logits.squeeze(1), is_mri[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network


@torch.no_grad()
def statistics_of(network: nn.Module, inputs: Inputs, batch_size: int = 32) -> Floats:
    """Return the feature statistics ``[N, F]`` of inputs ``[N, C, S, S]``."""
    network = network.eval().cpu().float()
    chunks = []
    for start in range(0, len(inputs), batch_size):
        image = torch.from_numpy(np.array(inputs[start : start + batch_size]))
        features: list[Tensor] = network.features(image)  # type: ignore[operator]
        chunks.append(feature_statistics(features).double().numpy())
    return np.concatenate(chunks)


@torch.no_grad()
def scores_of(head: OodHead, statistics: Floats) -> Floats:
    """Return the head's scores ``[N]`` of statistics ``[N, F]``."""
    return head.score(torch.tensor(statistics, dtype=torch.float32)).double().numpy()
