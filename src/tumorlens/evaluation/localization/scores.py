"""Localisation scores: do a model's class map and the baseline maps lie on the tumour?

Measured on the pixels of annotated tumour images. Every score has a 95 % interval from a bootstrap
over groups of near-duplicates and patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorlens.data.manifest import Record, group_numbers
from tumorlens.errors import DataError
from tumorlens.evaluation.localization.baselines import (
    MapMethod,
    centre_prior,
    class_map,
    occlusion,
    positive_evidence,
)
from tumorlens.evaluation.localization.cases import read_case, score_map
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.metrics.shares import mean_estimate

if TYPE_CHECKING:
    from torch import nn

    from tumorlens.evaluation.localization.sanity import Parity

Progress = Callable[[int, int], None]

MEASURES = {
    "pointing": "the peak lies in a box",
    "pointing_15px": "the peak lies within 15 pixels of a box (longer side 256)",
    "energy_in_box": "share of the map's energy in the boxes",
    "iou_at_area": "IoU of the boxes and as many of the hottest pixels",
    "box_iou": "IoU of the box around the main blob above half the peak and a box",
    "energy_on_background": "share of the energy outside the head",
    "energy_on_rim": "share of the energy on scalp and skull",
}
MODEL_MAP = "class map"
ALL = "all"
_NEEDS_WEIGHTS = "Grad-CAM, random weights, weight randomisation and parity need the run's weights"


@dataclass(frozen=True)
class MapScore:
    """The scores of one map on one image.

    Attributes:
        key, source, group: Of the record; a record without a group has its own group number.
        values: Measure → value, and ``distance`` from the peak to the nearest box in units of the
            image's longer side.
    """

    key: str
    source: str
    group: int
    values: dict[str, float]


@dataclass(frozen=True)
class ExplanationScores:
    """Localisation scores of a model's class map and of the baselines.

    Attributes:
        part: The measured part of the split; None without a split.
        scores: Map → source, or ``all`` → measure → estimate.
        images: Map → one entry for each image, in the order of the records.
        randomised: Last layer randomised, from the output down → Spearman's rank correlation of
            the map with the original (Adebayo et al., NeurIPS 2018); empty without the weights.
        parity: Difference between torch and the model file; None without the weights.
        skipped: Reasons why something was not measured.
    """

    part: str | None
    scores: dict[str, dict[str, dict[str, Estimate]]]
    images: dict[str, tuple[MapScore, ...]]
    randomised: dict[str, Estimate]
    parity: Parity | None
    skipped: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but ``images``, JSON-ready; an undefined value is None."""
        return {
            "part": self.part,
            "measures": dict(MEASURES),
            "maps": {
                name: {source: to_dicts(values) for source, values in by_source.items()}
                for name, by_source in self.scores.items()
            },
            "randomised_weights_rank_correlation": to_dicts(self.randomised),
            "parity": None if self.parity is None else asdict(self.parity),
            "skipped": list(self.skipped),
        }


def explanation_scores(
    predictor: Predictor,
    records: Sequence[Record],
    *,
    part: str | None = "test",
    network: nn.Module | None = None,
    limit: int | None = None,
    occluded: int = 40,
    randomised: int = 40,
    n_boot: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExplanationScores:
    """Score a model's class map and the baselines on the annotated tumours among records.

    Args:
        predictor: The opened model file.
        records: Any records; those without a tumour or without boxes are skipped.
        part: The part of a split they belong to, for the results.
        network: The torch network the file was exported from (`sanity.load_network`, or
            the one just trained), for Grad-CAM, random weights, weight randomisation and parity.
        limit: Random sample of this many images; None takes all.
        occluded: Number of images of each source for occlusion maps.
        randomised: Number of images for weight randomisation.
        n_boot: Number of resamples of the grouped bootstrap.
        seed: Seed of the bootstrap, the samples and the random weights.
        progress: Called with the number of images done and in total.

    Raises:
        DataError: No record has a tumour and boxes.
        ExplanationUnavailableError: The model has no class map.
        ConfigError: The network is not the one in the model file.
        InputError: An image cannot be decoded.
    """
    chosen = [record for record in records if record.label == 1 and record.boxes]
    if not chosen:
        raise DataError("no tumour image with boxes; explanations need a manifest with boxes")
    if limit is not None:
        chosen = [chosen[index] for index in sorted(_sample(np.arange(len(chosen)), limit, seed))]
    methods: dict[str, MapMethod] = {
        MODEL_MAP: class_map,
        "positive evidence": positive_evidence,
        "centre prior": centre_prior,
    }
    subsets = {"occlusion": _sample_by_source(chosen, occluded, seed)}
    checks = None
    if network is not None:
        from tumorlens.evaluation.localization.sanity import NetworkChecks

        checks = NetworkChecks(predictor, network, seed)
        methods |= checks.methods()
        subsets["randomised"] = _sample(np.arange(len(chosen)), randomised, seed)
    methods["occlusion"] = occlusion(predictor)
    rows: dict[str, list[MapScore]] = {name: [] for name in methods}
    for number, (record, group) in enumerate(zip(chosen, group_numbers(chosen), strict=True)):
        case = read_case(record, predictor)
        for name, method in methods.items():
            if number in subsets.get(name, {number}):
                tie_break = case.evidence if name == MODEL_MAP else None
                values = score_map(method(case), case, tie_break)
                rows[name].append(MapScore(record.key, record.source, int(group), values))
        if checks is not None:
            checks.add(case, int(group), randomise=number in subsets["randomised"])
        if progress is not None:
            progress(number + 1, len(chosen))
    return ExplanationScores(
        part,
        {name: _by_source(each, n_boot, seed) for name, each in rows.items()},
        {name: tuple(each) for name, each in rows.items()},
        {} if checks is None else checks.randomised(n_boot, seed),
        None if checks is None else checks.parity,
        () if checks is not None else (_NEEDS_WEIGHTS,),
    )


def _by_source(rows: Sequence[MapScore], n_boot: int, seed: int) -> dict[str, dict[str, Estimate]]:
    sources = sorted({row.source for row in rows})
    subsets = {name: [row for row in rows if row.source == name] for name in sources}
    if len(sources) > 1:
        subsets = {ALL: list(rows), **subsets}
    return {
        name: {
            measure: mean_estimate(
                [row.values[measure] for row in members],
                [row.group for row in members],
                n_boot=n_boot,
                seed=seed,
            )
            for measure in MEASURES
        }
        for name, members in subsets.items()
    }


def _sample_by_source(records: Sequence[Record], count: int, seed: int) -> set[int]:
    sources = np.array([record.source for record in records])
    return {
        index
        for name in np.unique(sources)
        for index in _sample(np.flatnonzero(sources == name), count, seed)
    }


def _sample(indices: np.ndarray[Any, np.dtype[np.int64]], count: int, seed: int) -> set[int]:
    rng = np.random.default_rng(seed)
    return set(rng.choice(indices, min(count, indices.size), replace=False).tolist())
