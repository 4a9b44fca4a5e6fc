"""What the pixels of one answer cost on one core: ``python -m benchmarks.pixels``.

Decoding, locating, preparing and assessing a JPEG of a drawn head, beside the bare minimum in the
same run: decode it with Pillow and shrink it with OpenCV to the network's input. Seconds of the
processor, since others may use the machine; interleaved, medians with the quartiles.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tumorlens import Predictor
from tumorlens.imaging.decode import decode
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import prepare

SIDES = (224, 512, 1024, 2000)


def jpeg(side: int, mode: str) -> bytes:
    buffer = io.BytesIO()
    drawn = draw_phantom(7, lesion=True, size=512).image
    picture = Image.fromarray(cv2.resize(drawn, (side, side))).convert(mode)
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def bare(data: bytes, size: int) -> object:
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    small = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
    return (small.astype(np.float32) / 255)[None, None]


def steps(predictor: Predictor, data: bytes) -> dict[str, Callable[[], object]]:
    spec = predictor.card.preprocess
    image = decode(data)
    ready = predictor.prepare(image)
    return {
        "bare": lambda: bare(data, spec.size),
        "decode": lambda: decode(data),
        "locate_and_prepare": lambda: prepare(image.pixels, spec),
        "prepare_and_assess": lambda: predictor.prepare(image),
        "all": lambda: predictor.prepare(predictor.decode(data)),
        "network": lambda: predictor.infer(ready.tensor[None]),
    }


def measure(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 3):
        for name, step in work.items():
            begin = time.process_time()
            step()
            if turn >= 3:
                found[name].append((time.process_time() - begin) * 1000)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=101)
    parser.add_argument("--output", type=Path, default=None, help="write the figures as JSON")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    predictor = Predictor.open(given.model, threads=1)
    rows = []
    for side in SIDES:
        for mode in ("L", "RGB"):
            found = measure(steps(predictor, jpeg(side, mode)), given.repeats)
            row: dict[str, object] = {"side": side, "mode": mode, "n": given.repeats}
            for name, times in found.items():
                quartiles = np.percentile(times, [25, 50, 75])
                row[f"{name}_ms"] = [round(float(each), 2) for each in quartiles]
            ratios = np.array(found["all"]) / np.array(found["bare"])
            row["all_of_bare"] = [
                round(float(each), 2) for each in np.percentile(ratios, [25, 50, 75])
            ]
            rows.append(row)
            print(row)
    if given.output is not None:
        given.output.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
