"""The page in a real browser: what a person sees, hears and can reach by keyboard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.models_for_tests import write_tiny_model
from tests.serving import scans
from tests.serving.live import LiveServer
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.predictor import Predictor

pytestmark = pytest.mark.browser


def upload(page: Page, body: bytes, name: str = "scan.png", kind: str = "image/png") -> None:
    page.set_input_files("#file", FilePayload(name=name, mimeType=kind, buffer=body))


def wait_for(page: Page, state: str) -> None:
    page.wait_for_selector(f"main[data-state={state}]")


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
    expect(page.locator("#label")).to_have_text("tumor")
    expect(page.locator("#frequency")).to_contain_text(f"about {round(prob * 100)} show a tumour")
    expect(page.locator("#threshold-text")).to_contain_text("50 %")
    expect(page.locator("#model-hash")).to_have_text(predictor.sha256)
    expect(page.locator("#announcer")).to_contain_text("Not for clinical use")
    expect(page.locator("#heat")).to_be_visible()
    assert page.locator("#dots .dot.on").count() == round(prob * 100)
    sizes = page.eval_on_selector_all(
        "#scan, #heat", "all => all.map(i => [i.naturalWidth, i.naturalHeight])"
    )
    assert sizes == [[256, 256], [256, 256]]


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
    expect(page.locator("#heat")).to_be_visible()
    expect(page.get_by_role("note")).to_be_visible()


@pytest.mark.parametrize("kind", ["lesion", "healthy"])
def test_the_drawn_heads_can_be_tried(page: Page, kind: str) -> None:
    page.click(f"[data-example={kind}]")
    wait_for(page, "result")
    expect(page.locator("#heat")).to_be_visible()


def test_the_slider_fades_the_heat_map(page: Page) -> None:
    upload(page, scans.png_scan())
    wait_for(page, "result")
    page.locator("#opacity").fill("20")
    expect(page.locator("#heat")).to_have_css("opacity", "0.2")
    expect(page.locator("#opacity-value")).to_have_text("20 %")


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


def test_a_picture_the_browser_cannot_draw_comes_from_the_server(page: Page) -> None:
    upload(page, scans.encoded("TIFF"), "scan.tif", "image/tiff")
    wait_for(page, "result")
    expect(page.locator("#scan")).to_be_visible()
    assert page.eval_on_selector("#scan", "i => i.naturalWidth") == 256


def test_a_silent_server_keeps_the_scan_for_another_try(page: Page) -> None:
    page.context.set_offline(True)
    upload(page, scans.png_scan())
    wait_for(page, "offline")
    expect(page.locator("#offline-title")).to_have_text("The server does not respond")
    page.context.set_offline(False)
    page.click("#retry")
    wait_for(page, "result")


def test_a_busy_server_says_when_to_come_back(page: Page) -> None:
    document = json.dumps({"title": "Busy", "detail": "All places are taken."})
    page.route(
        "**/explain",
        lambda route: route.fulfill(
            status=503, body=document, headers={"Retry-After": "7"}, content_type="application/json"
        ),
    )
    upload(page, scans.png_scan())
    wait_for(page, "offline")
    expect(page.locator("#offline-title")).to_have_text("The server is busy")
    expect(page.locator("#offline-detail")).to_contain_text("Try again in 7 s.")


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


def test_it_works_by_keyboard_alone(page: Page) -> None:
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )
    assert reached[:4] == ["Skip to the scan", "API", "file", "With a lesion"]
    page.locator("[data-example=lesion]").focus()
    page.keyboard.press("Enter")
    wait_for(page, "result")
    page.locator("#opacity").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#opacity-value")).to_have_text("60 %")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(browser: Browser, live: LiveServer, scheme: str) -> None:
    script = (Path(__file__).parent / "contrast.js").read_text("utf-8")
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(live.url)
    weak = []
    for state in ("empty", "reading", "result", "refused", "offline"):
        if state == "result":
            page.click("[data-example=lesion]")
            wait_for(page, "result")
        page.evaluate("state => { document.getElementById('work').dataset.state = state }", state)
        weak += [f"{state}: {found}" for found in page.evaluate(script)]
        page.evaluate("document.getElementById('work').dataset.state = 'empty'")
    page.close()
    assert not weak


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, live: LiveServer, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(live.url)
    page.click("[data-example=lesion]")
    wait_for(page, "result")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_a_model_without_a_map_says_so(browser: Browser, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "plain.onnx", has_map=False)
    with LiveServer(model) as server:
        page = browser.new_page()
        page.goto(server.url)
        upload(page, scans.png_scan())
        wait_for(page, "result")
        expect(page.locator("#no-map")).to_be_visible()
        expect(page.locator("#controls")).to_be_hidden()
        expect(page.locator("#scan")).to_be_visible()
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
