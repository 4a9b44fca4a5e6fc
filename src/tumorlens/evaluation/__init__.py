"""Measurements of a finished model: performance, robustness, shortcuts, localization."""
