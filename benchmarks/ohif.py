"""Results of `tumorlens pacs watch` as OHIF shows them: screenshots from headless Chromium.

Needs Orthanc with DICOMweb, dcmtk, nginx, Chromium, and the viewer's static files:
``npm pack @ohif/app@3.13.2`` unpacked. The configuration is that of ``deploy/pacs/ohif``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

from tests.dicom.studies import STUDY, write_study
from tests.inference.series.drawn import write_bright_model
from tests.pacs.orthanc import OrthancServer, free_port, orthanc
from tests.pacs.process import PacsProcess, wait_for

DEPLOY = Path(__file__).resolve().parents[1] / "deploy" / "pacs" / "ohif"
_READY_MS = 90_000


@contextmanager
def viewer(dist: Path, server: OrthancServer, folder: Path) -> Iterator[str]:
    """Serve the viewer by nginx as the compose profile does; yield its address."""
    port = free_port()
    html = folder / "html"
    shutil.copytree(dist, html)
    shutil.copy(DEPLOY / "app-config.js", html / "app-config.js")
    site = (DEPLOY / "viewer.conf").read_text("utf-8")
    for old, new in (("listen 80;", f"listen 127.0.0.1:{port};"),
                     ("/usr/share/nginx/html", str(html)),
                     ("http://orthanc:8042", server.url)):  # fmt: skip
        assert old in site
        site = site.replace(old, new)
    conf = folder / "nginx.conf"
    conf.write_text(
        f"pid {folder}/pid; error_log {folder}/error.log; daemon off; user root;\n"
        "events {} http { include /etc/nginx/mime.types; access_log off;\n" + site + "}\n", "utf-8"
    )  # fmt: skip
    process = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(conf)])
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _serves(url), "viewer")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _serves(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def look(page: Page, url: str, out: Path) -> dict[str, Any]:
    """Open the study, then each series that the study browser lists; a screenshot of each."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)[:200]))
    page.on("console", lambda said: said.type == "error" and problems.append(said.text[:200]))
    page.goto(f"{url}/viewer?StudyInstanceUIDs={STUDY}")
    page.wait_for_selector("canvas", timeout=_READY_MS)
    page.wait_for_selector('[data-cy^="study-browser-thumbnail"]', timeout=_READY_MS)
    for text in ("Skip all", "Confirm and hide"):  # the tour and the notice of a first visit
        page.get_by_text(text).first.click()
    time.sleep(8)  # the viewer draws what it has; a person looks at the picture
    page.screenshot(path=out / "study.png")
    shown = []
    entries = page.locator('[data-cy^="study-browser-thumbnail"]')
    for k in range(entries.count()):
        text = entries.nth(k).inner_text().replace("\n", " ")
        entries.nth(k).dblclick()
        time.sleep(15)
        page.screenshot(path=out / f"series-{k}.png")
        shown.append(text)
    return {"series": shown, "errors_of_the_page": problems}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path, help="folder dist of the unpacked @ohif/app")
    parser.add_argument("--out", type=Path, default=Path("ohif-screenshots"))
    parser.add_argument("--results", default="sr,pm,seg,sc,ko")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="tumorlens-ohif-"))
    try:
        model = write_bright_model(folder / "bright.onnx")
        with orthanc(folder / "orthanc") as server:
            options = ("--backlog", "--results", given.results)
            process = PacsProcess("watch", server.url, folder / "watch", model, options)
            server.send(write_study(folder / "study", WindowCenter=128, WindowWidth=256))
            try:
                process.start()
                print([job.outcome for job in process.wait_until_done(1)])
            finally:
                process.close()
            with viewer(given.dist, server, folder) as url, sync_playwright() as play:
                browser = play.chromium.launch(
                    executable_path=shutil.which("chromium"),
                    args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
                          "--enable-unsafe-swiftshader"],
                )  # fmt: skip
                page = browser.new_page(viewport={"width": 1600, "height": 900})
                print(json.dumps(look(page, url, given.out), indent=2))
                browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
