"""Files for other platforms cannot be run here, but what they say of us can be checked."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from tumorlens.serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
FILES = [
    ROOT / "Dockerfile",
    ROOT / "compose.yaml",
    *sorted(path for path in DEPLOY.rglob("*") if path.suffix in {".yaml", ".json", ".toml"}),
]
# NAME: value, NAME=value, NAME = "value", or name/value pairs, as the formats have it.
ASSIGNED = re.compile(
    r"(TUMORLENS_[A-Z_]+)"
    r'"?(?:\s*[:=]\s*|\s*,?\s*"?value"?:\s*)"?([^"\s\\]+)'
)


def parse(path: Path) -> list[Any]:
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        return [json.loads(text)]
    if path.suffix == ".toml":
        return [tomllib.loads(text)]
    return list(yaml.safe_load_all(text))


def manifests(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.yaml")):
        yield from (found for found in parse(path) if found)


def manifest(kind: str) -> dict[str, Any]:
    return next(found for found in manifests(KUBERNETES / "base") if found["kind"] == kind)


def run(*command: str, folder: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", FILES[1:], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_descriptor_parses(path: Path) -> None:
    assert all(parse(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('TUMORLENS_PORT = "8000"', ("TUMORLENS_PORT", "8000")),
        ("- TUMORLENS_PORT=8000", ("TUMORLENS_PORT", "8000")),
        ("- name: TUMORLENS_PORT\n  value: '8000'".replace("'", '"'), ("TUMORLENS_PORT", "8000")),
        ('{ "name": "TUMORLENS_PORT", "value": "8000" }', ("TUMORLENS_PORT", "8000")),
        ('"TUMORLENS_PORT": "8000"', ("TUMORLENS_PORT", "8000")),
    ],
)
def test_assignments_are_found_in_every_format(text: str, expected: tuple[str, str]) -> None:
    assert ASSIGNED.findall(text) == [expected]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_named_exist_and_take_the_value(path: Path) -> None:
    text = path.read_text("utf-8")
    assigned = dict(ASSIGNED.findall(text))
    assert set(assigned) == set(re.findall(r"\bTUMORLENS_[A-Z_]+", text))
    for name, value in assigned.items():
        field = Settings.model_fields[name.removeprefix("TUMORLENS_").lower()]
        TypeAdapter(field.annotation).validate_strings(value)


def test_containers_ask_paths_the_service_has() -> None:
    asked = set()
    for path in FILES:
        asked |= set(
            re.findall(r'(?:[pP]ath"?\s*[:=]\s*"?|CheckPath: |:8000)(/\w+)', path.read_text())
        )
    assert asked >= {"/healthz", "/readyz", "/metrics"}
    files = {"/etc", "/var", "/tmp", "/keys", "/assets", "/examples", "/problems"}
    assert asked - files == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/predict",
        "/explain",
        "/model",
        "/docs",
        "/openapi",
    }


def test_pods_are_confined() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert manifest("NetworkPolicy")["spec"]["egress"] == []


def test_pods_have_time_to_finish_what_they_accepted() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    stop = Settings.model_fields["stop_timeout"].default
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > before + stop
    assert (
        json.loads((DEPLOY / "aws/ecs-task.json").read_text())["containerDefinitions"][0][
            "stopTimeout"
        ]
        > stop
    )
    assert tomllib.loads((DEPLOY / "fly/fly.toml").read_text())["kill_timeout"] > stop


def test_probes_do_not_kill_a_busy_pod() -> None:
    container = manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]
    # Only readiness may depend on the queue: a full queue must not restart the process.
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.system("kubectl")
@pytest.mark.parametrize("folder", ["base", "overlays/public"])
def test_kustomize_builds(folder: str) -> None:
    built = run("kubectl", "kustomize", str(KUBERNETES / folder))
    objects = {found["kind"]: found for found in yaml.safe_load_all(built)}
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"} <= set(
        objects
    )
    pod = objects["Deployment"]["spec"]["template"]
    settings = pod["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"]
    assert settings == objects["ConfigMap"]["metadata"]["name"] != "tumorlens"
    selected = objects["Service"]["spec"]["selector"].items()
    assert selected <= pod["metadata"]["labels"].items()


def test_compose_confines_the_service() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    ours = services["tumorlens"]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert all(
        port.startswith("127.0.0.1:")
        for found in services.values()
        for port in found.get("ports", [])
    )
    mounted = [
        volume.split(":")[0] for found in services.values() for volume in found.get("volumes", [])
    ]
    assert all((ROOT / path).exists() for path in mounted if path.startswith("./"))


def test_the_build_context_holds_no_data() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {"!LICENSE", "!README.md", "!constraints.txt", "!pyproject.toml", "!src"}
    assert {rule for rule in rules if rule.startswith("!")} == kept
