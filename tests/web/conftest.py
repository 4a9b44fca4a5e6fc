"""A real Chromium and real servers, all on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, FilePayload, Page, Request, sync_playwright

from tests.inference.series.drawn import head, save, write_bright_model
from tests.requirements import PROGRAMS
from tests.serving.live import LiveServer

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OpenPage = Callable[..., Page]
TUMOUR = ((30.0, 10.0, 16.0), 25.0)
FURTHER = ((-40.0, -20.0, -30.0), 16.0)


@pytest.fixture(scope="session")
def live(tiny_model_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tiny_model_path) as server:
        yield server


@pytest.fixture(scope="session")
def bright_live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Return a server whose model finds bright balls, in series as well."""
    model = write_bright_model(tmp_path_factory.mktemp("bright") / "bright.onnx")
    with LiveServer(model) as server:
        yield server


@pytest.fixture(scope="session")
def series_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a head of 150 slices with two bright balls, as int16 NIfTI."""
    drawn = head(TUMOUR, FURTHER, shape=(64, 72, 150), spacing=(3.0, 3.0, 1.2))
    wide = drawn.__class__.aligned(
        np.asarray(drawn.data, np.int16) * 6 - 100, drawn.spacing_mm, "drawn"
    )
    return save(tmp_path_factory.mktemp("series") / "Doe Jane.nii.gz", wide)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Closed with its module: while Playwright runs, its event loop keeps others from being started.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAMS["chromium"].find(), args=FLAGS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def documented(live: LiveServer) -> list[tuple[str, re.Pattern[str]]]:
    paths = httpx.get(f"{live.url}/openapi.json").json()["paths"]
    pairs = [(method.upper(), path) for path, item in paths.items() for method in item]
    return [
        (method, re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) + "$"))
        for method, path in [*pairs, ("GET", "/openapi.json")]
    ]


@pytest.fixture
def open_page(
    browser: Browser, documented: list[tuple[str, re.Pattern[str]]]
) -> Iterator[OpenPage]:
    """Return a function: server, options of the context → the loaded page.

    Fails on script errors and on requests outside the API.
    """
    faults: list[str] = []
    contexts = []

    def open_(server: LiveServer, path: str = "/", **options: Any) -> Page:
        settings = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
        context = browser.new_context(**{**settings, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"script error: {error}"))

        def check(request: Request) -> None:
            address = urlsplit(request.url)
            if address.scheme in ("blob", "data"):
                return
            if f"{address.scheme}://{address.netloc}" != server.url:
                faults.append(f"request to another origin: {request.url}")
            elif not any(request.method == m and p.match(address.path) for m, p in documented):
                faults.append(f"request outside the API: {request.method} {address.path}")

        page.on("request", check)
        page.goto(f"{server.url}{path}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def page(open_page: OpenPage, live: LiveServer) -> Page:
    return open_page(live)


@pytest.fixture
def series_page(open_page: OpenPage, bright_live: LiveServer, series_file: Path) -> Page:
    """Return a page that shows the series of 150 slices."""
    page = open_page(bright_live)
    page.set_input_files("#file", series_file)
    wait_for(page, "result")
    wait_for_slice(page)
    return page


def upload(page: Page, body: bytes, name: str = "scan.png", kind: str = "image/png") -> None:
    page.set_input_files("#file", FilePayload(name=name, mimeType=kind, buffer=body))


def wait_for(page: Page, state: str) -> None:
    page.wait_for_selector(f"main[data-state={state}]", timeout=120_000)


def shown_slice(page: Page, root: str = "#viewer") -> int:
    return int(page.locator(f"{root} .stage canvas").get_attribute("data-slice") or -1)


def wait_for_slice(page: Page, index: int | None = None, root: str = "#viewer") -> None:
    which = "[data-slice]" if index is None else f"[data-slice='{index}']"
    page.wait_for_selector(f"{root} .stage canvas{which}")
