"""Take the README's pictures: ``python -m tests.web.take_picture docs/images``.

Writes ``page.png``, ``page-series.png`` and ``page-worklist.png``: the answers of the packaged
model (or of ``--model``) for drawn heads. No patient is shown.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import httpx
from PIL import Image, ImageOps
from playwright.sync_api import Browser, FilePayload, Page, sync_playwright

from tests.requirements import PROGRAMS
from tests.serving.live import LiveServer
from tests.serving.scans import png_scan
from tests.web.conftest import FLAGS, wait_for, wait_for_slice
from tumorlens.inference.default_model import find_model

# Seed of a drawn head, and whether it has a lesion.
_HEADS = ((0, True), (1, False), (2, True), (3, False), (4, True), (8, True), (9, False))


def _open(browser: Browser, url: str, scheme: str, height: int) -> Page:
    page = browser.new_page(
        viewport={"width": 1280, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    return page


def _save(page: Page, file: Path) -> None:
    page.evaluate("document.activeElement.blur()")
    # Noise makes a PNG large, and nobody needs its last bits here.
    whole = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    ImageOps.posterize(whole, 6).save(file, optimize=True)
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=None)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with LiveServer(find_model(chosen.model)) as server, sync_playwright() as playwright:
        chromium = PROGRAMS["chromium"].find()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = _open(browser, server.url, "light", 880)
        page.click("[data-example=lesion]")
        wait_for(page, "result")
        wait_for_slice(page, 0)
        _save(page, chosen.folder / "page.png")

        page = _open(browser, server.url, "dark", 880)
        page.click("[data-example=series]")
        wait_for(page, "result")
        wait_for_slice(page)
        _save(page, chosen.folder / "page-series.png")

        page = _open(browser, server.url, "light", 860)
        series = httpx.get(f"{server.url}/examples/series.nii.gz").content
        heads = [
            FilePayload(
                name=f"drawn head {n + 1}.png",
                mimeType="image/png",
                buffer=png_scan(seed=seed, lesion=lesion),
            )
            for n, (seed, lesion) in enumerate(_HEADS)
        ]
        whole = FilePayload(name="drawn series.nii.gz", mimeType="application/gzip", buffer=series)
        page.set_input_files("#file", [whole, *heads])
        wait_for(page, "list")
        page.wait_for_selector("#list-progress[hidden]", state="attached", timeout=120_000)
        _save(page, chosen.folder / "page-worklist.png")
        browser.close()


if __name__ == "__main__":
    main()
