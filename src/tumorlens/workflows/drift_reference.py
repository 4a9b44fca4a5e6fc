"""The scans a model was calibrated on → the reference for drift on its card."""

from __future__ import annotations

import numpy as np
import structlog

from tumorlens.data.manifest import group_numbers
from tumorlens.drift.reference import columns, make_reference
from tumorlens.drift.statistics import observe
from tumorlens.imaging.quality import Quality
from tumorlens.inference.domain import domain_of
from tumorlens.inference.engine import Engine
from tumorlens.metrics.calibration import probability
from tumorlens.metrics.drift import MIN_VALUES
from tumorlens.modelfile import DriftReference, ModelCard
from tumorlens.training.decoding import Parts

log = structlog.get_logger(__name__)

_BATCH = 64
_USABLE = Quality(True, None)


def drift_reference(engine: Engine, card: ModelCard, parts: Parts) -> DriftReference | None:
    """Return the histograms of the calibration scans, or of the validation scans without any.

    Scans that the card's detectors refuse are left out, as a service answers none of them. None,
    with a warning, where fewer than 50 scans are left.

    Args:
        engine: The finished graph.
        card: Its card, with calibration and detectors.
        parts: Records and network inputs of the run.
    """
    part = next((name for name in ("calibration", "validation") if name in parts.inputs), None)
    inputs = parts.inputs[part] if part else np.zeros((0, 1, 1, 1), np.float32)
    rows: list[int] = []
    observed: list[tuple[float, ...]] = []
    for start in range(0, len(inputs), _BATCH):
        batch = np.ascontiguousarray(inputs[start : start + _BATCH], dtype=np.float32)
        outputs = engine.run(batch)
        probs = probability(outputs.logits, card.temperature, card.bias)
        for row, tensor in enumerate(batch):
            if domain_of(_USABLE, outputs, row, card).usable:
                domain = None if outputs.in_domain is None else float(outputs.in_domain[row])
                rows.append(start + row)
                observed.append(observe(tensor, float(probs[row]), domain))
    if part is None or len(rows) < MIN_VALUES:
        log.warning("no reference for drift: too few scans", scans=len(rows), needed=MIN_VALUES)
        return None
    groups = group_numbers([parts.records[part][row] for row in rows])
    return make_reference(columns(observed), groups, f"{part} scans")
