"""The result of a shortcut test: an estimate, its limit, and the finding if it is missed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tumorlens.metrics.intervals import Estimate


@dataclass(frozen=True)
class Measurement:
    """One quantity that a shortcut test measured.

    Attributes:
        test: Name of the test, such as ``masked tumour``.
        name: Name of the quantity, such as ``inpainted: probability drops``.
        estimate: Value with 95 % interval and n.
        at_least, at_most: Limits that a good model meets; None for no limit.
        meaning: The finding if a limit is missed, with ``{}`` for the value.
        percent: Whether the value is displayed in %.
    """

    test: str
    name: str
    estimate: Estimate
    at_least: float | None = None
    at_most: float | None = None
    meaning: str = ""
    percent: bool = True

    @property
    def fails(self) -> bool:
        """Whether the value, regardless of its interval, misses a limit; False if undefined."""
        value = self.estimate.value
        if not math.isfinite(value):
            return False
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return not low <= value <= high

    def finding(self) -> str:
        """Return the finding for a missed limit: a sentence with value, interval and n."""
        e = self.estimate
        if self.percent:
            shown = f"{100 * e.value:.0f} %"
            between = f"{100 * e.low:.0f} to {100 * e.high:.0f} %"
        else:
            shown, between = f"{e.value:.2f}", f"{e.low:.2f} to {e.high:.2f}"
        return f"{self.meaning.format(shown)} (95 % interval {between}, n = {e.n})."

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready; an undefined value is None."""
        limits = {"at_least": self.at_least, "at_most": self.at_most, "fails": self.fails}
        return {"test": self.test, "name": self.name, **self.estimate.to_dict(), **limits}
