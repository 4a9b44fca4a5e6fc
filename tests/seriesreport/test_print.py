"""The page in a real browser: it draws by itself, and prints with the disclaimer on each sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.dicom.studies import answered, write_study
from tests.inference.series.drawn import write_bright_model
from tests.requirements import PROGRAMS
from tests.web.conftest import FLAGS
from tumorlens.inference.predictor import Predictor
from tumorlens.seriesreport import series_report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=PROGRAMS["chromium"].find(), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    bright = Predictor.open(write_bright_model(folder / "bright.onnx"), threads=1)
    text = series_report(answered(bright, write_study(folder / "study")))
    (folder / "report.html").write_text(text, "utf-8")
    return folder / "report.html"


def test_the_page_shows_scan_and_outline_and_asks_for_nothing(
    browser: Browser, page_file: Path
) -> None:
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    shot = page.locator(".slices svg").nth(2).screenshot()
    picture = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    outline = np.abs(picture - (0, 230, 230)).max(axis=2) < 60
    assert outline.sum() > 30
    assert np.argwhere(outline)[:, 1].mean() < picture.shape[1] / 2  # the patient's right
    assert (picture.max(axis=2) - picture.min(axis=2) > 25).sum() > 100  # the evidence has colour
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    width, room = (page.evaluate(f"document.documentElement.{side}Width")
                   for side in ("scroll", "client"))  # fmt: skip
    assert width <= room
    page.close()


def test_it_prints_on_few_sheets(browser: Browser, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    content = page.pdf(format="A4", prefer_css_page_size=True)
    assert content.startswith(b"%PDF")
    assert 2 <= content.count(b"/Type /Page\n") <= 5
    page.close()
