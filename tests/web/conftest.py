"""A real Chromium and a real server, both on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

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


@pytest.fixture(scope="module")
def live(tiny_model_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tiny_model_path) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Closed with its module: while Playwright runs, its event loop keeps others from being started.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAMS["chromium"].find(), args=FLAGS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def documented(live: LiveServer) -> set[tuple[str, str]]:
    paths = httpx.get(f"{live.url}/openapi.json").json()["paths"]
    pairs = {(method.upper(), path) for path, item in paths.items() for method in item}
    return pairs | {("GET", "/openapi.json")}


@pytest.fixture
def page(browser: Browser, live: LiveServer, documented: set[tuple[str, str]]) -> Iterator[Page]:
    """Return the loaded page; fails on script errors and on requests outside the API."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))

    def check(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("blob", "data"):
            return
        if f"{address.scheme}://{address.netloc}" != live.url:
            faults.append(f"request to another origin: {request.url}")
        elif (request.method, address.path) not in documented:
            faults.append(f"request outside the API: {request.method} {address.path}")

    page.on("request", check)
    page.goto(f"{live.url}/")
    page.wait_for_selector("#model-chip:not([hidden])")
    yield page
    context.close()
    assert not faults
