"""Dashboards and alerts name metrics the service really has, and Prometheus takes them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_descriptors import DEPLOY, run
from tumorlens.serving.observability.metrics import Metrics

FOLDER = DEPLOY / "observability"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "tumorlens.json"


def known_metrics() -> set[str]:
    """Return every series name the service can expose, with its suffixes."""
    names = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    return names


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(
    "text",
    [*expressions(), *(rule["expr"] for rule in rules())],
)
def test_every_metric_asked_for_exists(text: str) -> None:
    asked = set(re.findall(r"(?<![:\w])tumorlens_\w+", text))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert asked <= known_metrics()
    assert set(re.findall(r"\btumorlens:\w+:\w+", text)) <= recorded


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"tumorlens_\w+", " ".join(expressions())))
    for family in Metrics().registry.collect():
        if not family.name.startswith("tumorlens_process_"):
            assert any(name.startswith(family.name) for name in shown), family.name


def test_problems_named_in_alerts_exist() -> None:
    from tumorlens.serving.problems import TYPES

    text = (FOLDER / "alerts.yaml").read_text() + DASHBOARD.read_text()
    assert set(re.findall(r'problem=\\?"([\w-]+)', text)) <= set(TYPES)


def test_the_dashboard_fits_its_grid() -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.system("promtool")
@pytest.mark.slow
def test_prometheus_takes_the_rules_and_they_fire_as_meant() -> None:
    run("promtool", "check", "config", "prometheus.yaml", folder=FOLDER)
    run("promtool", "test", "rules", "alerts.test.yaml", folder=FOLDER)


@pytest.mark.system("promtool")
def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    filled = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions())
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": filled}]}), "utf-8")
    run("promtool", "check", "rules", str(file))


@pytest.mark.system("promtool")
def test_prometheus_finds_the_metrics_well_named() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=Metrics().expose(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
