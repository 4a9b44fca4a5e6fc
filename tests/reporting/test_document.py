"""The report: strict JSON, and a page that needs nothing and escapes everything."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser

from tumorlens.metrics.intervals import Estimate
from tumorlens.reporting.document import SCHEMA, Plot, Report, to_json
from tumorlens.reporting.html import to_html

EVIL = "<script>alert('x')</script>\"&"
SOME = {"roc_auc": Estimate(0.9, 0.8, 0.95, 40), "sensitivity": Estimate(1.0, 1.0, 1.0, 40)}
REPORT = Report(
    title="demo",
    created="2026-11-23",
    part="test",
    metrics=SOME,
    facts={"model": "demo 1.0"},
    notes=("random split",),
    parts={"validation": SOME},
    sources={"br35h": SOME},
    views={"axial": {"roc_auc": Estimate(math.nan, math.nan, math.nan, 3)}},
    settings={"optimizer": {"lr": 0.1}, "resume": None},
    data=({"source": "br35h", "n": 30, "sha256": "0" * 64, "licence": "unclear", "citation": "A"},),
    limitations=("one slice",),
    plots=(Plot("ROC", "the curve", b"<svg/>"), Plot("Scans", "some", b"\x89PNG", "png")),
)


class Tags(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_json_is_strict_and_names_its_schema() -> None:
    content = json.loads(to_json(REPORT))
    assert content["schema"] == SCHEMA
    assert content["views"]["axial"]["roc_auc"] == {
        "value": None,
        "low": None,
        "high": None,
        "n": 3,
    }
    assert content["settings"] == REPORT.settings
    assert content["plots"] == [
        {"title": "ROC", "caption": "the curve"},
        {"title": "Scans", "caption": "some"},
    ]
    assert content["metrics"]["roc_auc"] == {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40}


def test_the_page_asks_for_nothing_from_outside() -> None:
    page = Tags(to_html(REPORT))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "form", "base"}
    sources = [attrs["src"] for tag, attrs in page.tags if "src" in attrs]
    assert len(sources) == 2
    assert all(str(source).startswith("data:image/") for source in sources)
    assert all(str(a["href"]).startswith("#") for tag, a in page.tags if "href" in a)
    assert "url(" not in to_html(REPORT)
    policy = next(a["content"] for t, a in page.tags if "Content-Security-Policy" in a.values())
    assert str(policy).startswith("default-src 'none'")
    anchors = {str(a["href"])[1:] for tag, a in page.tags if "href" in a}
    assert anchors == {str(a["id"]) for tag, a in page.tags if tag == "section"}


def test_the_page_shows_figures_with_interval_and_n() -> None:
    text = Tags(to_html(REPORT)).text
    expected = ("0.900", "0.800 to 0.950", "n = 40", "not defined", "random split", "br35h")
    for words in (*expected, "optimizer.lr", "unclear", "one slice", "not for clinical use"):
        assert words in text, words


def test_every_text_is_escaped() -> None:
    evil = replace(
        REPORT,
        title=EVIL,
        created=EVIL,
        part=EVIL,
        metrics={EVIL: Estimate(0.5, 0.4, 0.6, 5)},
        facts={EVIL: EVIL},
        notes=(EVIL,),
        sources={EVIL: SOME},
        views={EVIL: SOME},
        parts={EVIL: SOME},
        settings={EVIL: {EVIL: [EVIL]}},
        data=({"source": EVIL, "n": EVIL, "licence": EVIL, "citation": EVIL},),
        limitations=(EVIL,),
        plots=(Plot(EVIL, EVIL, b"x"),),
    )
    page = to_html(evil)
    tags = Tags(page)
    assert "script" not in {tag for tag, _ in tags.tags}
    assert "<script>" not in page
    assert tags.text.count("alert('x')") >= 15
    image = next(attrs for tag, attrs in tags.tags if tag == "img")
    assert image["alt"] == EVIL


def test_sections_without_content_are_left_out() -> None:
    bare = Report(title="t", created="2026-11-23", part="test", metrics=SOME)
    sections = [attrs["id"] for tag, attrs in Tags(to_html(bare)).tags if tag == "section"]
    assert sections == ["summary"]
