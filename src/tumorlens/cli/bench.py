"""``tumorlens bench``: latency, throughput and memory on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tumorlens.bench.load import Timing
    from tumorlens.bench.measure import Measurements

_DEFAULT_CLIENTS = [1, 8]


def bench(
    model: Annotated[
        Path | None,
        typer.Option(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]"),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Image to send.  [default: a synthetic head, 256 × 256]")
    ] = None,
    clients: Annotated[
        list[int] | None,
        typer.Option(min=1, max=256, help="Simultaneous clients; may be repeated.  [default: 1 8]"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes of the service.")] = 1,
    requests: Annotated[int, typer.Option(min=1, help="Maximum requests per measurement.")] = 1000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Maximum seconds per measurement.")] = 8.0,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write all results to this JSON file.")
    ] = None,
) -> None:
    """Measure the service over loopback, the predictor in process, and the network alone.

    Starts a service on a free port and stops it afterwards. Torch is measured beside ONNX
    Runtime when it is installed. Takes about a minute.
    """
    from tumorlens.atomic import atomic_file
    from tumorlens.bench.measure import Plan, measure

    plan = Plan(model, image, tuple(clients or _DEFAULT_CLIENTS), workers, requests, seconds)
    measured = measure(plan)
    typer.echo(render(measured))
    if output is not None:
        text = json.dumps(measured.to_dict(), indent=2, ensure_ascii=False) + "\n"
        with atomic_file(output) as file:
            file.write(text.encode("utf-8"))


def render(measured: Measurements) -> str:
    """Return the measurements as Markdown tables."""
    machine, image = measured.machine, measured.image
    timings = [*measured.service, *measured.in_process, *measured.forward]
    facts = {
        "cold start of the service, to ready": f"{measured.cold_start_s:.2f} s",
        "cold `tumorlens predict` of one file": f"{measured.cold_predict_s:.2f} s",
        "resident memory, idle": _mebibytes(measured.resident_idle_bytes),
        "resident memory, after the load": _mebibytes(measured.resident_loaded_bytes),
    }
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"TumorLens {machine['tumorlens']}",
        f"model {measured.model['name']} ({measured.model['sha256'][:12]}), image {image['name']} "
        f"({image['bytes']} bytes), workers {measured.workers}",
        "",
        *_rows("what", "n", "p50 ms", "p95 ms", "p99 ms", "per s"),
        *map(_row, timings),
        "",
        *_rows("what", "value"),
        *(f"| {name} | {value} |" for name, value in facts.items()),
    ]
    return "\n".join(lines)


def _rows(*headers: str) -> list[str]:
    rule = ["---", *("---:" for _ in headers[1:])]
    return [f"| {' | '.join(headers)} |", f"|{'|'.join(rule)}|"]


def _row(timing: Timing) -> str:
    times = (timing.p50_ms, timing.p95_ms, timing.p99_ms)
    cells = [timing.name, str(timing.n), *(f"{ms:.2f}" for ms in times)]
    return f"| {' | '.join(cells)} | {timing.per_second:.1f} |"


def _mebibytes(size: int | None) -> str:
    return "unknown here" if size is None else f"{size / 2**20:.0f} MiB"
