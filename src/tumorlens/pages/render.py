"""Self-contained HTML pages and Markdown cards, rendered from Jinja templates."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render(template: str, **values: Any) -> str:
    """Return a rendered template of ``pages/templates``, ending in a line break.

    HTML values are escaped; in Markdown tables the filter ``cell`` escapes them.

    Args:
        template: File name without ``.j2``, such as ``report.html``.
        values: The template's variables; each must be given.
    """
    text = _environment().get_template(f"{template}.j2").render(**values)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


def data_uri(content: bytes, kind: Literal["svg", "png", "jpeg"]) -> str:
    """Return an image as a ``data:`` URI."""
    media = "svg+xml" if kind == "svg" else kind
    return f"data:image/{media};base64,{base64.b64encode(content).decode()}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tumorlens.pages"),
        autoescape=select_autoescape(("html.j2", "html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": _cell,
        "number": _number,
        "interval": _interval,
        "settings": _settings,
    }
    return environment


def _cell(value: object) -> str:
    """Return a value as the cell of a Markdown table: on one line, pipes escaped."""
    return " ".join(str(value).replace("|", "\\|").split())


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _interval(estimate: Any) -> str:
    if not math.isfinite(estimate.low):
        return "not defined"
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def _settings(values: Mapping[str, Any]) -> str:
    """Return names and values in one line."""
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "none"
