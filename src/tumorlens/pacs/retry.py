"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential waits with a random part, so that many waiting jobs do not come at once.

    Attributes:
        first: seconds after the first failure.
        longest: seconds at most.
    """

    first: float = 5.0
    longest: float = 600.0

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row, 1 or more.

        The wait doubles with each, and is between 75 and 100 % of that.
        """
        seconds = min(self.first * 2.0 ** min(max(failures - 1, 0), 30), self.longest)
        return seconds * random.uniform(0.75, 1.0)
