"""The record of a site calibration on a card, and how it is shown."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Kind = Literal["labelled", "unlabelled", "prior"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MetricName = Literal["log_loss", "ece", "sensitivity", "specificity"]
_NAMES: dict[str, str] = {"log_loss": "log loss", "ece": "ECE, equal width"}


class CardRecord(BaseModel):
    """Base of everything on a card: frozen, without unknown fields, NaN and infinity.

    Validators are built on first use: a card's own contains those of all its parts.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,
    )


class SiteValue(CardRecord):
    """A fitted value with its 95 % interval; without interval where it was given, not fitted."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


class SiteMetric(CardRecord):
    """A metric at the site, before and after calibration; two of them at the threshold.

    ``after`` is cross-validated by group; ``difference`` is after minus before, on the same scans.
    """

    name: MetricName
    before: SiteValue
    after: SiteValue
    difference: SiteValue


class SiteCalibration(CardRecord):
    """How ``tumorlens calibrate`` fitted this file to a site.

    It names no file, folder or person.

    Attributes:
        date: ISO date.
        kind: ``labelled`` scans, ``unlabelled`` scans, or a given ``prior``.
        base_sha256: Hash of the model file it was made from.
        n: Number of scans used, in ``groups`` of near-duplicates and persons.
        n_tumor: Tumours among them; None without labels.
        left_out: Number of scans left out as unreadable or out of domain.
        temperature, bias, threshold: The values on the card.
        prior: Share of tumours that the probabilities are calibrated for.
        metrics: Measured on the site's labelled scans; empty without labels.
    """

    date: str
    kind: Kind
    base_sha256: Sha256
    n: Annotated[int, Field(ge=0)]
    groups: Annotated[int, Field(ge=0)]
    n_tumor: Annotated[int, Field(ge=0)] | None = None
    left_out: Annotated[int, Field(ge=0)] = 0
    temperature: SiteValue
    bias: SiteValue
    threshold: SiteValue
    prior: SiteValue
    metrics: tuple[SiteMetric, ...] = ()

    @field_validator("date")
    @classmethod
    def _is_iso_date(cls, value: str) -> str:
        datetime.date.fromisoformat(value)
        return value

    def describe(self) -> str:
        """Return kind, number of scans and date as one phrase."""
        if self.kind == "prior":
            return f"by a given share of tumours, {self.date}"
        labels = f", {self.n_tumor} tumours" if self.n_tumor is not None else ""
        return f"on {self.n} {self.kind} scans in {self.groups} groups{labels}, {self.date}"

    def value_rows(self) -> list[tuple[str, str]]:
        """Return the fitted values as rows of name and value with interval."""
        return [
            ("temperature", str(self.temperature)),
            ("bias", str(self.bias)),
            ("threshold", str(self.threshold)),
            ("share of tumours", str(self.prior)),
        ]

    def metric_rows(self) -> list[tuple[str, str, str, str]]:
        """Return the metrics as rows of name, before, after and difference, with intervals."""
        return [
            (
                _NAMES.get(each.name, each.name),
                str(each.before),
                str(each.after),
                str(each.difference),
            )
            for each in self.metrics
        ]
