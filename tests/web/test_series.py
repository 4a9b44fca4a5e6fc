"""A series in a real browser: 150 slices to go through, a curve, findings, what to take along."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Download, Page, Route, expect

from tests.imaging.dicoms import dicom
from tests.inference.series.drawn import head
from tests.serving.api.test_batch import zipped
from tests.serving.live import LiveServer
from tests.volumes.dicom_series import Scan, write_slices
from tests.web.conftest import (
    OpenPage,
    shown_slice,
    upload,
    wait_for,
    wait_for_slice,
)
from tumorlens.imaging.phantom import draw_phantom

pytestmark = pytest.mark.browser


def go(page: Page, key: str, index: int) -> None:
    page.locator("#viewer .stage").focus()
    page.keyboard.press(key)
    wait_for_slice(page, index)


def test_a_series_opens_at_the_peak_of_its_largest_finding(series_page: Page) -> None:
    page = series_page
    expect(page.locator("#headline")).to_have_text("Tumour suspected")
    expect(page.locator("#headline")).to_be_focused()
    expect(page.locator("#findings li")).to_have_count(2)
    first = page.locator("#findings .finding").first
    expect(first).to_contain_text("right")
    expect(first).to_contain_text(re.compile(r"\d+ mm · [\d.]+ ml · [\d,]+ mm²"))
    span = re.search(r"slices (\d+) to (\d+)", first.text_content() or "")
    assert span is not None
    assert int(span[1]) <= shown_slice(page) + 1 <= int(span[2])
    page.locator("#as-read summary").click()
    expect(page.locator("#as-read")).to_contain_text("64 × 72 × 150")
    expect(page.locator("#as-read")).to_contain_text("1.2 mm apart")
    letters = page.locator(".letter").all_text_contents()
    assert letters == ["R", "L", "A", "P"]


def test_slices_change_by_wheel_keys_slider_and_touch(
    series_page: Page, open_page: OpenPage, bright_live: LiveServer, series_file: Path
) -> None:
    page = series_page
    go(page, "Home", 0)
    go(page, "ArrowDown", 1)
    go(page, "PageDown", 11)
    go(page, "ArrowUp", 10)
    go(page, "End", 149)
    expect(page.locator(".note.tl")).to_have_text("150 / 150")
    page.locator("[data-role=slice]").fill("60")
    wait_for_slice(page, 60)
    expect(page.locator("[data-role=slice]")).to_have_attribute(
        "aria-valuetext", re.compile("Slice 61 of 150, probability")
    )
    box = page.locator("#viewer .stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.wheel(0, 120)
    wait_for_slice(page, 63)
    page.mouse.wheel(0, -40)
    wait_for_slice(page, 62)
    page.locator("[data-tool=scroll]").click()
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 220, steps=6)
    page.mouse.up()
    page.wait_for_selector("#viewer .stage canvas:not([data-slice='62'])")
    assert shown_slice(page) > 75


def test_a_finger_goes_through_the_slices_and_two_zoom(
    open_page: OpenPage, bright_live: LiveServer, series_file: Path
) -> None:
    page = open_page(bright_live, viewport={"width": 390, "height": 800}, has_touch=True,
                     is_mobile=True)  # fmt: skip
    page.set_input_files("#file", series_file)
    wait_for(page, "result")
    wait_for_slice(page)
    expect(page.locator("[data-tool=scroll]")).to_have_attribute("aria-pressed", "true")
    start = shown_slice(page)
    page.locator("#viewer .stage").scroll_into_view_if_needed()
    box = page.locator("#viewer .stage").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        given = [{"x": px, "y": py, "id": n} for n, (px, py) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": given})

    touch("touchStart", (x, y))
    for step in range(1, 9):
        touch("touchMove", (x, y + 10 * step))
    touch("touchEnd")
    page.wait_for_selector(f"#viewer .stage canvas:not([data-slice='{start}'])")
    assert shown_slice(page) > start
    touch("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 5):
        touch("touchMove", (x - 20 - 10 * step, y), (x + 20 + 10 * step, y))
    touch("touchEnd")
    expect(page.locator(".note.bl")).to_have_text(re.compile(r"[23]\d\d %"))


def test_the_curve_and_its_marks_lead_to_slices(series_page: Page) -> None:
    page = series_page
    curve = page.locator("[data-role=curve]")
    expect(curve).to_have_attribute("aria-label", re.compile("Probability along \\d+ answered"))
    expect(curve.locator(".finding-mark")).to_have_count(2)
    expect(curve.locator(".gap")).not_to_have_count(0)
    box = curve.bounding_box()
    assert box is not None
    curve.click(position={"x": box["width"] * 0.2, "y": 60})
    expect(page.locator("#slice-line")).to_contain_text("Slice 3")
    wait_for_slice(page)
    go(page, "Home", 0)
    buttons = page.locator("#findings .finding")
    buttons.nth(1).click()
    page.wait_for_selector("#viewer .stage canvas:not([data-slice='0'])")
    second = shown_slice(page)
    expect(page.locator("#announcer")).to_contain_text(f"Slice {second + 1} of 150")
    go(page, "Home", 0)
    curve.locator(".finding-mark rect:not(.hit)").nth(1).click()
    wait_for_slice(page, second)


def test_window_values_are_those_of_the_scan(series_page: Page) -> None:
    # -100 … 1400: six times the drawn grey levels, less 100.
    note = series_page.locator(".note.tr").text_content() or ""
    width = int(note.replace(",", "").split()[1])
    assert 900 < width <= 1600


def test_slices_without_an_answer_are_explained(series_page: Page) -> None:
    page = series_page
    go(page, "Home", 0)
    expect(page.locator("#slice-line")).to_contain_text("too little of the head")
    page.locator("#aside summary").click()
    expect(page.locator("#aside")).to_contain_text("of 150 slices not answered")
    expect(page.locator("#aside")).to_contain_text("such slices do not count")


def test_dicom_files_of_one_series_are_one_and_a_zip_of_them_too(
    open_page: OpenPage, bright_live: LiveServer, tmp_path: Path
) -> None:
    volume = head(((30.0, 10.0, 16.0), 25.0), shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0))
    write_slices(tmp_path, Scan(volume.data, volume.spacing_mm))
    files = sorted(each for each in tmp_path.rglob("*") if each.is_file())
    page = open_page(bright_live)
    page.set_input_files("#file", files)
    wait_for(page, "result")
    expect(page.locator(".note.tl")).to_have_text(re.compile("/ 20"))
    page.click("#result [data-action=again]")
    wait_for(page, "empty")
    archive = zipped({f"Doe/{each.name}": each.read_bytes() for each in files})
    upload(page, archive, "Doe.zip", "application/zip")
    wait_for(page, "result")
    expect(page.locator("#file-name")).to_have_text("Doe")
    expect(page.locator(".note.tl")).to_have_text(re.compile("/ 20"))


def test_a_pair_of_header_and_pixels_stays_together(
    open_page: OpenPage, bright_live: LiveServer, tmp_path: Path
) -> None:
    volume = head(((30.0, 10.0, 16.0), 25.0), shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0))
    typed: Any = nibabel  # its classes are only partly typed
    typed.save(typed.Nifti1Pair(volume.data, volume.affine), tmp_path / "Doe.img")
    page = open_page(bright_live)
    page.set_input_files("#file", [tmp_path / "Doe.hdr", tmp_path / "Doe.img"])
    wait_for(page, "result")
    expect(page.locator("#file-name")).to_have_text("Doe")
    expect(page.locator(".note.tl")).to_have_text(re.compile("/ 20"))


def test_several_volumes_of_one_file_are_rows_of_their_own(
    open_page: OpenPage, bright_live: LiveServer, tmp_path: Path
) -> None:
    volume = head(((30.0, 10.0, 16.0), 25.0), shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0))
    twice = np.stack([volume.data, volume.data], axis=-1)
    typed: Any = nibabel
    typed.save(typed.Nifti1Image(twice, volume.affine), tmp_path / "two.nii.gz")
    page = open_page(bright_live)
    page.set_input_files("#file", tmp_path / "two.nii.gz")
    wait_for(page, "result")
    page.click("#to-list")
    wait_for(page, "list")
    expect(page.locator("#list-body .cell-name")).to_have_text(["two.nii.gz", "two.nii.gz #2"])
    page.get_by_role("button", name="two.nii.gz #2").click()  # its pixels are asked for now
    wait_for(page, "result")
    wait_for_slice(page)
    expect(page.locator("#file-name")).to_have_text("two.nii.gz #2")
    expect(page.locator("[data-take=report]")).to_have_count(0)


def test_dicom_files_that_name_no_series_are_pictures_after_all(
    open_page: OpenPage, bright_live: LiveServer, tmp_path: Path
) -> None:
    for n in range(2):
        drawn = draw_phantom(n, lesion=True, size=128).image
        (tmp_path / f"{n}.dcm").write_bytes(dicom(drawn, PixelSpacing=[1.0, 1.0]))
    page = open_page(bright_live)
    page.set_input_files("#file", [tmp_path / "0.dcm", tmp_path / "1.dcm"])
    wait_for(page, "result")
    page.click("#to-list")
    page.wait_for_selector("#list-progress[hidden]", state="attached")
    expect(page.locator("#list-body .cell-name")).to_have_text(["0.dcm", "1.dcm"])
    expect(page.locator("#list-body .cell-kind")).to_have_text(["picture", "picture"])


def test_a_folder_is_read_whole(
    open_page: OpenPage, bright_live: LiveServer, series_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "a.nii.gz").write_bytes(series_file.read_bytes())
    (folder / ".hidden").write_bytes(b"x")
    page = open_page(bright_live)
    page.set_input_files("#folder", folder)
    wait_for(page, "result")
    expect(page.locator("#file-name")).to_have_text("study/a.nii.gz")


def test_file_names_do_not_reach_the_server(
    open_page: OpenPage, bright_live: LiveServer, series_file: Path
) -> None:
    page = open_page(bright_live)
    bodies: list[bytes] = []

    def look(route: Route) -> None:
        bodies.append(route.request.post_data_buffer or b"")
        route.continue_()

    page.route("**/explain/series", look)
    page.set_input_files("#file", series_file)
    wait_for(page, "result")
    assert bodies
    assert b"Doe" not in bodies[0]


def test_reading_shows_progress_and_can_be_cancelled(
    open_page: OpenPage, bright_live: LiveServer, series_file: Path
) -> None:
    page = open_page(bright_live)
    page.route("**/explain/series", lambda route: None)
    page.set_input_files("#file", series_file)
    wait_for(page, "reading")
    expect(page.locator("#reading-text")).to_contain_text("Sending the slices")
    page.click("#cancel")
    wait_for(page, "empty")


def test_a_series_beside_itself_without_the_map(series_page: Page) -> None:
    page = series_page
    page.click("#compare")
    wait_for(page, "compare")
    left, right = ".side:nth-child(1)", ".side:nth-child(2)"
    wait_for_slice(page, root=left)
    wait_for_slice(page, root=right)
    expect(page.locator(f"{right} select")).to_have_value("bare")
    page.locator(f"{left} .stage").focus()
    page.keyboard.press("Home")
    wait_for_slice(page, 0, root=right)
    page.keyboard.press("+")
    expect(page.locator(f"{right} .note.bl")).to_have_text("125 %")
    page.locator("#link").uncheck()
    page.keyboard.press("Tab")
    page.locator(f"{left} .stage").focus()
    page.keyboard.press("End")
    wait_for_slice(page, 149, root=left)
    assert shown_slice(page, right) == 0


def taken(page: Page, name: str) -> Download:
    with page.expect_download() as waiting:
        page.click(f"[data-take={name}]")
    return waiting.value


def test_picture_table_and_record_are_taken_along(series_page: Page) -> None:
    page = series_page
    shown = shown_slice(page)
    picture = Image.open(taken(page, "png").path())
    assert picture.width >= 900
    foot = np.asarray(picture.convert("RGB"), np.int64)[-60:]
    assert (foot[..., 0] - foot[..., 2] > 60).sum() > 200  # the banner, in amber
    download = taken(page, "csv")
    assert download.suggested_filename == "tumorlens-Doe_Jane.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.path()).read_text("utf-8"))))
    assert len(rows) == 150
    assert rows[shown]["decision"] == "tumor"
    assert all("not for clinical use" in row["disclaimer"] for row in rows)
    record = json.loads(Path(taken(page, "json").path()).read_text("utf-8"))
    assert record["label"] == "tumor"
    assert len(record["slices"]) == 150
    assert "not for clinical use" in record["disclaimer"]


def test_the_report_of_a_series_is_taken_along(series_page: Page) -> None:
    download = taken(series_page, "report")
    assert download.suggested_filename == "tumorlens-Doe_Jane-report.html"
    text = Path(download.path()).read_text("utf-8")
    assert text.lower().startswith("<!doctype html>")
    assert "not for clinical use" in text.lower()
    assert "Doe" not in text
    expect(series_page.locator("#take-said")).to_contain_text("among your downloads")


def test_the_same_command_is_shown_and_copied(series_page: Page, bright_live: LiveServer) -> None:
    page = series_page
    page.locator("#snippets summary").click()
    code = page.locator("#snippets code")
    expect(code.nth(0)).to_have_text(
        f"curl -F 'file=@Doe Jane.nii.gz' {bright_live.url}/predict/series"
    )
    expect(code.nth(1)).to_contain_text('client.predict_series("Doe Jane.nii.gz")')
    compile(code.nth(1).text_content() or "", "snippet", "exec")
    page.click("[data-copy=curl]")
    expect(page.locator("[data-copy=curl]")).to_have_text(re.compile("Copied|Selected"))


def test_the_drawn_series_can_be_tried(open_page: OpenPage, bright_live: LiveServer) -> None:
    page = open_page(bright_live)
    page.click("[data-example=series]")
    wait_for(page, "result")
    wait_for_slice(page)
    expect(page.locator(".note.tl")).to_have_text(re.compile("/ 77"))
