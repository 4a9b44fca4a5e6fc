"""Templates: every value escaped in HTML, cells kept whole in Markdown, nothing left unfilled."""

from __future__ import annotations

import base64
import math
from types import SimpleNamespace

import pytest
from jinja2 import UndefinedError

from tumorlens.pages.render import _environment, data_uri, render


def test_a_table_s_cells_cannot_break_it() -> None:
    macros = _environment().get_template("macros.md.j2").module
    table = macros.table(("a", "b"), [("x|y", "two\nlines")])  # type: ignore[attr-defined]
    assert str(table).splitlines() == ["| a | b |", "| --- | --- |", "| x\\|y | two lines |"]


def test_values_are_escaped_in_html() -> None:
    macros = _environment().get_template("macros.html.j2").module
    table = str(macros.table(("<b>",), [("a", "<script>")]))  # type: ignore[attr-defined]
    assert "<script>" not in table
    assert "&lt;script&gt;" in table
    assert "&lt;b&gt;" in table


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("claim.md", card=None)


def test_estimates_that_are_not_defined_say_so() -> None:
    filters = _environment().filters
    nothing = SimpleNamespace(low=math.nan, high=math.nan)
    assert filters["number"](math.nan) == "–"
    assert filters["number"](0.12345) == "0.123"
    assert filters["interval"](nothing) == "not defined"
    assert filters["interval"](SimpleNamespace(low=0.1, high=0.25)) == "0.100 to 0.250"


def test_a_picture_s_address_holds_its_bytes() -> None:
    address = data_uri(b"<svg/>", "svg")
    assert address.startswith("data:image/svg+xml;base64,")
    assert base64.b64decode(address.partition(",")[2]) == b"<svg/>"
    assert data_uri(b"", "jpeg") == "data:image/jpeg;base64,"
