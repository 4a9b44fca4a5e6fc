"""The pinned versions cover what pyproject.toml asks for, and name nothing but versions."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
PINNED = {
    canonicalize_name(name): version for name, _, version in (x.partition("==") for x in LINES)
}
ASKED = {*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())}


@pytest.mark.parametrize("asked", sorted(ASKED))
def test_what_is_asked_for_is_pinned_to_a_version_that_fits(asked: str) -> None:
    requirement = Requirement(asked)
    version = PINNED[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True)


def test_pins_are_plain_versions() -> None:
    for line in LINES:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line)
    assert len(PINNED) == len(LINES)


def test_no_pin_is_tied_to_one_build() -> None:
    assert all(Version(version).local is None for version in PINNED.values())


def test_nothing_pinned_needs_another_build_of_torch() -> None:
    assert not {"torchvision", "torchaudio", "timm", "grad-cam"} & set(PINNED)
