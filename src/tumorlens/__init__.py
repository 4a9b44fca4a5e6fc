"""TumorLens: brain MRI in; tumour or not, where it looked, and how far to trust it, out.

A research tool, not for clinical use.
"""

from __future__ import annotations

__version__ = "0.1.0"
