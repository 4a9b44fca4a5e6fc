"""docs/serving.md names every problem and every metric, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tumorlens.serving.problems import TYPES
from tumorlens.serving.settings import PREFIX, Settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text("utf-8")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_problem_stands_beside_its_status() -> None:
    documented = {
        slug: int(status)
        for row in re.findall(r"^\| ([\d, ]+) \| (.*) \|$", section("Problems"), re.MULTILINE)
        for slug, status in zip(
            re.findall(r"`([a-z-]+)`", row[1]),
            (row[0].split(", ") * 3) if "," in row[0] else [row[0]] * 9,
            strict=False,
        )
    }
    assert documented == {slug: kind.status for slug, kind in TYPES.items()}


def test_every_metric_is_explained(client: TestClient) -> None:
    families = text_string_to_metric_families(client.get("/metrics").text)
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if not family.name.endswith("_created")
    }
    ours = {name for name in exposed if not name.startswith("tumorlens_process_")}
    assert set(re.findall(r"`(tumorlens_\w+)`", section("Metrics"))) == ours


def test_only_settings_that_exist_are_named() -> None:
    named = {name.removeprefix(PREFIX).lower() for name in re.findall(rf"{PREFIX}[A-Z_]+", TEXT)}
    assert named <= set(Settings.model_fields)


def test_the_document_names_the_types_of_the_pages_files(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    documented = set(paths["/assets/{name}"]["get"]["responses"]["200"]["content"])
    names = paths["/assets/{name}"]["get"]["parameters"][0]["schema"]["enum"]
    served = {client.get(f"/assets/{name}").headers["content-type"] for name in names}
    assert {kind.partition(";")[0] for kind in served} == documented
