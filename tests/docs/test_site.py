"""The documentation builds into a site without a broken link, and the site loads nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

import tumorlens
from tests.requirements import PROGRAMS
from tests.web.conftest import FLAGS

pytest.importorskip("mkdocs", reason="the site is built with the extra 'docs'")

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))


def build(site: Path, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build as ``make docs`` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class Html(HTMLParser):
    """What a page loads, what it links to, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.linked: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.add(given.get("id", ""))
        if tag == "a":
            self.linked.add(given.get("href", ""))
        elif tag == "link":
            self.loaded.add(given.get("href", ""))
        elif tag in ("script", "img", "iframe", "source", "video"):
            self.loaded.add(given.get("src", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder, REPOSITORY_URL="")
    assert done.returncode == 0, done.stderr
    return folder


def html_of(page: Path) -> Path:
    named = {"README.md": "index.html"}
    return page.with_name(named.get(page.name, f"{page.stem}.html"))


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    linked = {urlsplit(link).path for link in Html(site / "index.html").linked}
    for page in PAGES:
        assert (site / html_of(page)).is_file()
        assert html_of(page).as_posix() in linked, f"docs/.nav.yml does not lead to {page}"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in sorted(site.rglob("*.html")):
        foreign = {link for link in Html(page).loaded if urlsplit(link).netloc}
        assert not foreign, f"{page.relative_to(site)} loads {foreign}"
    for sheet in sorted(site.rglob("*.css")):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text("utf-8"))


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    anchors = Html(site / "reference" / "python.html").anchors
    for name in tumorlens.__all__:
        assert name == "__version__" or f"tumorlens.{name}" in anchors, name
    assert {"tumorlens.Predictor.predict_series", "tumorlens.Prediction.to_dict"} <= anchors


def test_the_code_of_the_site_is_no_part_of_it(site: Path) -> None:
    assert not (site / "hooks").exists()


def test_a_file_outside_the_pages_is_told_by_its_path(site: Path) -> None:
    text = (site / "deploy.html").read_text("utf-8")
    assert "<code>deploy/fly/fly.toml</code>" in text
    assert "../deploy/fly" not in text


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.browser
def test_a_browser_asks_for_nothing_from_elsewhere_and_finds_a_page(site: Path) -> None:
    """Scripts could load what no tag names; and the search runs in them."""
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}"
        browser = playwright.chromium.launch(
            executable_path=PROGRAMS["chromium"].find(), args=FLAGS
        )
        page = browser.new_page()
        asked: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in ("index.html", "reference/python.html", "tutorial.html"):
            page.goto(f"{home}/{name}")
        page.keyboard.press("/")
        page.keyboard.type("conformal")
        page.wait_for_selector("a.md-search-result__link")
        browser.close()
        server.shutdown()
    assert not faults
    assert not [url for url in asked if not url.startswith((home, "data:", "blob:"))]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a repository of two files whose site is built as ours is."""
    (tmp_path / "docs" / "hooks").mkdir(parents=True)
    shutil.copy(DOCS / "hooks" / "outside_links.py", tmp_path / "docs" / "hooks")
    (tmp_path / "src").mkdir()
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "fly.toml").touch()
    (tmp_path / "mkdocs.yml").write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "link",
    [
        "missing.md",
        "index.md#no-such-heading",
        "/index.md",
        "../missing.toml",
        "../../outside.toml",
    ],
)
def test_a_broken_link_ends_the_build(small: Path, link: str) -> None:
    (small / "docs" / "index.md").write_text(f"# Page\n\n[there]({link})\n", "utf-8")
    done = build(small / "site", small)
    assert done.returncode != 0
    assert link.removeprefix("index.md") in done.stderr


def test_files_of_the_repository_are_linked_where_it_is_published(small: Path) -> None:
    (small / "docs" / "index.md").write_text(
        "# Page\n\n[fly](../deploy/fly.toml), [all](../deploy)\n\n```text\n[x](../no.md)\n```\n",
        "utf-8",
    )
    done = build(small / "site", small, REPOSITORY_URL="https://example.org/tumorlens/")
    assert done.returncode == 0, done.stderr
    linked = Html(small / "site" / "index.html").linked
    assert "https://example.org/tumorlens/blob/main/deploy/fly.toml" in linked
    assert "https://example.org/tumorlens/tree/main/deploy" in linked
    assert "[x](../no.md)" in (small / "site" / "index.html").read_text("utf-8")


def test_a_page_that_the_navigation_does_not_name_is_kept(small: Path) -> None:
    shutil.copy(DOCS / "index.md", small / "docs" / "other.md")
    (small / "docs" / "index.md").write_text("# Page\n", "utf-8")
    (small / "docs" / "other.md").write_text("# Other\n", "utf-8")
    (small / "docs" / ".nav.yml").write_text('nav:\n  - index.md\n  - More:\n    - "*"\n', "utf-8")
    done = build(small / "site", small)
    assert done.returncode == 0, done.stderr
    assert "other.html" in Html(small / "site" / "index.html").linked
