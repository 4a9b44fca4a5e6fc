"""The race itself: every entrant in every round, in another order each time."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2

from benchmarks.race.client import closed_loop, open_loop, request_bytes
from benchmarks.race.entrants import GRAD_CAM, OURS, Entrant, environment
from benchmarks.race.limit import in_process
from benchmarks.race.servers import Running, free_port, machine_cpu_seconds, running
from tumorlens import __version__
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.cores import usable_cores
from tumorlens.inference.default_model import find_model
from tumorlens.modelfile import read_model

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        rounds: How often each entrant is started.
        wide_rounds: In how many of them other sizes and fixed rates are measured too.
        seconds: Of one measurement.
        clients: Of the closed loop, at ``size`` pixels.
        size: Pixels a side of the usual image; ``sizes`` are others, at ``size_clients`` clients.
        rates: Requests a second of the open loop, at ``size`` pixels.
        alternations: Of /predict and /explain beside each other.
    """

    rounds: int = 3
    wide_rounds: int = 2
    seconds: float = 2.0
    clients: tuple[int, ...] = (1, 2, 4, 8, 16)
    size: int = 512
    sizes: tuple[int, ...] = (224, 1024, 2000)
    size_clients: int = 8
    rates: tuple[float, ...] = (25, 50, 100, 200)
    alternations: int = 3

    @property
    def every_size(self) -> tuple[int, ...]:
        """All sizes, ascending."""
        return tuple(sorted({self.size, *self.sizes}))


QUICK = Plan(
    rounds=1, wide_rounds=1, seconds=0.7, clients=(1, 8), sizes=(224,), rates=(25,), alternations=1
)


def race(entrants: Sequence[Entrant], python: str, plan: Plan, tell: Tell) -> dict[str, Any]:
    """Run the race and return everything that was measured, JSON-ready.

    An entrant that fails is reported with its reason, and the race goes on.
    """
    cores = usable_cores()
    images = {size: scan(size) for size in plan.every_size}
    begin = time.perf_counter()
    runs: list[dict[str, Any]] = []
    limits: list[dict[str, Any]] = []
    for number in range(plan.rounds):
        turn = number * len(entrants) // max(plan.rounds, 1)
        for entrant in [*entrants[turn:], *entrants[:turn]]:
            tell(f"round {number + 1} of {plan.rounds}: {entrant.title}")
            found = _entrant(entrant, python, plan, images, cores, wide=number < plan.wide_rounds)
            runs.append({"round": number, "entrant": entrant.name, **found})
        tell(f"round {number + 1} of {plan.rounds}: the limit in process")
        sizes = plan.every_size if number < plan.wide_rounds else (plan.size,)
        limits += [
            {
                "round": number,
                "size": size,
                "per_second": round(in_process(images[size], cores, plan.seconds), 2),
            }
            for size in sizes
        ]
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(cores),
        "model": read_model(find_model(None)).sha256,
        "plan": asdict(plan),
        "images": {str(size): len(data) for size, data in images.items()},
        "minutes": round((time.perf_counter() - begin) / 60, 1),
        "runs": runs,
        "limit": limits,
    }


def scan(size: int) -> bytes:
    """Return a drawn head as a JPEG of ``size`` pixels a side."""
    image = draw_phantom(1, lesion=True, size=size).image
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()


def machine(cores: int) -> dict[str, Any]:
    """Return what the race ran on."""
    lines: Iterable[str] = ()
    if (info := Path("/proc/cpuinfo")).is_file():
        lines = info.read_text("utf-8", "replace").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "cores": cores,
        "processor": next(names, platform.machine()),
        "system": f"{platform.system()} {platform.release()}",
        "tumorlens": __version__,
    }


def _entrant(
    entrant: Entrant, python: str, plan: Plan, images: dict[int, bytes], cores: int, *, wide: bool
) -> dict[str, Any]:
    port = free_port()
    command = entrant.command(python, port, cores)
    request = request_bytes(entrant.path, images[plan.size])
    try:
        with running(command, port, request, environment(cores)) as server:
            idle = server.resident_mib()
            closed_loop(port, request, 2, min(1.0, plan.seconds))  # warm up
            others = _Others(server)
            found = {
                "cold_start_s": round(server.cold_start_s, 3),
                "idle_mib": round(idle, 1),
                **_loads(entrant, server, plan, images, wide=wide),
            }
            found["loaded_mib"] = round(server.resident_mib(), 1)
            found["others_cores"] = others.cores()
            return found
    except RuntimeError as error:
        return {"failed": str(error)[:500]}


def _loads(
    entrant: Entrant, server: Running, plan: Plan, images: dict[int, bytes], *, wide: bool
) -> dict[str, Any]:
    request = request_bytes(entrant.path, images[plan.size])
    levels = plan.clients if entrant.name != GRAD_CAM else (1, plan.size_clients)
    found: dict[str, Any] = {
        "closed": [
            {"size": plan.size, **_closed(server, request, clients, plan.seconds)}
            for clients in levels
        ],
        "open": [],
    }
    if wide and entrant.name != GRAD_CAM:
        for size in plan.sizes:
            other = request_bytes(entrant.path, images[size])
            load = _closed(server, other, plan.size_clients, plan.seconds)
            found["closed"].append({"size": size, **load})
        found["open"] = _open(server.port, request, plan)
    if entrant.name == OURS:
        found["alternating"] = _alternating(server, plan, images[plan.size])
    return found


def _closed(server: Running, request: bytes, clients: int, seconds: float) -> dict[str, Any]:
    """Measure a closed loop, and the server's processor time for each good answer."""
    before = server.cpu_seconds()
    load = closed_loop(server.port, request, clients, seconds)
    spent = server.cpu_seconds() - before
    return load.to_dict() | {"cpu_ms": round(1000 * spent / load.good, 2) if load.good else None}


def _open(port: int, request: bytes, plan: Plan) -> list[dict[str, Any]]:
    """Measure fixed rates, ascending, up to one of which less than half is answered.

    Beyond it a server without a bounded queue would still work on what nobody waits for.
    """
    found = []
    for rate in plan.rates:
        load = open_loop(port, request, rate, plan.seconds)
        found.append({"size": plan.size, **load.to_dict()})
        if load.good < load.bad:
            break
    return found


def _alternating(server: Running, plan: Plan, image: bytes) -> list[dict[str, Any]]:
    """Measure /predict and /explain by turns, with one client and with ``size_clients``."""
    found = []
    for _ in range(plan.alternations):
        for clients in (1, plan.size_clients):
            pair: dict[str, Any] = {
                path: _closed(server, request_bytes(path, image), clients, plan.seconds)
                for path in ("/predict", "/explain")
            }
            found.append({"clients": clients} | pair)
    return found


def _spent(server: Running) -> tuple[float, float, float]:
    own = os.times()
    mine = own.user + own.system + server.cpu_seconds()
    return time.perf_counter(), machine_cpu_seconds(), mine


class _Others:
    """How many cores other programs used while a server was measured."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._begin = _spent(server)

    def cores(self) -> float:
        """Return the mean number of cores, 0 on an idle machine."""
        elapsed, machine_s, mine = (
            end - begin for begin, end in zip(self._begin, _spent(self._server), strict=True)
        )
        return round(max(0.0, (machine_s - mine) / elapsed), 2)
