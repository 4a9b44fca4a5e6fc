"""What was done, without a value, name or path of the files it was done to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tumorlens import __version__
from tumorlens.deidentification.elements import Tally
from tumorlens.deidentification.rules import EDITION

PROFILE = "Basic Application Confidentiality Profile"


@dataclass
class SetAside:
    """A file that was not written: its number in the order of reading, from 1, and why."""

    file: int
    reason: str


@dataclass
class Report:
    """The result of a run.

    Attributes:
        read: files looked at.
        written: files written.
        set_aside: files that were not.
        warnings: what to look at with one's own eyes → number of files.
        elements: elements removed, emptied or replaced, by tag.
        pixel_data: files whose pixel data held more than pixels.
        stable: whether a key was given, so that another run gives the same UIDs.
    """

    stable: bool
    read: int = 0
    written: int = 0
    set_aside: list[SetAside] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    elements: Tally = field(default_factory=Counter)
    pixel_data: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "tumorlens": __version__,
            "profile": PROFILE,
            "standard": f"DICOM PS3.15 {EDITION}, table E.1-1",
            "uids": "stable under the key" if self.stable else "consistent within this run",
            "files": {
                "read": self.read,
                "written": self.written,
                "set_aside": [vars(each) for each in self.set_aside],
                "pixel_data_cleaned": self.pixel_data,
            },
            "warnings": dict(sorted(self.warnings.items())),
            "elements": [
                {"tag": tag, "name": name, "action": str(action), "count": count}
                for (tag, name, action), count in sorted(self.elements.items())
            ],
        }
