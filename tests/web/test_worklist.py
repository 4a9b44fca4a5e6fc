"""Many scans in a real browser: queue, states, sorting, filter, comparison and tables."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.serving import scans
from tests.serving.api.test_batch import zipped
from tests.serving.live import LiveServer
from tests.web.conftest import OpenPage, upload, wait_for, wait_for_slice
from tumorlens.inference.predictor import Predictor

pytestmark = pytest.mark.browser

BODIES = [scans.png_scan(seed=seed, lesion=seed % 2 == 0, size=128) for seed in range(4)]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("many")
    files = []
    for n in range(200):
        file = folder / f"scan {n:03d}.png"
        file.write_bytes(BODIES[n % 4])
        files.append(file)
    return files


def finished(page: Page) -> None:
    page.wait_for_selector("#list-progress[hidden]", state="attached", timeout=120_000)


def names(page: Page) -> list[str]:
    return page.locator("#list-body .cell-name").all_text_contents()


@pytest.fixture
def mixed(open_page: OpenPage, bright_live: LiveServer, series_file: Path, tmp_path: Path) -> Page:
    """Return a page with a finished list: three pictures, a series, and two refused files."""
    page = open_page(bright_live)
    files = []
    for n, body in enumerate([*BODIES[:3], b"text", scans.blank_png()]):
        file = tmp_path / ("=evil.png" if n == 0 else f"{n}.png")
        file.write_bytes(body)
        files.append(file)
    page.set_input_files("#file", [*files, series_file])
    wait_for(page, "list")
    finished(page)
    return page


def test_two_hundred_scans_are_answered_sorted_and_filtered(
    page: Page, many: list[Path], predictor: Predictor
) -> None:
    page.set_input_files("#file", many)
    wait_for(page, "list")
    expect(page.locator("#list-title")).to_be_focused()
    expect(page.locator("#list-cancel, [data-list=cancel]")).to_be_visible()
    finished(page)
    expect(page.locator("#list-summary")).to_contain_text("200 of 200 done")
    expect(page.locator("#announcer")).to_contain_text("All done. 200 of 200 done")
    assert page.locator("#list-body tr").count() == 200
    assert page.locator("#list-body canvas.thumb").count() == 200
    probs = [predictor.predict(body).prob for body in BODIES]
    shown = page.locator("#list-body .cell-prob").all_text_contents()
    assert shown[:4] == [f"{prob * 100:.0f} %" for prob in probs]
    page.click("[data-sort=prob]")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Probability▼")
    best = max(range(4), key=lambda n: probs[n])
    assert names(page)[:50] == [f"scan {n:03d}.png" for n in range(best, 200, 4)]
    page.click("[data-sort=prob]")
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Probability▲")
    worst = min(range(4), key=lambda n: probs[n])
    assert names(page)[0] == f"scan {worst:03d}.png"
    page.click("[data-sort=prob]")
    assert names(page) == [file.name for file in many]
    suspected = sum(
        predictor.predict(BODIES[n % 4]).decision == "tumor" for n in range(4)
    ) * 50  # fmt: skip
    page.select_option("#list-filter", "tumor")
    expect(page.locator("#list-body tr")).to_have_count(suspected)
    page.select_option("#list-filter", "refused")
    expect(page.locator("#list-empty")).to_be_visible()
    page.select_option("#list-filter", "all")
    page.locator("#list-whatif").fill("99")
    expect(page.locator("#list-whatif-said")).to_contain_text("0 of 200 would be called tumour")


def test_the_rest_can_be_cancelled_and_tried_again(page: Page, many: list[Path]) -> None:
    held: list[Route] = []
    page.route("**/explain", lambda route: held.append(route))
    page.set_input_files("#file", many[:6])
    wait_for(page, "list")
    expect(page.locator("tr[data-verdict=running]")).to_have_count(2)
    expect(page.locator("tr[data-verdict=waiting]")).to_have_count(4)
    page.click("[data-list=cancel]")
    expect(page.locator("tr[data-verdict=cancelled]")).to_have_count(6)
    page.unroute("**/explain")
    page.click("[data-list=retry]")
    finished(page)
    expect(page.locator("#list-summary")).to_contain_text("6 of 6 done")
    expect(page.locator("tr[data-verdict=cancelled]")).to_have_count(0)


def test_a_busy_server_is_waited_for(page: Page, many: list[Path]) -> None:
    refused = iter([True, True, False, False, False])

    def busy(route: Route) -> None:
        if next(refused, False):
            route.fulfill(status=503, body="{}", headers={"Retry-After": "1"})
        else:
            route.continue_()

    page.route("**/explain", busy)
    page.set_input_files("#file", many[:3])
    wait_for(page, "list")
    expect(page.get_by_text("waiting for a place").first).to_be_visible()
    finished(page)
    expect(page.locator("#list-summary")).to_contain_text("3 of 3 done")


def test_what_failed_is_told_and_repeated(page: Page, many: list[Path]) -> None:
    page.route("**/explain", lambda route: route.abort())
    page.set_input_files("#file", many[:2])
    wait_for(page, "list")
    finished(page)
    expect(page.locator("tr[data-verdict=failed]")).to_have_count(2)
    expect(page.locator(".cell-facts").first).to_have_text("The server did not respond.")
    page.unroute("**/explain")
    page.click("[data-list=retry]")
    expect(page.locator("tr[data-verdict=failed]")).to_have_count(0)
    finished(page)


def test_refused_files_say_why_and_a_series_shows_its_finding(mixed: Page) -> None:
    page = mixed
    rows = {
        row.locator(".cell-name").text_content(): row for row in page.locator("#list-body tr").all()
    }
    expect(rows["3.png"].locator(".cell-facts")).to_contain_text("Unsupported file format")
    expect(rows["4.png"].locator(".cell-facts")).to_contain_text("(almost) no contrast")
    series = rows["Doe Jane.nii.gz"]
    expect(series.locator(".cell-kind")).to_have_text("series")
    expect(series.locator(".cell-facts")).to_contain_text("150 slices")
    expect(series.locator(".cell-facts")).to_contain_text("right · ")
    rows["4.png"].locator("[data-act=open]").click()
    wait_for(page, "refused")
    expect(page.locator("#refused-advice")).to_contain_text("What to do")
    page.click("#to-list")
    wait_for(page, "list")


def test_a_row_opens_and_neighbours_follow(mixed: Page) -> None:
    page = mixed
    page.get_by_role("button", name="1.png", exact=True).click()
    wait_for(page, "result")
    wait_for_slice(page, 0)
    page.click("#next")
    expect(page.locator("#file-name")).to_have_text("2.png")
    page.click("#previous")
    page.click("#previous")
    expect(page.locator("#file-name")).to_have_text("=evil.png")
    expect(page.locator("#previous")).to_be_disabled()
    page.click("#to-list")
    wait_for(page, "list")
    page.get_by_role("button", name="Doe Jane.nii.gz").click()
    wait_for(page, "result")
    expect(page.locator("[data-role=curve]")).to_be_visible()


def test_two_rows_are_compared(mixed: Page) -> None:
    page = mixed
    expect(page.locator("[data-list=compare]")).to_be_disabled()
    boxes = page.locator("#list-body [data-act=choose]:not(:disabled)")
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.click("[data-list=compare]")
    wait_for(page, "compare")
    for side in (1, 2):
        wait_for_slice(page, 0, root=f".side:nth-child({side})")
    expect(page.locator(".side-verdict .tag")).to_have_count(2)
    page.locator(".side:nth-child(2) select").select_option(label="Doe Jane.nii.gz")
    expect(page.locator(".side:nth-child(2) .note.tl")).to_contain_text("/ 150")
    page.click("#to-list")
    wait_for(page, "list")


def test_the_list_is_taken_along(mixed: Page) -> None:
    page = mixed
    with page.expect_download() as waiting:
        page.click("[data-list=csv]")
    text = Path(waiting.value.path()).read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 6
    assert rows[0]["path"] == "'=evil.png"  # no formula for a spreadsheet
    assert rows[3]["problem"] == "Unsupported file format"
    assert rows[5]["laterality"] == "right"
    assert {row["disclaimer"] for row in rows} == {
        "Research tool, not a medical device: not for clinical use."
    }
    with page.expect_download() as waiting:
        page.click("[data-list=json]")
    records = json.loads(Path(waiting.value.path()).read_text("utf-8"))
    assert [record["status"] for record in records] == ["done"] * 3 + ["refused"] * 2 + ["done"]
    page.click("[data-list=clear]")
    wait_for(page, "empty")


def test_an_archive_of_pictures_becomes_a_list(page: Page) -> None:
    members = {f"Doe/{n}.png": body for n, body in enumerate(BODIES)}
    upload(page, zipped({**members, "__MACOSX/x": b"x", "Doe/.DS_Store": b"x"}), "all.zip")
    wait_for(page, "list")
    finished(page)
    assert names(page) == list(members)


def test_scans_are_added_to_what_is_there(page: Page) -> None:
    upload(page, BODIES[0], "first.png")
    wait_for(page, "result")
    upload(page, BODIES[1], "second.png")
    wait_for(page, "list")
    finished(page)
    assert names(page) == ["first.png", "second.png"]


@pytest.fixture(scope="module")
def predictor(tiny_model_path: Path) -> Predictor:
    return Predictor.open(tiny_model_path, threads=1)
