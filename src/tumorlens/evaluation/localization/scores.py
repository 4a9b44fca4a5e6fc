"""Explanation scores: does a model's map lie on the tumour, and does any rival's lie better?

Measured on annotated tumour pictures only, on each picture's own pixels. Every figure has a 95 %
interval that resamples groups of copies and patients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorlens.data.manifest import Record
from tumorlens.errors import DataError
from tumorlens.evaluation.localization.baselines import (
    Maker,
    centre_prior,
    class_map,
    occlusion,
    positive_evidence,
)
from tumorlens.evaluation.localization.cases import place, read_case
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.metrics.shares import mean_estimate
from tumorlens.modelfile import Metric

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
OWN = "class map"
ALL = "all"
_WITHOUT_RUN = "Grad-CAM, random weights, weight randomisation and parity need the run's weights"


@dataclass(frozen=True)
class PlacedMap:
    """One map on one picture.

    Attributes:
        key, source, group: Of the record; no group stands for a group of its own.
        values: Measure → value; ``distance`` from the peak to the nearest box beside them, in
            units of the picture's longer side.
    """

    key: str
    source: str
    group: int
    values: dict[str, float]


@dataclass(frozen=True)
class ExplanationScores:
    """What a model's explanations are worth.

    Attributes:
        part: Part of the split that was measured; None for all of the data.
        scores: Map → source, or ``all`` → measure → estimate.
        pictures: Map → one entry a picture, in the records' order.
        randomised: Layers randomised from the answer down to the named one → Spearman's rank
            correlation of the map with the original (Adebayo et al., NeurIPS 2018); empty
            without the run's weights.
        parity: How far torch and the model file are apart; None without the run's weights.
        left_out: What was not measured, and why.
    """

    part: str | None
    scores: dict[str, dict[str, dict[str, Estimate]]]
    pictures: dict[str, tuple[PlacedMap, ...]]
    randomised: dict[str, Estimate]
    parity: Parity | None
    left_out: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single pictures, JSON-ready; an undefined figure is None."""
        return {
            "part": self.part,
            "measures": dict(MEASURES),
            "maps": {
                name: {source: to_dicts(values) for source, values in by_source.items()}
                for name, by_source in self.scores.items()
            },
            "randomised_weights_rank_correlation": to_dicts(self.randomised),
            "parity": None if self.parity is None else asdict(self.parity),
            "left_out": list(self.left_out),
        }

    def to_metrics(self) -> tuple[Metric, ...]:
        """Return the class map's figures as a card states them, split such as ``test/br35h``."""
        part = self.part or "all records"
        return tuple(
            Metric(
                name=measure,
                split=part if source == ALL else f"{part}/{source}",
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                n=estimate.n,
            )
            for source, values in self.scores[OWN].items()
            for measure, estimate in values.items()
            if math.isfinite(estimate.low)
        )


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
    """Measure a model's class map, and its rivals, on the annotated tumours among records.

    Args:
        predictor: The opened model file.
        records: Any records; those without a tumour or without boxes are passed over.
        part: What the records are, for the figures' names.
        network: The torch network the file was exported from (`explain_network.load_network`, or
            the one just trained), for Grad-CAM, random weights, weight randomisation and parity.
        limit: Measure this many pictures, drawn by ``seed``; None measures all.
        occluded: Occlusion is measured on this many pictures of each source, drawn by ``seed``.
        randomised: Weight randomisation is measured on this many pictures.
        n_boot, seed: Of the bootstrap; the seed also of the draws and of the random weights.
        progress: Called with pictures done and pictures in all.

    Raises:
        DataError: No record has a tumour and boxes.
        ExplanationUnavailableError: The model has no class map.
        ConfigError: The network is not the one in the model file.
        InputError: A picture cannot be decoded.
    """
    chosen = [record for record in records if record.label == 1 and record.boxes]
    if not chosen:
        raise DataError("no tumour picture with boxes; explanations need a manifest with boxes")
    if limit is not None:
        chosen = [chosen[at] for at in sorted(_spread(np.arange(len(chosen)), limit, seed))]
    makers: dict[str, Maker] = {
        OWN: class_map,
        "positive evidence": positive_evidence,
        "centre prior": centre_prior,
    }
    few = {"occlusion": _draw_by_source(chosen, occluded, seed)}
    tests = None
    if network is not None:
        from tumorlens.evaluation.localization.sanity import NetworkTests

        tests = NetworkTests(predictor, network, seed)
        makers |= tests.makers()
        few["randomised"] = _spread(np.arange(len(chosen)), randomised, seed)
    makers["occlusion"] = occlusion(predictor)
    placed: dict[str, list[PlacedMap]] = {name: [] for name in makers}
    for number, record in enumerate(chosen):
        case = read_case(record, predictor)
        group = -1 - number if record.group is None else record.group
        for name, maker in makers.items():
            if number in few.get(name, {number}):
                order = case.evidence if name == OWN else None
                values = place(maker(case), case, order)
                placed[name].append(PlacedMap(record.key, record.source, group, values))
        if tests is not None:
            tests.see(case, group, randomise=number in few["randomised"])
        if progress is not None:
            progress(number + 1, len(chosen))
    return ExplanationScores(
        part,
        {name: _by_source(rows, n_boot, seed) for name, rows in placed.items()},
        {name: tuple(rows) for name, rows in placed.items()},
        {} if tests is None else tests.randomised(n_boot, seed),
        None if tests is None else tests.parity,
        () if tests is not None else (_WITHOUT_RUN,),
    )


def _by_source(rows: Sequence[PlacedMap], n_boot: int, seed: int) -> dict[str, dict[str, Estimate]]:
    sources = sorted({row.source for row in rows})
    columns = {ALL: list(rows)}
    if len(sources) > 1:
        columns |= {name: [row for row in rows if row.source == name] for name in sources}
    else:
        columns = {sources[0]: list(rows)}
    return {
        column: {
            measure: mean_estimate(
                [row.values[measure] for row in members],
                [row.group for row in members],
                n_boot=n_boot,
                seed=seed,
            )
            for measure in MEASURES
        }
        for column, members in columns.items()
    }


def _draw_by_source(records: Sequence[Record], count: int, seed: int) -> set[int]:
    sources = np.array([record.source for record in records])
    return {
        index
        for name in np.unique(sources)
        for index in _spread(np.flatnonzero(sources == name), count, seed)
    }


def _spread(indices: np.ndarray[Any, np.dtype[np.int64]], count: int, seed: int) -> set[int]:
    drawn = np.random.default_rng(seed).choice(indices, min(count, indices.size), replace=False)
    return {int(index) for index in drawn}
