"""Stands in for Streamlit, whose pins exclude ours: a page on which one scan is uploaded."""

import atexit
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

_shown: list[str] = []


def cache_resource(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def file_uploader(label: str) -> BytesIO:
    return BytesIO(Path("scan.png").read_bytes())


def title(text: str) -> None:
    _shown.append(text)


def metric(label: str, value: str, delta: str, *, delta_color: str) -> None:
    _shown.append(f"{label} {value} {delta}")


def image(pixels: Any, *, caption: str) -> None:
    assert pixels.shape == (256, 256, 3)
    _shown.append(caption)


def warning(text: str) -> None:
    _shown.append(text)


caption = title


def error(text: str) -> NoReturn:
    raise AssertionError(text)


def stop() -> NoReturn:
    raise AssertionError("the page stopped")


atexit.register(lambda: print(*_shown, sep="\n"))  # noqa: T201
