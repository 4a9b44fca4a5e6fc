"""The style of all plots, and the encoding of figures.

Colours are those of Okabe & Ito (Color Universal Design, 2008), distinguishable with colour vision
deficiency; correct and wrong predictions differ in text and line width too.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

from tumorlens.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEALTHY, TUMOUR = "#0072B2", "#D55E00"
INK, FAINT, RIGHT, WRONG = "#333333", "#999999", "#009E73", "#CC79A7"
CYCLE = (HEALTHY, TUMOUR, RIGHT, WRONG, "#56B4E9", "#E69F00", INK)

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "grid.color": "#E5E5E5",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.cmap": "viridis",
    "svg.fonttype": "path",  # text as paths: viewers need no fonts
    "svg.hashsalt": "tumorlens",  # reproducible output
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Apply the plot style to a function; it raises `MissingExtraError` without the extra."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style_context():
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` × ``height`` inches, independent of pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panel_grid(
    count: int, *, columns: int, width: float, height: float, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its ``count`` panels of ``width`` × ``height`` inches, row by row.

    ``columns`` is the largest number of panels in a row; ``options`` are those of
    ``Figure.subplots``.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width * columns, height * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for unused in panels[count:]:
        unused.set_visible(False)
    return figure, panels[:count]


def encode(figure: Figure, kind: Literal["svg", "png"] = "svg") -> bytes:
    """Return the figure as SVG (for lines and text) or as PNG at 110 dpi (for images)."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with _style_context():
        figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
    return buffer.getvalue()


def _style_context() -> Any:
    if find_spec("matplotlib") is None or find_spec("seaborn") is None:
        raise MissingExtraError("drawing plots", "train")
    from matplotlib import rc_context

    return rc_context(_STYLE)
