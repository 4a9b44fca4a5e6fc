"""How long a start takes, and what it holds in memory: ``python -m benchmarks.startup``.

Each program is started several times, in turn: the floor (an interpreter that imports what any
answer needs), ``tumorlens predict`` of one picture, and what rivals import before they do anything,
where they are installed. The service is timed until ``/readyz`` says so. Seconds of processor time
are steadier than those of the clock on a machine that others use; both are given, and their ratio
to the floor.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tests.serving.scans import png_scan
from tumorlens.bench.service import running

FLOOR = "import numpy, cv2, onnxruntime"
# What each needs to import before it can load a model: less than its whole start.
RIVALS = {
    "FastAPI and ONNX Runtime (imports)": "import numpy, cv2, onnxruntime, fastapi, uvicorn",
    "FastAPI and torch (imports)": "import torch, cv2, fastapi, uvicorn",
    "LitServe and torch (imports)": "import torch, cv2, litserve",
    "BentoML and ONNX Runtime (imports)": "import numpy, cv2, onnxruntime, bentoml",
    "pytorch-grad-cam (imports)": "import torch, cv2, pytorch_grad_cam",
}


class Start(NamedTuple):
    """Seconds by the clock and of the processor, and the peak of resident memory in MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def start(arguments: list[str]) -> Start:
    """Run a program to its end."""
    begin = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{arguments[:2]} ended with {child.returncode}")
    return Start(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def serve() -> Start:
    """Start the service until it is ready, and return what it needed by then."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with running(None) as service:
        held = (service.resident_bytes() or 0) / 2**20
        wall = service.cold_start_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Start(wall, cpu, held)


def installed(code: str) -> bool:
    """Return whether all of it can be imported, which some packages cannot without others."""
    names = code.removeprefix("import ").split(", ")
    if any(find_spec(name) is None for name in names):
        return False
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def measure(repeats: int, picture: Path) -> dict[str, list[Start]]:
    """Start each program ``repeats`` times, interleaved, after one start that is not counted."""
    programs: dict[str, Callable[[], Start]] = {
        "floor (imports)": lambda: start(["-c", FLOOR]),
        "tumorlens --version": lambda: start(["-m", "tumorlens", "--version"]),
        "tumorlens predict one picture": lambda: start(
            ["-m", "tumorlens", "predict", str(picture), "--format", "jsonl", "--threads", "1"]
        ),
        "tumorlens serve, ready and idle": serve,
    }
    for name, code in RIVALS.items():
        if installed(code):
            programs[name] = lambda code=code: start(["-c", code])  # type: ignore[misc]
    found: dict[str, list[Start]] = {name: [] for name in programs}
    for turn in range(repeats + 1):
        for name, run in programs.items():
            measured = run()
            if turn:
                found[name].append(measured)
    return found


def summary(found: dict[str, list[Start]]) -> list[dict[str, object]]:
    floor = statistics.median(each.cpu_s for each in found["floor (imports)"])
    rows: list[dict[str, object]] = []
    for name, starts in found.items():
        cpu = [each.cpu_s for each in starts]
        wall = [each.wall_s for each in starts]
        rows.append({
            "program": name,
            "n": len(starts),
            "cpu_s": round(statistics.median(cpu), 3),
            "cpu_s_range": [round(min(cpu), 3), round(max(cpu), 3)],
            "cpu_of_floor": round(statistics.median(cpu) / floor, 2),
            "wall_s": round(statistics.median(wall), 3),
            "wall_s_range": [round(min(wall), 3), round(max(wall), 3)],
            "memory_mb": round(statistics.median(each.peak_mb for each in starts)),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=None, help="write the figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "scan.png"
        picture.write_bytes(png_scan())
        rows = summary(measure(given.repeats, picture))
    for row in rows:
        print(f"{row['program']:40} cpu {row['cpu_s']} s {row['cpu_s_range']}, "
              f"{row['cpu_of_floor']} x floor; clock {row['wall_s']} s {row['wall_s_range']}; "
              f"{row['memory_mb']} MB")  # fmt: skip
    if given.output is not None:
        loads = [round(each, 1) for each in os.getloadavg()]
        text = json.dumps({"cores": os.cpu_count(), "load": loads, "starts": rows}, indent=2)
        given.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
