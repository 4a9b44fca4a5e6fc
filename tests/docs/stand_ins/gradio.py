"""Stands in for Gradio, whose pins exclude ours: an app that is launched is used once.

It takes what the app of the documentation gives it and no more, so another use is an error.
"""

from collections.abc import Callable, Sequence
from typing import Any


class Error(Exception):
    pass


class _Component:
    def __init__(self, *, label: str, type: str | None = None) -> None:  # noqa: A002
        self.label = label


File = Label = Image = Textbox = _Component


class Interface:
    def __init__(
        self, fn: Callable[..., Sequence[Any]], inputs: _Component, outputs: list[_Component],
        *, title: str, flagging_mode: str,
    ) -> None:  # fmt: skip
        self._fn, self._outputs = fn, outputs

    def launch(self) -> None:
        given = self._fn("scan.png")
        assert len(given) == len(self._outputs)
        shares, overlay, told = given
        assert abs(sum(shares.values()) - 1) < 1e-6
        assert overlay.shape == (256, 256, 3)
        assert "not for clinical use" in told
        refused = ""
        try:
            self._fn("no-such-scan.png")
        except Error as error:
            refused = str(error)
        assert "no-such-scan.png" in refused
