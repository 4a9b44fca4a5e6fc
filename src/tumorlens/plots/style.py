"""How every plot looks, in one place; and how a figure becomes bytes.

Colours are those of Okabe & Ito (Color Universal Design, 2008), which stay apart for the colour
blind; right and wrong, which matter most, differ in words and line width too.
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
    "svg.fonttype": "path",  # no font is needed where the image is shown
    "svg.hashsalt": "tumorlens",  # the same figure gives the same bytes
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under the house style; raises `MissingExtraError` without matplotlib and seaborn."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _house_style():
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, ``width`` × ``height`` inches, that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def unit_axes(axes: Axes, *, grid: bool = True) -> None:
    """Show 0..1 on both axes, square, with a grid."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    if grid:
        axes.grid(True)


def encode(figure: Figure, kind: Literal["svg", "png"] = "svg") -> bytes:
    """Return the figure as SVG (lines, text) or PNG at 110 dpi (photographs)."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with _house_style():
        figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
    return buffer.getvalue()


def _house_style() -> Any:
    if find_spec("matplotlib") is None or find_spec("seaborn") is None:
        raise MissingExtraError("drawing plots", "train")
    from matplotlib import rc_context

    return rc_context(_STYLE)
