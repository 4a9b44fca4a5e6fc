"""Whether an image is in the model's domain: the rules, the OOD detector, the brain detector."""

from __future__ import annotations

from tumorlens.imaging.quality import Quality
from tumorlens.inference.engine import Outputs
from tumorlens.modelfile import ModelCard

NOT_AN_MRI = "not recognised as a slice of a head's MRI (it may be another picture, an X-ray or CT)"
TOO_LITTLE_BRAIN = "too little brain"


def domain_of(quality: Quality, outputs: Outputs, row: int, card: ModelCard) -> Quality:
    """Return the first reason why row ``row`` of the outputs has no answer, if any.

    Args:
        quality: The result of the rule-based check; it comes first.
        outputs: The network's.
        row: Of the image.
        card: The model's, with the detectors' thresholds.
    """
    for detector, scores, reason in (
        (card.ood, outputs.in_domain, NOT_AN_MRI),
        (card.brain, outputs.enough_brain, TOO_LITTLE_BRAIN),
    ):
        # Negated so that a NaN score is refused too.
        if (quality.usable and detector is not None and scores is not None
                and not scores[row] >= detector.threshold):  # fmt: skip
            return Quality(usable=False, reason=reason)
    return quality
