"""How fast `tumorlens pacs listen` receives, beside dcmtk's storescp: four senders at once.

Both by turns on one machine, the same files, dcmtk's storescu as senders. storescp flushes nothing
to disk; TumorLens answers when an object is. Nothing is analysed meanwhile. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.dicom.studies import elements
from tests.imaging.dicoms import dataset, encode
from tests.inference.series.drawn import write_bright_model
from tests.pacs.orthanc import free_port
from tests.pacs.process import PacsProcess, wait_for


def write_senders(folder: Path, senders: int, files: int, side: int) -> int:
    """Write a folder of slices for each sender; return the bytes of all."""
    rng, total = np.random.default_rng(0), 0
    for sender in range(senders):
        place = folder / str(sender)
        place.mkdir(parents=True)
        for k in range(files):
            uid = f"1.2.826.9.{sender + 1}"
            pixels = rng.integers(0, 4096, (side, side), dtype=np.uint16)
            given = elements(StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", Modality="MR",
                             SOPInstanceUID=f"{uid}.1.{k + 1}")  # fmt: skip
            content = encode(dataset(pixels, **given))
            (place / f"{k}.dcm").write_bytes(content)
            total += len(content)
    return total


def seconds_to_send(folder: Path, port: int, called: str) -> float:
    """Let all senders send at once; return the wall time until the last is done."""
    begun = time.perf_counter()
    running = [
        subprocess.Popen(["storescu", "-aec", called, "+sd", "-xe", "127.0.0.1", str(port), place])
        for place in sorted(folder.iterdir())
    ]
    codes = [each.wait() for each in running]
    assert not any(codes), f"senders failed: {codes}"
    return time.perf_counter() - begun


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """Run dcmtk's receiver, a process an association, with the largest PDU it takes."""
    port = free_port()
    folder.mkdir()
    command = ["storescp", "--fork", "-pdu", "131072", "-aet", "TUMORLENS", "-od", str(folder)]
    process = subprocess.Popen([*command, str(port)])
    try:
        wait_for(lambda: _answers(port), "storescp")
        yield port
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def listen(folder: Path, model: Path) -> Iterator[int]:
    port = free_port()
    options = ("--port", str(port), "--settle-seconds", "3600")
    process = PacsProcess("listen", "http://127.0.0.1:9", folder, model, options)
    try:
        process.start()
        wait_for(lambda: _answers(port), "listen")
        yield port
    finally:
        process.close()


def _answers(port: int) -> bool:
    command = ["echoscu", "-aec", "TUMORLENS", "127.0.0.1", str(port)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--files", type=int, default=100, help="of each sender")
    parser.add_argument("--side", type=int, default=512, help="pixels of 16 bits")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tumorlens-throughput-"))
    rates: dict[str, list[float]] = {"storescp": [], "listen": []}
    try:
        total = write_senders(folder / "in", given.senders, given.files, given.side)
        model = write_bright_model(folder / "bright.onnx")
        for turn in range(given.rounds):
            receivers: list[tuple[str, Callable[[Path], Any]]] = [
                ("storescp", storescp), ("listen", lambda place: listen(place, model)),
            ]  # fmt: skip
            for name, receiver in receivers[:: 1 if turn % 2 else -1]:
                place = folder / f"{name}-{turn}"
                with receiver(place) as port:
                    rates[name].append(total / seconds_to_send(folder / "in", port, "TUMORLENS"))
                shutil.rmtree(place, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = [a / b for a, b in zip(rates["listen"], rates["storescp"], strict=True)]
    result = {
        "senders": given.senders, "files": given.senders * given.files, "bytes": total,
        "rounds": given.rounds,
        "megabytes_per_second": {
            name: [round(each / 1e6, 1) for each in found] for name, found in rates.items()
        },
        "ratio": {"median": round(statistics.median(ratios), 3), "lowest": round(min(ratios), 3),
                  "highest": round(max(ratios), 3)},
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if given.output:
        given.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
