"""What the Dockerfile does, done without a container engine.

Its own commands build an environment in a temporary folder; the result is started as the image
would be: its variables, its entry point, no capabilities, and nothing writable but ``/tmp``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from tumorlens.imaging.phantom import draw_phantom

ROOT = Path(__file__).resolve().parents[2]
HOME = "/opt/tumorlens"

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [
        (line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line
    ]


def stages() -> list[list[Instruction]]:
    found: list[list[Instruction]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def value(stage: list[Instruction], wanted: str) -> str:
    return next(rest for name, rest in stage if name == wanted)


@dataclass(frozen=True)
class Built:
    """The environment that the build stage made, and the folder that stands for ``/tmp``."""

    home: Path
    scratch: Path

    def argv(self, text: str) -> list[str]:
        words: list[str] = json.loads(text[text.index("[") :])
        return [word.replace(HOME, str(self.home)) for word in words]

    def variables(self, port: int) -> dict[str, str]:
        pairs = re.findall(r"(\w+)=(\S+)", value(stages()[1], "ENV"))
        found = {name: text.replace(HOME, str(self.home)) for name, text in pairs}
        assert found["HOME"] == "/tmp"
        found["PATH"] = found["PATH"].replace("$PATH", os.environ["PATH"])
        scratch = str(self.scratch)
        return {**found, "HOME": scratch, "TMPDIR": scratch, "TUMORLENS_PORT": str(port)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("image")
    source = folder / "src"
    source.mkdir()
    image = Built(folder / "opt", folder / "tmp")
    image.scratch.mkdir()
    for name, rest in stages()[0]:
        if name == "COPY":
            *origins, target = rest.split()
            for origin in origins:
                _copy(ROOT / origin, source / target)
        elif name == "RUN":
            argv = image.argv(rest)
            argv[0] = sys.executable if argv[0] == "python" else argv[0]
            subprocess.run(argv, cwd=source, check=True, stdout=subprocess.DEVNULL, timeout=900)
    shutil.rmtree(source)  # the second stage copies the environment alone
    _set_writable(image.home, False)
    yield image
    _set_writable(image.home, True)


def _copy(origin: Path, target: Path) -> None:
    if origin.is_dir():
        shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(origin, target)


def _set_writable(folder: Path, writable: bool) -> None:
    for place, _, files in os.walk(folder):
        for path in (Path(place), *(Path(place) / file for file in files)):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | 0o200 if writable else mode & ~0o222)


def confined() -> list[str]:
    """Return the prefix that takes root's powers away, so that file modes hold for it too."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-all", "--no-new-privs"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_the_image_never_uses_a_shell() -> None:
    for name, rest in instructions():
        if name in {"RUN", "CMD", "ENTRYPOINT"}:
            assert rest.startswith("["), f"{name} {rest}"
        if name == "HEALTHCHECK":
            assert "CMD [" in rest


def test_the_image_is_not_root_and_carries_only_the_environment() -> None:
    final = stages()[1]
    assert value(final, "USER") == "10001:10001"
    copies = [rest for name, rest in final if name == "COPY"]
    assert copies == [f"--from=build {HOME} {HOME}"]


@pytest.mark.slow
def test_the_environment_holds_no_torch_and_no_package_tools(built: Built) -> None:
    code = "from importlib.metadata import distributions as d; print(*(x.name for x in d()))"
    listed = subprocess.run(
        [built.home / "bin" / "python", "-c", code], capture_output=True, text=True, check=True
    )
    names = {name.lower() for name in listed.stdout.split()}
    assert {"tumorlens", "onnxruntime", "fastapi"} <= names
    assert not names & {"torch", "lightning", "monai", "matplotlib", "pandas", "scipy", "pip"}


@pytest.mark.slow
def test_the_environment_stays_below_450_mebibytes(built: Built) -> None:
    files = (path for path in built.home.rglob("*") if not path.is_symlink())
    taken = sum(path.stat().st_blocks * 512 for path in files)
    assert taken < 450 * 2**20, f"{taken / 2**20:.0f} MiB"


@pytest.mark.slow
@pytest.mark.system("setpriv")
def test_the_service_runs_where_it_cannot_write(built: Built) -> None:
    prefix, port, final = confined(), free_port(), stages()[1]
    variables = built.variables(port)
    intruder = f"open({str(built.home / 'note')!r}, 'w')"
    python = str(built.home / "bin" / "python")
    refused = subprocess.run([*prefix, python, "-c", intruder], capture_output=True, check=False)
    assert b"PermissionError" in refused.stderr

    start = built.argv(value(final, "ENTRYPOINT")) + built.argv(value(final, "CMD"))
    log = built.scratch / "log"
    with log.open("wb") as lines:
        service = subprocess.Popen(
            [*prefix, *start], cwd=built.scratch, env=variables, stdout=lines, stderr=lines
        )
    try:
        health = built.argv(value(final, "HEALTHCHECK"))
        health[-1] = health[-1].replace(":8000/", f":{port}/")
        _until_healthy(service, [*prefix, *health], variables, log)
        answer = _predict(port)
        assert answer["label"] in {"tumor", "healthy"}
        assert 0 <= answer["prob"] <= 1
        service.send_signal(signal.SIGTERM)
        assert service.wait(40) in {0, -signal.SIGTERM}
    finally:
        service.kill()
        service.wait()
    assert "Traceback" not in log.read_text("utf-8")


def _until_healthy(
    service: subprocess.Popen[bytes], health: list[str], variables: dict[str, str], log: Path
) -> None:
    deadline = time.monotonic() + 120
    while True:
        checked = subprocess.run(health, env=variables, capture_output=True, check=False)
        if checked.returncode == 0:
            return
        assert service.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < deadline, log.read_text("utf-8")


def _predict(port: int) -> dict[str, float | str]:
    encoded = cv2.imencode(".png", draw_phantom(3, lesion=True).image)[1].tobytes()
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="scan.png"\r\n\r\n'
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        data=head + encoded + b"\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        found: dict[str, float | str] = json.load(reply)
        return found
