"""The profile `pacs` of compose.yaml cannot be run here, but its parts can be held together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tumorlens.cli.app import VerbGroup
from tumorlens.pacs.settings import PacsSettings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "pacs"


def services() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    return {name: each for name, each in found.items() if each.get("profiles") == ["pacs"]}


def test_the_profile_has_an_archive_a_viewer_and_us_on_loopback_only() -> None:
    assert set(services()) == {"orthanc", "pacs", "ohif"}
    for each in services().values():
        assert all(port.startswith("127.0.0.1:") for port in each.get("ports", []))


def test_the_command_is_one_and_may_finish_what_it_began() -> None:
    ours = services()["pacs"]
    verb, *arguments = ours["command"]
    group: Any = VerbGroup().get_command(None, "pacs")
    given = group.commands[verb].make_context(verb, arguments).params
    assert given["url"] == "http://orthanc:8042"
    # The receiver and the worker are waited for, one after the other.
    grace = int(ours["stop_grace_period"].removesuffix("s"))
    assert grace > 2 * PacsSettings.model_fields["stop_timeout"].default


def test_the_image_has_the_extras_and_its_folder_is_a_volume() -> None:
    text = (FOLDER / "Dockerfile").read_text("utf-8")
    (extras,) = re.findall(r"\.\[([\w,]+)\]", text)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)
    (folder,) = re.findall(r"TUMORLENS_PACS_FOLDER=(\S+)", text)
    assert f"VOLUME {folder}" in text
    assert services()["pacs"]["volumes"] == [f"pacs:{folder}"]


def test_the_viewer_asks_the_archive_below_its_own_address() -> None:
    settings = json.loads((FOLDER / "orthanc" / "orthanc.json").read_text("utf-8"))
    root = settings["DicomWeb"]["Root"]
    assert f"location {root} " in (FOLDER / "ohif" / "viewer.conf").read_text("utf-8")
    config = (FOLDER / "ohif" / "app-config.js").read_text("utf-8")
    assert re.findall(r"(?:qido|wado)Root: '([^']*)'", config) == [root.rstrip("/")] * 2
    assert str(settings["HttpPort"]) in services()["pacs"]["command"][1]
