"""The record of reference histograms on a card, which a service compares its answers with."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from tumorlens.modelfile.site import CardRecord

_Count = Annotated[int, Field(ge=0)]


class ReferenceHistogram(CardRecord):
    """How one statistic of the answered scans is distributed.

    Attributes:
        name: One of `tumorlens.drift.statistics.STATISTICS`.
        edges: Inner edges of the bins, strictly increasing; a value on an edge is below it.
        counts: Scans in each bin, one more than edges.
    """

    name: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
    edges: tuple[float, ...]
    counts: tuple[_Count, ...]

    @model_validator(mode="after")
    def _fits_together(self) -> ReferenceHistogram:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} counts")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must increase strictly")
        return self


class DriftReference(CardRecord):
    """Histograms of scores and inputs of scans that the model answers as it should.

    It names no file, folder or person, and holds no scan's value.

    Attributes:
        date: ISO date.
        scans: Which scans, in words.
        n: Number of scans, in ``groups`` of near-duplicates and persons.
        histograms: One for each statistic.
    """

    date: str
    scans: Annotated[str, Field(min_length=1)]
    n: Annotated[int, Field(ge=1)]
    groups: Annotated[int, Field(ge=1)]
    histograms: tuple[ReferenceHistogram, ...]

    @field_validator("date")
    @classmethod
    def _is_iso_date(cls, value: str) -> str:
        datetime.date.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _counts_every_scan(self) -> DriftReference:
        names = [each.name for each in self.histograms]
        if len(set(names)) < len(names):
            raise ValueError("a statistic has two histograms")
        if any(sum(each.counts) != self.n for each in self.histograms):
            raise ValueError(f"every histogram must hold the {self.n} scans")
        return self

    def describe(self) -> str:
        """Return number and kind of scans, and the date, as one phrase."""
        names = ", ".join(each.name for each in self.histograms)
        return f"{self.n} {self.scans} in {self.groups} groups, {self.date}: {names}"
