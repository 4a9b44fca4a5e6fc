"""The model card: everything needed to use a model correctly, as one validated record."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

from tumorlens.errors import ConfigError
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.metrics.decision import Conformal, Threshold
from tumorlens.modelfile.drift import DriftReference
from tumorlens.modelfile.series import SeriesRule
from tumorlens.modelfile.site import CardRecord, Sha256, SiteCalibration

# Incremented when the fields of a card change; older ones from `OLDEST_FORMAT` on are read too.
FORMAT_VERSION: Final = 6
OLDEST_FORMAT: Final = 4


def _as_spec(value: object) -> object:
    if not isinstance(value, dict):
        return value
    try:
        return PreprocessSpec.from_dict(value)
    except (ConfigError, TypeError) as error:
        raise ValueError(str(error)) from error


Spec = Annotated[PreprocessSpec, BeforeValidator(_as_spec), PlainSerializer(PreprocessSpec.to_dict)]


class Pooling(CardRecord):
    """How the logit is computed from the class map ``[h, w]``.

    ``mean``: the mean of all cells. ``topk``: the mean of the ``k`` largest.
    """

    kind: Literal["mean", "topk"]
    k: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _has_its_parameter(self) -> Pooling:
        if (self.k is not None) != (self.kind == "topk"):
            raise ValueError(f"pooling '{self.kind}': k is required for 'topk' and only there")
        return self


class Metric(CardRecord):
    """One metric: ``value`` with its 95 % interval over ``n`` images of ``split``."""

    name: str
    split: str
    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=0)]


class DataSource(CardRecord):
    """One source of training data; ``sha256`` is the digest of its manifest rows."""

    source: str
    n: Annotated[int, Field(ge=0)]
    sha256: Sha256
    licence: str
    citation: str | None = None


class SelfTest(CardRecord):
    """The model's output for a synthetic head, ``draw_phantom(seed, lesion=lesion)``.

    ``logit`` is before calibration; another machine may deviate by ``tolerance``.
    """

    seed: int
    lesion: bool
    logit: float
    tolerance: Annotated[float, Field(gt=0)] = 1e-3


class OodCheck(CardRecord):
    """The fraction of ``n`` images of one kind that the detector refused, with its 95 % interval.

    ``mri`` is True for brain MRI, which should not be refused.
    """

    images: str
    mri: bool
    refused: Annotated[float, Field(ge=0, le=1)]
    low: Annotated[float, Field(ge=0, le=1)]
    high: Annotated[float, Field(ge=0, le=1)]
    n: Annotated[int, Field(ge=1)]


class OodDetector(CardRecord):
    """The out-of-distribution detector in the graph, whose output ``in_domain`` scores an image.

    Attributes:
        threshold: Images with at least this score are in domain.
        method: How the score is computed and fitted, in words.
        n_mri: Number of brain MRI it was fitted on; ``n_negatives`` of other images.
        checks: Refusals of images it was not fitted on, without the rule-based quality check.
    """

    threshold: float = 0.0
    method: str
    n_mri: Annotated[int, Field(ge=0)]
    n_negatives: Annotated[int, Field(ge=0)]
    checks: tuple[OodCheck, ...] = ()


class BrainDetector(CardRecord):
    """The detector in the graph whose output ``enough_brain`` tells whether a slice shows enough.

    Attributes:
        threshold: Slices with at least this score show enough brain for an answer.
        method: How the score is computed and fitted, in words.
        n_enough: Slices with enough brain it was fitted on; ``n_too_little`` of others.
        checks: Slices it was not fitted on; ``mri`` is True for those with enough brain, and
            ``refused`` the share that was set aside.
    """

    threshold: float = 0.0
    method: str
    n_enough: Annotated[int, Field(ge=0)]
    n_too_little: Annotated[int, Field(ge=0)]
    checks: tuple[OodCheck, ...] = ()


class ModelCard(CardRecord):
    """The description of a model in its file. Unknown fields are refused.

    Attributes:
        created: ISO date, such as ``2026-11-23``.
        architecture: Name in the registry of networks, built with ``architecture_args``.
        labels: Names of class 0 and class 1.
        preprocess: The preprocessing, used by inference without changes.
        pooling: How the logit is computed from the map; ``None`` without a map.
        temperature, bias: ``prob = sigmoid(logit / temperature + bias)``; 1 and 0 mean not
            calibrated.
        prior: Share of tumours that the probabilities are calibrated for; None if not known.
        threshold: ``label`` is ``tumor`` from this probability on.
        conformal: Quantiles by error rate; decisions use the first entry. A decision is
            `uncertain` unless the prediction set contains only the label at the threshold.
        site: How the file was fitted to a site by ``tumorlens calibrate``; None if it was not.
        series: How slices are combined into a series' probability; None takes
            `DEFAULT_SERIES_RULE`, which is not calibrated.
        ood: The out-of-distribution detector; None without the output ``in_domain``.
        brain: The brain detector; None without the output ``enough_brain``.
        drift: Histograms of scores and inputs that a service compares its answers with; None
            where there are none.
        recipe: The full training configuration, for documentation only.
    """

    format_version: Literal[6] = FORMAT_VERSION
    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)]
    created: str
    architecture: str
    architecture_args: dict[str, Any] = Field(default_factory=dict)
    labels: tuple[Literal["healthy"], Literal["tumor"]] = ("healthy", "tumor")
    preprocess: Spec
    pooling: Pooling | None
    has_map: bool
    temperature: Annotated[float, Field(gt=0)] = 1.0
    bias: float = 0.0
    prior: Annotated[float, Field(gt=0, lt=1)] | None = None
    threshold: Threshold
    conformal: tuple[Conformal, ...] | None = None
    site: SiteCalibration | None = None
    series: SeriesRule | None = None
    ood: OodDetector | None = None
    brain: BrainDetector | None = None
    drift: DriftReference | None = None
    metrics: tuple[Metric, ...] = ()
    data: tuple[DataSource, ...] = ()
    recipe: dict[str, Any] = Field(default_factory=dict)
    intended_use: str
    limitations: tuple[str, ...] = ()
    licence: str
    citation: str | None = None
    self_test: SelfTest

    @field_validator("created")
    @classmethod
    def _is_iso_date(cls, value: str) -> str:
        datetime.date.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> ModelCard:
        if self.has_map != (self.pooling is not None):
            raise ValueError("pooling must be given exactly when has_map is true")
        if not 0 <= self.threshold.value <= 1:
            raise ValueError(f"threshold {self.threshold.value} is outside 0..1")
        return self


def from_older_format(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a card of format 4 or 5 as one of the present format.

    Format 5 has no reference for drift. Format 4 has no bias either, and its prior where it is
    known: temperature and conformal sets were fitted on the same scans, whose labels the sets'
    entries count.
    """
    card = {**raw, "format_version": FORMAT_VERSION}
    if raw["format_version"] == OLDEST_FORMAT and raw.get("conformal"):
        tumours, healthy = (raw["conformal"][0][f"n_{name}"] for name in ("tumor", "healthy"))
        card["prior"] = tumours / max(tumours + healthy, 1)
    return card
