"""The page in Chromium: seconds until it is interactive, and frames a second while scrolling.

    python -m benchmarks.page_speed [--model MODEL] [--repeats 10] [--out page-speed.json]

Everything runs on this machine: a server on loopback with the packaged model, and a headless
Chromium without a graphics processor. The series is drawn: 256 x 256 x 150 voxels in 16 bits.
Each run scrolls once through all slices, a slice a frame, as a fast wheel does; what counts is the
slices that were painted. The rival in the same run is the simplest page: a ready-made picture of
each slice with its colours, swapped in an ``<img>``. The screen bounds both at 60 frames a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from tests.inference.series.drawn import save
from tests.requirements import PROGRAMS
from tests.serving.live import LiveServer
from tests.web.conftest import FLAGS
from tumorlens.inference.default_model import find_model
from tumorlens.volumes.phantom import FIELD_OF_VIEW_MM, draw_phantom_volume
from tumorlens.volumes.volume import Volume

SHAPE = (256, 256, 150)
_MARK = "performance.getEntriesByName('interactive')[0].startTime"
_SCROLL = """async ({ from, steps, delta }) => {
    const stage = document.querySelector("#viewer .stage"), canvas = stage.querySelector("canvas");
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const slider = document.querySelector("[data-role=slice]");
    slider.value = from;
    slider.dispatchEvent(new Event("input"));
    while (canvas.dataset.slice !== String(from)) await frame();
    const painted = new Set();
    const start = performance.now();
    for (let n = 0; n < steps; n += 1) {
        stage.dispatchEvent(new WheelEvent("wheel", { deltaY: delta, cancelable: true }));
        await frame();
        await new Promise((done) => setTimeout(done));
        painted.add(canvas.dataset.slice);
    }
    return { seconds: (performance.now() - start) / 1000, painted: painted.size };
}"""
_RIVAL = """async (pictures) => {
    const image = document.createElement("img");
    Object.assign(image.style, { position: "fixed", inset: 0, width: "680px", zIndex: 9 });
    document.body.append(image);
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const start = performance.now();
    for (const picture of pictures) {
        image.src = picture;
        await image.decode();
        await frame();
    }
    const seconds = (performance.now() - start) / 1000;
    image.remove();
    return { seconds, painted: pictures.length };
}"""
_PICTURES = """async () => {
    const canvas = document.querySelector("#viewer .stage canvas");
    const slider = document.querySelector("[data-role=slice]");
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const small = document.createElement("canvas");
    [small.width, small.height] = [256, 256];
    const made = [];
    for (let index = 0; index <= Number(slider.max); index += 1) {
        slider.value = index;
        slider.dispatchEvent(new Event("input"));
        while (canvas.dataset.slice !== String(index)) await frame();
        small.getContext("2d").drawImage(canvas, 0, 0, 256, 256);
        made.push(small.toDataURL("image/png"));
    }
    return made;
}"""


def spread(values: list[float]) -> dict[str, Any]:
    """Return median, least and most of values, and how many."""
    return {
        "median": round(float(np.median(values)), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
        "n": len(values),
    }


def series(folder: Path) -> Path:
    """Return a drawn head of 256 x 256 x 150 voxels in 16 bits."""
    spacing = tuple(side / n for side, n in zip(FIELD_OF_VIEW_MM, SHAPE, strict=True))
    drawn = draw_phantom_volume(1, lesion=True, spacing_mm=(spacing[0], spacing[1], spacing[2]))
    rng = np.random.default_rng(0)
    data = drawn.volume.data.astype(np.int16) * 6 + rng.integers(0, 6, SHAPE, dtype=np.int16)
    return save(folder / "series.nii.gz", Volume.aligned(data, drawn.volume.spacing_mm, "series"))


def interactive(browser: Browser, url: str, repeats: int) -> list[float]:
    """Return seconds from the start of navigation until the page is ready, with an empty cache."""
    found = []
    for _ in range(repeats):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        found.append(float(page.evaluate(_MARK)) / 1000)
        context.close()
    return found


def rate(measured: dict[str, float]) -> float:
    return measured["painted"] / measured["seconds"]


def scroll(page: Page, repeats: int) -> dict[str, Any]:
    """Return frames a second of the page and of its rival, alternating."""
    last = SHAPE[2] - 1
    first = rate(page.evaluate(_SCROLL, {"from": 0, "steps": last, "delta": 40}))
    pictures = page.evaluate(_PICTURES)
    ours, theirs = [], []
    for n in range(repeats):
        start, delta = (0, 40) if n % 2 == 0 else (last, -40)
        ours.append(rate(page.evaluate(_SCROLL, {"from": start, "steps": last, "delta": delta})))
        theirs.append(rate(page.evaluate(_RIVAL, pictures)))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "frames a second, right after the answer": round(first, 1),
        "frames a second": spread(ours),
        "frames a second of ready-made pictures": spread(theirs),
        "ratio": spread(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        LiveServer(find_model(chosen.model)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=PROGRAMS["chromium"].find(), args=FLAGS
        )
        result: dict[str, Any] = {
            "seconds until interactive": spread(interactive(browser, server.url, chosen.repeats))
        }
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(server.url)
        page.wait_for_selector("html[data-ready]")
        page.set_input_files("#file", series(Path(folder)))
        page.wait_for_selector("main[data-state=result]", timeout=300_000)
        page.wait_for_selector("#viewer .stage canvas[data-slice]")
        result["scrolling 256 x 256 x 150"] = scroll(page, chosen.repeats)
        result["machine"] = {
            "cores": os.cpu_count(),
            "load": [round(each, 1) for each in os.getloadavg()],
            "browser": browser.version,
            "platform": platform.platform(terse=True),
        }
        browser.close()
    text = json.dumps(result, indent=2)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
