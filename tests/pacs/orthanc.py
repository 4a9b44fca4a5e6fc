"""A real Orthanc with DICOMweb on loopback, in a folder of its own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

_PLUGINS = "/usr/share/orthanc/plugins"
_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class OrthancServer:
    """A server that can be killed and started again with what it has."""

    folder: Path
    http_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    options: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    def start(self) -> None:
        binary = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        self.folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "StorageDirectory": str(self.folder / "db"), "IndexDirectory": str(self.folder / "db"),
            "HttpPort": self.http_port, "DicomPort": self.dicom_port, "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": False, "DicomAlwaysAllowStore": True, "StableAge": 1,
            "AuthenticationEnabled": False, "RemoteAccessAllowed": False, "Plugins": [_PLUGINS],
            "OverwriteInstances": False,
        }  # fmt: skip
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings | self.options), "utf-8")
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([binary, str(path)], stdout=log, stderr=log)
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/system", timeout=5, trust_env=False)
            except httpx.HTTPError:
                assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()
                time.sleep(0.05)
            else:
                return
        raise AssertionError("Orthanc did not start")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(_SECONDS)
            self.process = None

    def get(self, path: str, **params: Any) -> Any:
        return self.ask("GET", path, params=params).json()

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.request(method, self.url + path, **options)
        answer.raise_for_status()
        return answer

    def send(self, folder: Path) -> None:
        """Store the files of a folder by dcmtk's storescu."""
        storescu(folder, self.dicom_port)

    def instances(self) -> list[dict[str, str]]:
        """Return modality, maker and UIDs of every object there is."""
        found = []
        for series in self.get("/series", expand=""):
            tags = series["MainDicomTags"]
            for number in series["Instances"]:
                found.append({
                    "series": tags["SeriesInstanceUID"], "modality": tags.get("Modality", ""),
                    "maker": tags.get("Manufacturer", ""), "id": number,
                    "study": series["ParentStudy"],
                })  # fmt: skip
        return found

    def results(self) -> list[dict[str, str]]:
        return [each for each in self.instances() if each["maker"] == "TumorLens"]


def storescu(
    folder: Path, port: int, *more: str, calling: str = "SENDER", called: str = "ANY",
    check: bool = True,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Send a folder by dcmtk; the tests' files are all Explicit VR Little Endian."""
    command = ["storescu", "-v", "-aet", calling, "-aec", called, "+sd", "+r", "-xe", *more]
    done = subprocess.run(
        [*command, "127.0.0.1", str(port), str(folder)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done


@contextmanager
def orthanc(folder: Path, **options: Any) -> Iterator[OrthancServer]:
    server = OrthancServer(folder, options=options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
