"""All measurements of the benchmark, bounded in time."""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2

from tumorlens import __version__
from tumorlens.bench.forward import measure_forward
from tumorlens.bench.load import Timing, ask, form, repeat
from tumorlens.bench.service import running
from tumorlens.errors import UnreadableFileError
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.cores import usable_cores
from tumorlens.inference.predictor import Predictor

_WARM_UP = 20
_PHANTOM_SIZE = 256  # as the slices of the public data sets


@dataclass(frozen=True)
class Plan:
    """The benchmark's settings. Each measurement takes up to ``seconds`` or ``requests``.

    Attributes:
        model: Model file; None: the packaged default.
        image: File to send; None: a synthetic head, 256 × 256, as JPEG.
        clients: Numbers of simultaneous clients.
        workers: Processes of the service.
    """

    model: Path | None = None
    image: Path | None = None
    clients: tuple[int, ...] = (1, 8)
    workers: int = 1
    requests: int = 1000
    seconds: float = 8.0


@dataclass(frozen=True)
class Measurements:
    """Results, with machine, model and image; sizes in bytes, times in seconds."""

    created: str
    machine: dict[str, Any]
    model: dict[str, str]
    image: dict[str, Any]
    workers: int
    service: list[Timing]
    in_process: list[Timing]
    forward: list[Timing]
    cold_start_s: float
    cold_predict_s: float
    resident_idle_bytes: int | None
    resident_loaded_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


def measure(plan: Plan) -> Measurements:
    """Run all measurements of ``plan``.

    Raises `ModelFileError` or `InputError` when the model or image cannot be used, and
    `ConfigError` when the service does not start or refuses the image.
    """
    data, name = _payload(plan.image)
    predictor = Predictor.open(plan.model, threads=1)
    prediction = predictor.predict(data)
    batch = predictor.prepare(predictor.decode(data)).tensor[None]
    times, seconds = plan.requests, plan.seconds

    in_process = repeat(
        "bytes → Prediction, 1 thread",
        lambda: predictor.predict(data),
        times=times,
        seconds=seconds,
    )
    forward = [
        timing
        for threads in sorted({1, usable_cores()})
        for timing in measure_forward(
            plan.model, batch, threads=threads, times=times, seconds=seconds
        )
    ]
    service, cold_start, idle, loaded = _measure_service(plan, form(data, name))
    return Measurements(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(),
        model={"name": prediction.model.name, "sha256": prediction.model.sha256},
        image={"name": name, "bytes": len(data), "label": prediction.label},
        workers=plan.workers,
        service=service,
        in_process=[in_process],
        forward=forward,
        cold_start_s=cold_start,
        cold_predict_s=_cold_predict(plan.model, data, name),
        resident_idle_bytes=idle,
        resident_loaded_bytes=loaded,
    )


def _measure_service(
    plan: Plan, upload: tuple[bytes, dict[str, str]]
) -> tuple[list[Timing], float, int | None, int | None]:
    with running(plan.model, workers=plan.workers) as service:
        idle = service.resident_bytes()
        address = (service.host, service.port)
        timings = []
        for path in ("/predict", "/explain"):
            ask(address, path, upload, clients=1, requests=_WARM_UP, seconds=plan.seconds)
            timings += [
                ask(
                    address,
                    path,
                    upload,
                    clients=clients,
                    requests=plan.requests,
                    seconds=plan.seconds,
                )
                for clients in plan.clients
            ]
        return timings, service.cold_start_s, idle, service.resident_bytes()


def _payload(image: Path | None) -> tuple[bytes, str]:
    if image is None:
        phantom = draw_phantom(1, lesion=True, size=_PHANTOM_SIZE).image
        _, jpeg = cv2.imencode(".jpg", phantom, [cv2.IMWRITE_JPEG_QUALITY, 90])
        return jpeg.tobytes(), "phantom.jpg"
    try:
        return image.read_bytes(), image.name
    except OSError as error:
        raise UnreadableFileError(f"{image}: {error.strerror or error}") from error


def _cold_predict(model: Path | None, data: bytes, name: str) -> float:
    """Return the median seconds of three `tumorlens predict FILE` processes, start to exit."""
    code = "from tumorlens.cli import main; main()"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"image{Path(name).suffix}"
        file.write_bytes(data)
        command = [sys.executable, "-c", code, "predict", str(file)]
        command += ["--model", str(model)] if model else []
        durations = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            durations.append(time.perf_counter() - start)
    return sorted(durations)[1]


def _machine() -> dict[str, Any]:
    return {
        "cores": usable_cores(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "tumorlens": __version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
