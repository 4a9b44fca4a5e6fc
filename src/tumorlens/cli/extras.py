"""Whether an optional part is installed, asked before a verb imports it."""

from __future__ import annotations

from importlib.util import find_spec

from tumorlens.errors import MissingExtraError


def require(extra: str, what: str, *packages: str) -> None:
    """Raise `MissingExtraError`, naming ``what`` needs it, unless all ``packages`` are there."""
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError(what, extra)
