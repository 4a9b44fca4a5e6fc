"""Fitting the in-domain guard to a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional

from tumorlens.errors import DataError
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.models.ensemble import EvidenceEnsemble
from tumorlens.ood.detector import BLOCKS, Floats, InDomainGuard, Opinion, fit_block, statistics
from tumorlens.ood.sampling import Inputs, draw_negatives, known_negatives, positives

SCANS, PICTURES = 3200, 2800
# Of the scans that place the threshold, at most this share is refused.
MOST_REFUSED = 0.001
_PLACING = 2000  # training scans, evenly spaced, that place it beside the held-out ones
_STEPS, _BATCH = 1200, 256
# Classifiers trained apart, whose mean is the guard's: one moves with its seed.
_VOTERS, _HIDDEN = 5, 48
_COPIES = 6  # of each real picture that is no MRI
_SMALLEST = 50  # scans without which no guard is fitted


@dataclass(frozen=True)
class Scans:
    """Scans as network inputs float32 ``[N, C, S, S]``, with what is told apart of them.

    ``strata`` names each scan's kind, such as source and view.
    """

    inputs: Inputs
    strata: Sequence[str]


def has_features(network: nn.Module) -> bool:
    """Tell whether a guard can be fitted: the network shows its features apart from its answer."""
    return hasattr(network, "features") and hasattr(network, "answer")


def fit_guard(
    network: nn.Module,
    train: Scans,
    held: Scans,
    spec: PreprocessSpec,
    seed: int = 0,
    not_mri: Inputs | None = None,
) -> InDomainGuard:
    """Fit a guard to a network with `features`; minutes on one core with default counts.

    Args:
        network: Trained; its weights are not changed.
        train: The scans it was trained on.
        held: Other scans, which place the threshold, beside training scans, and nothing else.
        spec: The network's preprocessing.
        seed: Of the drawn pictures, the augmentation and the classifier.
        not_mri: Real pictures to refuse, such as CT slices, float32 ``[N, C, S, S]``; they join the
            drawn ones.

    Raises:
        DataError: Fewer than 50 scans in either.
    """
    if min(len(train.inputs), len(held.inputs)) < _SMALLEST:
        raise DataError(
            f"a guard needs {_SMALLEST} scans to fit and as many to place it; got "
            f"{len(train.inputs)} and {len(held.inputs)}"
        )
    scans = positives(train.inputs, train.strata, SCANS, spec, seed)
    torn = [np.asarray(scan[0]) for scan in train.inputs[:: max(1, len(train.inputs) // 100)]]
    drawn = draw_negatives(PICTURES, torn, spec, seed)
    if not_mri is not None and len(not_mri):
        drawn = np.concatenate([drawn, known_negatives(not_mri, _COPIES, seed)])
    # Held-out scans are few heads: alone they place a threshold that one picture more would move.
    placing = np.concatenate([held.inputs, train.inputs[:: -(-len(train.inputs) // _PLACING)]])
    return fit_on_statistics(
        statistics_of(network, scans),
        statistics_of(network, drawn),
        statistics_of(network, placing),
        seed,
        len(network.members) if isinstance(network, EvidenceEnsemble) else 1,
    )


def fit_on_statistics(
    scans: Floats, drawn: Floats, placing: Floats, seed: int, members: int = 1
) -> InDomainGuard:
    """Fit a guard to statistics of scans, of drawn pictures, and of scans that place its threshold.

    Each is ``[N, F]``, ``F`` counting the statistics of all members, one member after the other.
    """
    of_members = zip(*(np.split(found, members, axis=1) for found in (scans, drawn)), strict=True)
    guard = InDomainGuard([_opinion(own, strange, seed) for own, strange in of_members]).eval()
    ranked = np.sort(scores_of(guard, placing))
    guard.threshold.fill_(float(ranked[int(MOST_REFUSED * len(ranked))]) - 1e-3)
    return guard


def _opinion(scans: Floats, drawn: Floats, seed: int) -> Opinion:
    """Fit what one network's features say."""
    order = np.random.default_rng([seed, 3]).permutation(len(scans))
    cut = int(0.7 * len(order))
    # Distances are measured on scans their whitening has not seen, or scans would look too near.
    known, fresh = scans[order[:cut]], scans[order[cut:]]
    blocks = [fit_block(known, columns, keep) for columns, keep in _columns(scans)]
    with torch.random.fork_rng(devices=[]):  # layers start from the global state: leave it alone
        opinion = Opinion(blocks, hidden=_VOTERS * _HIDDEN)
    _train_classifier(opinion, np.concatenate([known, fresh]), drawn, seed)
    return opinion


def _columns(scans: Floats) -> list[tuple[NDArray[np.int64], int]]:
    """Return each block's columns: stages hold C, 2C, 4C and 8C channels, means then deviations."""
    base = scans.shape[1] // 2 // sum(2**stage for stage in range(4))
    widths = [2 * base * 2**stage for stage in range(4)]
    starts = np.concatenate([[0], np.cumsum(widths)])
    return [
        (np.concatenate([np.arange(starts[s], starts[s + 1]) for s in stages]), keep)
        for stages, keep in BLOCKS
    ]


def _train_classifier(opinion: Opinion, scans: Floats, drawn: Floats, seed: int) -> None:
    """Train classifiers apart and lay them side by side in the opinion's, which is their mean."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        found = torch.tensor(np.concatenate([scans, drawn]), dtype=torch.float32)
        seen, _ = opinion.describe(found)
    truth = torch.cat([torch.ones(len(scans)), torch.zeros(len(drawn))])
    with torch.random.fork_rng(devices=[]):
        voters = [_trained(seen, truth, generator) for _ in range(_VOTERS)]
    first, last = ([pair[layer] for pair in voters] for layer in (0, 1))
    opinion.classifier.load_state_dict(
        {
            "0.weight": torch.cat([layer.weight for layer in first]),
            "0.bias": torch.cat([layer.bias for layer in first]),
            "3.weight": torch.cat([layer.weight for layer in last], dim=1) / _VOTERS,
            "3.bias": torch.stack([layer.bias for layer in last]).mean(dim=0),
        }
    )


def _trained(seen: Tensor, truth: Tensor, generator: Generator) -> tuple[nn.Linear, nn.Linear]:
    """Return the two layers of a classifier of what the guard sees, trained from fresh weights."""
    first, last = nn.Linear(seen.shape[1], _HIDDEN), nn.Linear(_HIDDEN, 1)
    layers = nn.ModuleList([first, last])
    _reset(layers, generator)
    optimizer = torch.optim.AdamW(layers.parameters(), 2e-3, weight_decay=0.1)
    for _ in range(_STEPS):
        rows = torch.randint(len(seen), (_BATCH,), generator=generator)
        noise = 0.1 * torch.randn(_BATCH, seen.shape[1], generator=generator)
        hidden = functional.relu(first(seen[rows] + noise))
        # Dropout by our own generator: nothing here may depend on, or move, the global one.
        kept = (torch.rand(hidden.shape, generator=generator) > 0.3).float() / 0.7
        loss = functional.binary_cross_entropy_with_logits(
            last(hidden * kept).squeeze(1), truth[rows]
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return first, last


def _reset(classifier: nn.Module, generator: torch.Generator) -> None:
    for layer in classifier.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()


@torch.no_grad()
def statistics_of(network: nn.Module, inputs: Inputs, batch_size: int = 32) -> Floats:
    """Return the statistics ``[N, F]`` of inputs ``[N, C, S, S]``."""
    network = network.eval().cpu().float()
    chunks = []
    for start in range(0, len(inputs), batch_size):
        image = torch.from_numpy(np.array(inputs[start : start + batch_size]))
        features: list[Tensor] = network.features(image)  # type: ignore[operator]
        chunks.append(statistics(features).double().numpy())
    return np.concatenate(chunks)


@torch.no_grad()
def scores_of(guard: InDomainGuard, found: Floats) -> Floats:
    """Return the guard's scores ``[N]`` of statistics ``[N, F]``."""
    return guard.score(torch.tensor(found, dtype=torch.float32)).double().numpy()
