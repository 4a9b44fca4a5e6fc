"""The page in a real browser: what a person sees, hears and can reach by keyboard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

import tumorlens
from tests.models_for_tests import write_tiny_model
from tests.serving import scans
from tests.serving.live import LiveServer
from tests.web.conftest import upload, wait_for, wait_for_slice
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.predictor import Predictor

pytestmark = pytest.mark.browser


def shown_probability(page: Page) -> float:
    return float(page.locator("#probability").get_attribute("data-value") or "nan")


def command_line(model: Path, image: Path) -> float:
    code = "from tumorlens.cli import main; main()"
    arguments = ["predict", str(image), "--format", "jsonl", "--model", str(model)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout)["prob"])


def test_it_opens_empty_with_the_banner_and_the_model(page: Page, predictor: Predictor) -> None:
    expect(page.locator("main")).to_have_attribute("data-state", "empty")
    expect(page.get_by_role("note")).to_contain_text("Not for clinical use")
    expect(page.locator("#model-chip")).to_have_text(f"tiny 1.0 · {predictor.sha256[:8]}")
    expect(page.locator("#drop")).to_be_visible()


def test_a_phantom_gets_its_answer_with_the_evidence(
    page: Page, predictor: Predictor, tiny_model_path: Path, tmp_path: Path
) -> None:
    image = tmp_path / "phantom.png"
    image.write_bytes(scans.png_scan())
    page.set_input_files("#file", image)
    wait_for(page, "result")
    prob = predictor.predict(image).prob
    assert shown_probability(page) == pytest.approx(prob, abs=1e-5)
    assert command_line(tiny_model_path, image) == pytest.approx(prob, abs=1e-5)
    expect(page.locator("#probability")).to_have_text(f"{prob * 100:.0f} %")
    expect(page.locator("#headline")).to_have_text("Tumour suspected")
    expect(page.locator("#headline")).to_be_focused()
    expect(page.locator("#label")).to_have_text("tumour")
    expect(page.locator("#frequency")).to_contain_text(f"about {round(prob * 100)} show a tumour")
    expect(page.locator("#threshold-text")).to_contain_text("50 %")
    expect(page.locator("#model-hash")).to_have_text(predictor.sha256)
    expect(page.locator("#announcer")).to_contain_text("Not for clinical use")
    assert page.locator("#dots .dot.on").count() == round(prob * 100)
    wait_for_slice(page, 0)


@pytest.mark.real
def test_a_real_scan_gets_the_same_answer_everywhere(
    page: Page, predictor: Predictor, tiny_model_path: Path, data_root: Path
) -> None:
    folder = data_root / "brain_tumor_dataset" / "yes"
    image = sorted(file for file in folder.iterdir() if file.is_file())[0]
    page.set_input_files("#file", image)
    wait_for(page, "result")
    prob = predictor.predict(image).prob
    assert shown_probability(page) == pytest.approx(prob, abs=1e-5)
    assert command_line(tiny_model_path, image) == pytest.approx(prob, abs=1e-5)
    wait_for_slice(page, 0)
    expect(page.get_by_role("note")).to_be_visible()


@pytest.mark.parametrize("kind", ["lesion", "healthy"])
def test_the_drawn_heads_can_be_tried(page: Page, kind: str) -> None:
    page.click(f"[data-example={kind}]")
    wait_for(page, "result")
    wait_for_slice(page, 0)


def green(page: Page) -> int:
    """Return how far green and red differ over the canvas: the colour of the evidence."""
    script = """canvas => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let sum = 0;
        for (let at = 0; at < data.length; at += 4) sum += Math.abs(data[at] - data[at + 1]);
        return sum;
    }"""
    return int(page.locator(".stage canvas").evaluate(script))


def test_evidence_and_outline_can_be_faded_coloured_and_hidden(page: Page) -> None:
    upload(page, scans.png_scan())
    wait_for(page, "result")
    wait_for_slice(page, 0)
    settled(page)
    strong = green(page)
    page.locator("[data-role=opacity]").fill("20")
    settled(page)
    assert 0 < green(page) < strong
    page.locator("[data-role=opacity]").fill("0")
    settled(page)
    outlined = green(page)
    page.locator("[data-role=outline]").uncheck()
    settled(page)
    assert green(page) == 0 < outlined
    colours = page.locator("[data-role=colour]")
    assert colours.locator("option").count() == 4
    page.locator("[data-role=opacity]").fill("100")
    seen = set()
    for name in ("inferno", "viridis", "cividis", "warm"):
        colours.select_option(name)
        settled(page)
        seen.add(green(page))
    assert len(seen) == 4


def settled(page: Page) -> None:
    """Wait until what was asked of the canvas has been drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => "
                  "requestAnimationFrame(() => setTimeout(done))))")  # fmt: skip


def grey(page: Page, x: float, y: float) -> int:
    script = """([x, y]) => {
        const canvas = document.querySelector(".stage canvas");
        const at = [Math.round(x * canvas.width), Math.round(y * canvas.height)];
        return canvas.getContext("2d").getImageData(...at, 1, 1).data[0];
    }"""
    return int(page.evaluate(script, [x, y]))


def drag(page: Page, dx: float, dy: float, *, steps: int = 4) -> None:
    box = page.locator(".stage").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=steps)
    page.mouse.up()
    settled(page)


def test_window_and_level_follow_a_drag_and_sliders(page: Page) -> None:
    upload(page, scans.png_scan())
    wait_for(page, "result")
    wait_for_slice(page, 0)
    note = page.locator(".note.tr")
    expect(note).to_have_text("W 255 · L 128")
    before = grey(page, 0.5, 0.2)
    drag(page, -120, -80)
    expect(note).not_to_have_text("W 255 · L 128")
    assert grey(page, 0.5, 0.2) != before
    page.locator("[data-act=reset]").click()
    settled(page)
    expect(note).to_have_text("W 255 · L 128")
    assert grey(page, 0.5, 0.2) == before
    page.locator("[data-role=width]").fill("100")
    expect(note).to_contain_text("W 100")
    page.locator(".stage").focus()
    page.keyboard.press("[")
    expect(note).not_to_contain_text("W 100")


def test_zoom_and_pan_by_buttons_keys_wheel_and_drag(page: Page) -> None:
    upload(page, scans.png_scan())
    wait_for(page, "result")
    wait_for_slice(page, 0)
    zoom = page.locator(".note.bl")
    page.locator("[data-act=zoomIn]").click()
    expect(zoom).to_have_text("125 %")
    page.locator(".stage").focus()
    page.keyboard.press("+")
    expect(zoom).to_have_text("156 %")
    box = page.locator(".stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    expect(zoom).not_to_have_text("156 %")
    page.locator("[data-tool=pan]").click()
    expect(page.locator("[data-tool=pan]")).to_have_attribute("aria-pressed", "true")
    settled(page)
    before = page.locator(".stage canvas").evaluate("c => c.toDataURL()")
    drag(page, 60, 40)
    assert page.locator(".stage canvas").evaluate("c => c.toDataURL()") != before
    page.locator(".stage").focus()
    page.keyboard.press("0")
    expect(zoom).to_have_text("")


def test_a_length_is_in_millimetres_where_the_header_gives_them(page: Page) -> None:
    from tests.imaging.dicoms import dicom

    image = draw_phantom(7, lesion=True).image
    upload(page, dicom(image, PixelSpacing=[0.5, 0.5]), "a.dcm", "application/dicom")
    wait_for(page, "result")
    wait_for_slice(page, 0)
    page.locator(".stage").focus()
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#announcer")).to_have_text("Length: 20.0 mm")  # 40 pixels
    page.locator("[data-act=clear]").click()
    expect(page.locator("[data-act=clear]")).to_be_hidden()
    page.locator("#as-read summary").click()
    expect(page.locator("#as-read")).to_contain_text("0.50 mm")


def test_without_geometry_a_length_is_in_pixels(page: Page) -> None:
    upload(page, scans.png_scan())
    wait_for(page, "result")
    wait_for_slice(page, 0)
    page.locator("[data-tool=measure]").click()
    drag(page, 100, 0)
    expect(page.locator("#announcer")).to_contain_text("px (size of pixels not known)")


def test_another_threshold_can_be_asked_and_is_said_to_be_exploratory(page: Page) -> None:
    upload(page, scans.png_scan())
    wait_for(page, "result")
    said = page.locator("#whatif-said")
    expect(said).to_contain_text("Drag the line")
    prob = shown_probability(page)
    page.locator("#whatif").fill(str(round(prob * 100) + 2))
    expect(said).to_contain_text("the label would be “healthy” instead. Exploratory")
    expect(page.locator("#headline")).to_have_text("Tumour suspected")
    page.locator("#whatif").fill(str(round(prob * 100) - 2))
    expect(said).to_contain_text("as well")
    page.click("text=Back to the model's")
    expect(page.locator("#whatif")).to_have_value("50")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#whatif")).to_have_value("51")


def test_a_text_file_is_refused_with_its_reason(page: Page) -> None:
    upload(page, b"a text file named .jpg", "notes.jpg", "image/jpeg")
    wait_for(page, "refused")
    expect(page.locator("#refused-title")).to_have_text("Unsupported file format")
    expect(page.locator("#refused-title")).to_be_focused()
    expect(page.locator("#refused-id")).to_have_text(re.compile("Request [0-9a-f]{32}"))
    expect(page.locator("#no-picture")).to_be_visible()
    page.click(".refused [data-action=again]")
    expect(page.locator("main")).to_have_attribute("data-state", "empty")


def test_a_file_over_the_limit_is_refused_without_sending_it(page: Page, tmp_path: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    large = tmp_path / "large.png"
    large.write_bytes(bytes(33 * 2**20))
    page.set_input_files("#file", large)
    wait_for(page, "refused")
    expect(page.locator("#refused-detail")).to_contain_text("33.0 MiB; the limit is 32.0 MiB")
    assert not [url for url in asked if url.endswith("/explain")]


def test_an_uncertain_answer_says_why_and_what_to_do(page: Page) -> None:
    unsure = {"decision": "uncertain", "prediction_set": ["healthy", "tumor"]}
    page.route("**/explain", lambda route: changed(route, **unsure))
    upload(page, scans.png_scan())
    wait_for(page, "result")
    expect(page.locator("#headline")).to_have_text("Uncertain")
    expect(page.locator("#because")).to_contain_text("error rate of 10 %")
    expect(page.locator("#because")).to_contain_text("What to do")


def changed(route: Route, **fields: Any) -> None:
    """Let the server answer, and change fields of it."""
    answer = route.fetch()
    route.fulfill(response=answer, body=json.dumps({**answer.json(), **fields}))


def test_what_is_no_head_is_refused_with_the_reason(page: Page) -> None:
    upload(page, scans.blank_png())
    wait_for(page, "refused")
    expect(page.locator("#refused-title")).to_have_text("Not a usable scan of a brain")
    expect(page.locator("#refused-detail")).to_contain_text("(almost) no contrast")
    expect(page.locator("#refused-advice")).to_contain_text("What to do")


def test_a_picture_the_browser_cannot_draw_comes_from_the_server(page: Page) -> None:
    upload(page, scans.encoded("TIFF"), "scan.tif", "image/tiff")
    wait_for(page, "result")
    wait_for_slice(page, 0)


def test_a_silent_server_keeps_the_scan_for_another_try(page: Page) -> None:
    page.context.set_offline(True)
    upload(page, scans.png_scan())
    wait_for(page, "offline")
    expect(page.locator("#offline-title")).to_have_text("The server does not respond")
    page.context.set_offline(False)
    page.click("#retry")
    wait_for(page, "result")


def test_a_busy_server_is_asked_again_and_a_broken_one_is_not(page: Page) -> None:
    document = json.dumps({"title": "Busy", "detail": "All places are taken."})
    answers = iter([503, 429, 500])
    page.route(
        "**/explain",
        lambda route: route.fulfill(
            status=next(answers), body=document, headers={"Retry-After": "1"},
            content_type="application/json",
        ),
    )  # fmt: skip
    upload(page, scans.png_scan())
    expect(page.locator("#reading-text")).to_have_text("waiting for a place")
    wait_for(page, "offline")  # after two waits the server gives up
    expect(page.locator("#offline-title")).to_have_text("The server reported an error")
    expect(page.locator("#offline-detail")).to_contain_text("All places are taken.")


def test_reading_can_be_cancelled(page: Page) -> None:
    page.route("**/explain", lambda route: None)
    upload(page, scans.png_scan())
    wait_for(page, "reading")
    page.click("#cancel")
    expect(page.locator("main")).to_have_attribute("data-state", "empty")


@pytest.mark.parametrize("how", ["paste", "drop"])
def test_a_scan_can_be_pasted_and_dropped(page: Page, how: str) -> None:
    script = """async ([how, address]) => {
        const body = await (await fetch(address)).blob();
        const data = new DataTransfer();
        data.items.add(new File([body], "scan.png", { type: "image/png" }));
        const event = how === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    page.evaluate(script, [how, "examples/lesion.png"])
    wait_for(page, "result")


def test_a_model_without_a_map_says_so(browser: Browser, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "plain.onnx", has_map=False)
    with LiveServer(model) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("html[data-ready]")
        upload(page, scans.png_scan())
        wait_for(page, "result")
        expect(page.locator("#plain-note")).to_be_visible()
        expect(page.locator(".controls")).to_be_hidden()
        expect(page.locator("#preview")).to_be_visible()
        page.close()


def test_a_closed_server_asks_for_its_key(browser: Browser, tiny_model_path: Path) -> None:
    environment = {"TUMORLENS_API_KEYS": "open-sesame"}
    with LiveServer(tiny_model_path, environment=environment) as server:
        page = browser.new_page()
        page.goto(server.url)
        upload(page, scans.png_scan())
        wait_for(page, "refused")
        page.fill("#key", "open-sesame")
        page.keyboard.press("Enter")
        wait_for(page, "result")
        page.close()


def test_the_api_page_lists_every_route(page: Page, live: LiveServer) -> None:
    page.goto(f"{live.url}/docs")
    page.wait_for_selector(".route")
    shown = set(page.locator(".route .path").all_text_contents())
    paths = httpx.get(f"{live.url}/openapi.json").json()["paths"]
    assert shown == {path for path in paths if not path.startswith("/assets/")}


def test_the_page_takes_no_script_from_its_markup(live: LiveServer) -> None:
    answer = httpx.get(live.url)
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|\sstyle=|\son\w+=|https?://", answer.text)


def test_the_page_is_small_and_names_no_other_address() -> None:
    from tumorlens.serving.api.pages import ASSETS

    folder = Path(tumorlens.__file__).parent / "serving" / "web"
    files = sorted(folder.iterdir())
    assert {file.name for file in files} == {*ASSETS, "index.html", "docs.html"}
    assert sum(file.stat().st_size for file in files) <= 200_000
    # All modules are asked for at once, instead of one import after another.
    markup = (folder / "index.html").read_text("utf-8")
    preloaded = set(re.findall(r'rel="modulepreload" href="assets/([^"]+)"', markup))
    assert preloaded == {n for n in ASSETS if n.endswith(".js")} - {"app.js", "docs.js"}
    for file in files:
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text.replace("://127.0.0.1", ""), file.name


@pytest.fixture(scope="module")
def predictor(tiny_model_path: Path) -> Predictor:
    return Predictor.open(tiny_model_path, threads=1)


def test_the_examples_are_drawn_by_code(live: LiveServer) -> None:
    import io

    import numpy as np
    from PIL import Image

    body = httpx.get(f"{live.url}/examples/lesion.png").content
    drawn = draw_phantom(7, lesion=True, size=384).image
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(body))), drawn)
