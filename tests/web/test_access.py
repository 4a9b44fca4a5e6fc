"""Everybody can use the page: axe-core, keyboard alone, every width, two languages."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import tumorlens
from tests.serving import scans
from tests.serving.live import LiveServer
from tests.web.conftest import OpenPage, upload, wait_for, wait_for_slice

pytestmark = pytest.mark.browser

WEB = Path(tumorlens.__file__).parent / "serving" / "web"
STATES = ("empty", "reading", "picture", "card", "series", "compare", "list", "refused", "offline")


def axe(page: Page) -> list[str]:
    """Return the violations of axe-core's rules on the page as it is."""
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate("() => axe.run().then(result => result.violations)")
    return [f"{each['id']}: {node['html'][:120]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(
    open_page: OpenPage, bright_live: LiveServer, series_file: Path, scheme: str
) -> None:
    page = open_page(bright_live, color_scheme=scheme)
    found: dict[str, list[str]] = {"empty": axe(page)}
    page.route("**/explain", lambda route: None)
    upload(page, scans.png_scan())
    wait_for(page, "reading")
    found["reading"] = axe(page)
    page.click("#cancel")  # first: without its route the request would go on, and be answered
    page.unroute("**/explain")
    page.click("[data-example=lesion]")
    wait_for(page, "result")
    wait_for_slice(page, 0)
    page.locator("#whatif").fill("70")
    for details in page.locator("main details").all():
        details.evaluate("details => { details.open = true; }")
    found["picture"] = axe(page)
    page.click("#model-chip")
    found["card"] = axe(page)
    page.keyboard.press("Escape")
    page.set_input_files("#file", series_file)
    wait_for(page, "list")
    page.wait_for_selector("#list-progress[hidden]", state="attached", timeout=120_000)
    found["list"] = axe(page)
    page.get_by_role("button", name="Doe Jane.nii.gz").click()
    wait_for(page, "result")
    wait_for_slice(page)
    for details in page.locator("main details").all():
        details.evaluate("details => { details.open = true; }")
    found["series"] = axe(page)
    page.click("#compare")
    wait_for(page, "compare")
    wait_for_slice(page, root=".side:nth-child(2)")
    found["compare"] = axe(page)
    page.click("#to-list")
    page.click("[data-list=clear]")
    upload(page, scans.blank_png())
    wait_for(page, "refused")
    found["refused"] = axe(page)
    page.context.set_offline(True)
    page.click(".refused [data-action=again]")
    upload(page, scans.png_scan())
    wait_for(page, "offline")
    found["offline"] = axe(page)
    assert found == {state: [] for state in found}
    assert set(found) == set(STATES)


def test_a_keyboard_alone_leads_from_upload_to_what_is_taken_along(
    open_page: OpenPage, bright_live: LiveServer
) -> None:
    page = open_page(bright_live)

    def tab_to(selector: str, most: int = 60) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to("#file")
    with page.expect_file_chooser():
        page.keyboard.press("Enter")
    tab_to("[data-example=series]")
    page.keyboard.press("Enter")
    wait_for(page, "result")
    expect(page.locator("#headline")).to_be_focused()
    wait_for_slice(page)
    page.locator("#bar").evaluate("bar => bar.scrollIntoView()")
    page.evaluate("document.getElementById('work').focus()")
    tab_to("[data-tool=measure]")
    page.keyboard.press("Enter")
    tab_to(".stage")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#announcer")).to_have_text("Length: 15.0 mm")
    page.keyboard.press("w")
    page.keyboard.press("Home")
    wait_for_slice(page, 0)
    expect(page.locator("#announcer")).to_contain_text("Slice 1 of 77")
    tab_to("[data-role=slice]")
    page.keyboard.press("ArrowRight")
    wait_for_slice(page, 1)
    tab_to("[data-role=opacity]")
    page.keyboard.press("ArrowLeft")
    tab_to("#whatif")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#whatif-said")).to_contain_text("Exploratory")
    tab_to("[data-take=json]")
    with page.expect_download():
        page.keyboard.press("Enter")
    tab_to("[data-action=again]")
    page.keyboard.press("Enter")
    expect(page.locator("#file")).to_be_focused()


@pytest.mark.parametrize("width", [360, 820, 1280, 3840])
def test_nothing_is_wider_than_the_window(
    open_page: OpenPage, bright_live: LiveServer, series_file: Path, width: int
) -> None:
    page = open_page(bright_live, viewport={"width": width, "height": 800}, locale="de-DE")

    def wide() -> int:
        return int(page.evaluate("document.documentElement.scrollWidth"))

    assert wide() <= width
    page.set_input_files("#file", series_file)
    wait_for(page, "result")
    wait_for_slice(page)
    assert wide() <= width
    page.click("#compare")
    wait_for(page, "compare")
    assert wide() <= width
    upload(page, scans.blank_png(), "a long name " * 12 + ".png")
    wait_for(page, "list")
    page.wait_for_selector("#list-progress[hidden]", state="attached", timeout=120_000)
    assert wide() <= width


def test_the_language_is_the_browsers_and_can_be_changed(
    open_page: OpenPage, live: LiveServer
) -> None:
    page = open_page(live, locale="de-DE")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("note")).to_contain_text("Nicht für den klinischen Gebrauch")
    page.click("[data-example=lesion]")
    wait_for(page, "result")
    expect(page.locator("#headline")).to_have_text("Tumorverdacht")
    page.select_option("#language", "en")
    expect(page.locator("#headline")).to_have_text("Tumour suspected")
    expect(page.locator("[data-tool=measure]")).to_have_text("Measure")
    assert "lang=en" in page.url
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert (
        page.evaluate("document.cookie + Object.keys(localStorage) + sessionStorage.length") == "0"
    )


def test_a_refusal_is_told_in_german_and_what_stays_english_is_marked(
    open_page: OpenPage, live: LiveServer
) -> None:
    page = open_page(live, path="/?lang=de")
    upload(page, scans.blank_png())
    wait_for(page, "refused")
    expect(page.locator("#refused-title")).to_have_text("Keine brauchbare Aufnahme eines Gehirns")
    expect(page.locator("#refused-detail")).to_contain_text("(fast) keinen Kontrast")
    page.click(".refused [data-action=again]")
    page.click("[data-example=healthy]")
    wait_for(page, "result")
    expect(page.locator(".origin")).to_have_attribute("lang", "en")


# --- the table of texts, without a browser --------------------------------------------------------


def table() -> dict[str, tuple[str, str]]:
    text = (WEB / "strings.js").read_text("utf-8")
    rows = re.findall(r'^  (?:"([^"]+)"|(\w+)): \["(.*)", "(.*)"\],$', text, re.MULTILINE)
    assert len(rows) == sum(line.startswith("  ") for line in text.splitlines())
    return {quoted or plain: (english, german) for quoted, plain, english, german in rows}


def test_every_text_is_in_both_languages_with_the_same_values() -> None:
    for key, (english, german) in table().items():
        assert english, key
        assert german, key
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", german)), key


def test_every_key_that_is_used_has_its_text_and_none_is_left_over() -> None:
    keys = set(table())
    sources = [file for file in WEB.iterdir() if file.suffix in (".js", ".html")]
    text = "".join(file.read_text("utf-8") for file in sources if file.name != "strings.js")
    used = set(re.findall(r'\bt\("([^"]+)"', text)) | set(re.findall(r'data-t[\w-]*="(.+?)"', text))
    assert {key for key in used if "." in key} <= keys
    used |= keys & set(re.findall(r'"([\w.-]+)"', text))
    made = [re.compile(re.sub(r"\\\$\\{.*?\\}", ".+", re.escape(each)) + "$")
            for each in re.findall(r"\bt\(`([^`]+)`", text)]  # fmt: skip
    unused = {key for key in keys - used if not any(each.match(key) for each in made)}
    assert unused == set()


def test_the_markup_says_what_the_table_says() -> None:
    markup = (WEB / "index.html").read_text("utf-8")
    texts = table()
    for key, shown in re.findall(r'data-t="([^"]+)"[^>]*>([^<]*)<', markup):
        if shown:
            assert shown == texts[key][0], key
