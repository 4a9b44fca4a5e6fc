"""Answers as notebooks show them: whole, escaped, self-contained, with the disclaimer."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from tests.inference.series.drawn import head, write_bright_model
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.prediction import DISCLAIMER, Explanation, ModelRef, Prediction
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.answer import SeriesPrediction
from tumorlens.volumes.volume import Volume

HOSTILE = "<script>alert('x')</script>\"&"
VOID = {"img"}


class Page(HTMLParser):
    """The elements and the text of a fragment; fails on one that is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def prediction(**changes: Any) -> Prediction:
    return Prediction.from_dict(
        {
            "label": "tumor", "prob": 0.8, "decision": "tumor", "prediction_set": ["tumor"],
            "threshold": 0.25, "threshold_origin": "chosen so", "in_domain": True,
            "in_domain_reason": None, "latency_ms": 12.0,
            "model": {"name": "m", "version": "1", "sha256": "ab" * 32},
        } | changes
    )  # fmt: skip


def series(model: Path, volume: Volume) -> SeriesPrediction:
    return Predictor.open(model).predict_series(volume)


@pytest.mark.parametrize(
    ("prob", "decision", "headline", "told"),
    [
        (0.8, "tumor", "Tumour suspected", "probability of a tumour 0.800"),
        (0.1, "healthy", "No tumour suspected", "probability of a tumour 0.100"),
        (0.3, "uncertain", "Uncertain: treat this as no result", "tumour 0.300"),
        (0.99999, "tumor", "Tumour suspected", "above 0.999"),
        (0.00001, "healthy", "No tumour suspected", "below 0.001"),
    ],
)
def test_a_prediction_says_what_was_decided_and_what_it_is_not(
    prob: float, decision: str, headline: str, told: str
) -> None:
    page = Page(prediction(prob=prob, decision=decision)._repr_html_())
    assert headline in page.text
    assert told in page.text
    assert DISCLAIMER in page.text
    assert "threshold 0.250 (chosen so)" in page.text
    assert "m 1, abababababab" in page.text
    assert "unknown" not in page.text  # a sequence that nobody knows


def test_the_bar_is_as_long_as_the_probability_and_the_mark_at_the_threshold() -> None:
    styles = [attributes["style"] for attributes in Page(prediction()._repr_html_()).all("div")]
    assert any("width:80.0%" in (style or "") for style in styles)
    assert any("left:25.0%" in (style or "") for style in styles)


def test_every_value_is_escaped() -> None:
    html = prediction(
        threshold_origin=HOSTILE,
        in_domain=False,
        in_domain_reason=HOSTILE,
        decision="uncertain",
        disclaimer=HOSTILE,
        model=ModelRef(name=HOSTILE, version=HOSTILE, sha256="0" * 64),
    )._repr_html_()
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) == 5
    assert f"Out of domain: {HOSTILE}" in page.text


def test_the_remarks_of_a_series_are_escaped(tmp_path: Path) -> None:
    answer = series(write_bright_model(tmp_path / "m.onnx"), head(((20, 0, 0), 12)))
    page = Page(answer.model_copy(update={"remarks": (HOSTILE,)})._repr_html_())
    assert "script" not in {tag for tag, _ in page.tags}
    assert HOSTILE in page.text


def test_an_explanation_shows_the_scan_and_its_heat_map(tiny_model_path: Path) -> None:
    scan = draw_phantom(7, lesion=True, size=640).image
    explanation = Predictor.open(tiny_model_path).explain(scan)
    page = Page(explanation._repr_html_())
    pictures = page.all("img")
    assert len(pictures) == 2
    assert f"peak {explanation.heatmap.max():.2f}" in page.text
    for picture in pictures:
        assert picture["alt"]
        kind, _, content = (picture["src"] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), -1)
        assert pixels is not None
        assert pixels.shape[:2] == (320, 320)
    assert len(explanation._repr_html_()) < 120_000


def test_a_wide_and_a_tiny_scan_keep_their_shape() -> None:
    for shape, shown in (((100, 800), (40, 320)), ((3, 2), (3, 2)), ((1, 4000), (1, 320))):
        explanation = Explanation(
            prediction(), np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
        )
        sources = re.findall(r'base64,([^"]+)"', explanation._repr_html_())
        for each in sources:
            pixels = cv2.imdecode(np.frombuffer(base64.b64decode(each), np.uint8), 0)
            assert pixels is not None
            assert pixels.shape == shown


def test_a_series_shows_its_curve_and_its_findings(tmp_path: Path) -> None:
    answer = series(write_bright_model(tmp_path / "m.onnx"), head(((20, 0, 0), 12)))
    assert answer.findings
    html = answer._repr_html_()
    page = Page(html)
    finding = answer.findings[0]
    assert f"{finding.first} to {finding.last}, peak {finding.peak}" in page.text
    assert f"{finding.volume_ml:.1f} ml" in page.text
    assert f"of {len(answer.slices)} slices answered" in page.text
    drawing = ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])
    points = [p for line in drawing.iter("polyline") for p in line.attrib["points"].split()]
    assert len(points) == sum(each.prob is not None for each in answer.slices)
    assert all(30 <= float(x) <= 596 and 4 <= float(y) <= 104 for x, y in map(_pair, points))
    assert len(list(drawing.iter("circle"))) == sum(e.decision == "tumor" for e in answer.slices)
    assert len(list(drawing.iter("path"))) == len(answer.findings)


def _pair(point: str) -> list[str]:
    return point.split(",")


def test_further_findings_are_counted(tmp_path: Path) -> None:
    answer = series(write_bright_model(tmp_path / "m.onnx"), head(((20, 0, 0), 12)))
    many = answer.model_copy(update={"findings": answer.findings[:1] * 8})
    page = Page(many._repr_html_())
    assert len(page.all("tr")) == 1 + 5
    assert "3 smaller findings are not listed." in page.text


def test_a_series_without_an_answered_slice_says_so(tmp_path: Path) -> None:
    blank = Volume.aligned(np.zeros((64, 64, 20), np.uint8), (2.0, 2.0, 2.0), "blank")
    page = Page(series(write_bright_model(tmp_path / "m.onnx"), blank)._repr_html_())
    assert "no slice could be answered" in page.text
    assert not page.all("svg")


def test_nothing_is_loaded_and_both_themes_can_be_read(tiny_model_path: Path) -> None:
    html = Predictor.open(tiny_model_path).explain(draw_phantom(1, lesion=True).image)._repr_html_()
    page = Page(html)
    assert not {"script", "style", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[^\"]+", "", html))
    # No colour of text, and no light or dark ground, is set: both come from the notebook's theme.
    colours = re.findall(r"(?<![-\w])color:([^;\"]+)", html)
    assert set(colours) == {"inherit"}
    for accent in ("#e8590c", "#2f9e44", "#868e96"):
        assert min(_contrast(accent, 255), _contrast(accent, 17)) >= 3


def _contrast(colour: str, grey: int) -> float:
    """Contrast ratio by WCAG 2.2."""

    def linear(level: int) -> float:
        share = level / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    one, other = 0.2126 * red + 0.7152 * green + 0.0722 * blue, linear(grey)
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
