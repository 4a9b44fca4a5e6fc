"""Take the README's picture: ``python -m tests.web.take_picture docs/images/page.png``.

Shows the answer of the packaged model (or of ``--model``) for a drawn head: no patient.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.requirements import PROGRAMS
from tests.serving.live import LiveServer
from tests.web.conftest import FLAGS
from tumorlens.inference.default_model import find_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--width", type=int, default=1280)
    chosen = parser.parse_args()
    chosen.picture.parent.mkdir(parents=True, exist_ok=True)
    with LiveServer(find_model(chosen.model)) as server, sync_playwright() as playwright:
        chromium = PROGRAMS["chromium"].find()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(
            viewport={"width": chosen.width, "height": 880},
            color_scheme=chosen.scheme,
            reduced_motion="reduce",
        )
        page.goto(server.url)
        page.wait_for_selector("#model-chip:not([hidden])")
        page.click("[data-example=lesion]")
        page.wait_for_selector("main[data-state=result]")
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=chosen.picture, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
