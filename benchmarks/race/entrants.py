"""Who takes part, how each is started, and on how many threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = "tumorlens"
OUR_WORKERS = "tumorlens-workers"
RESNET = "litserve-resnet18"
GRAD_CAM = "grad-cam"
PEER = "detect-tumor"
ONNX_RIVALS = ("fastapi-onnx", "litserve-onnx", "bentoml-onnx")
_RIVALS = "benchmarks.race.rivals"


@dataclass(frozen=True)
class Entrant:
    """One server.

    Attributes:
        name: Its key in the results.
        title: What it is, for tables.
        threads: Processes and threads, in words.
        module: The rival's file, or None for TumorLens.
        path: The route that is asked.
        worker_per_core: Whether it is told the number of cores.
        bento: Whether BentoML's own command starts it.
    """

    name: str
    title: str
    threads: str
    module: str | None = None
    path: str = "/predict"
    worker_per_core: bool = False
    bento: bool = False

    def command(self, python: str, port: int, cores: int) -> list[str]:
        """Return the command that serves on a port of loopback; rivals run with ``python``."""
        if self.module is None:
            serve = [sys.executable, "-m", "tumorlens", "serve", "--log-level", "error"]
            serve += ["--workers", str(cores)] if self.worker_per_core else []
            return [*serve, "--host", "127.0.0.1", "--port", str(port)]
        name = f"{_RIVALS}.{self.module}"
        if self.bento:
            serve = [python, "-m", "bentoml", "serve", f"{name}:Student"]
            return [*serve, "--host", "127.0.0.1", "--port", str(port)]
        return [python, "-m", name, str(port), *([str(cores)] if self.worker_per_core else [])]


_POOL = "one process; a thread of the pool for each request, one thread inside"
_WORKERS = "a process for each core and one for HTTP, one thread each"
ENTRANTS = (
    Entrant(OURS, "TumorLens", "one process; a thread for each core, one thread inside"),
    Entrant(OUR_WORKERS, "TumorLens, a process for each core",
            "a process for each core and one above, one thread each", worker_per_core=True),
    Entrant("fastapi-torch", "FastAPI + torch", _POOL, "fastapi_torch"),
    Entrant("fastapi-onnx", "FastAPI + ONNX Runtime", _POOL, "fastapi_onnx"),
    Entrant("litserve-torch", "LitServe + torch", _WORKERS, "litserve_torch", worker_per_core=True),
    Entrant(
        "litserve-onnx", "LitServe + ONNX Runtime", _WORKERS, "litserve_onnx", worker_per_core=True
    ),
    Entrant(
        RESNET, "LitServe + torch, ResNet-18 at 128 px", _WORKERS, "litserve_resnet18",
        worker_per_core=True,
    ),
    Entrant("bentoml-onnx", "BentoML + ONNX Runtime", "a process for each core, one thread each",
            "bentoml_onnx", bento=True),
    Entrant(PEER, "detect-tumor (VGG16) behind FastAPI", "one process; the runtime's own threads",
            "peer"),
    Entrant(GRAD_CAM, "pytorch-grad-cam behind FastAPI", "one process; one explanation at a time",
            "gradcam", path="/explain"),
)  # fmt: skip
RIVALS = tuple(each for each in ENTRANTS if each.module is not None)
BY_NAME = {each.name: each for each in ENTRANTS}


def environment(cores: int) -> Mapping[str, str]:
    """Return the variables that every server gets."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(each for each in paths if each),
        "OMP_NUM_THREADS": "1",
        "RACE_CORES": str(cores),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": "bentoml",  # in the folder it runs in, which is removed
    }
