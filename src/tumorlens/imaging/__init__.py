"""Pixels: reading them, preparing them, judging them, drawing them.

The names below load when first used, because pydicom and nibabel are slow to import and most
callers need neither. `decode`, `preprocess` and `fingerprint` are not among them: each is a
function in a module of the same name (`from tumorlens.imaging.decode import decode`), and one
name cannot mean both; the first two are also public as `tumorlens.decode` and
`tumorlens.preprocess`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tumorlens.imaging.decode import to_grey
    from tumorlens.imaging.fingerprint import Fingerprint
    from tumorlens.imaging.image import Image, Limits
    from tumorlens.imaging.phantom import Phantom, draw_phantom
    from tumorlens.imaging.preprocess import Frame, Prepared, PreprocessSpec, prepare
    from tumorlens.imaging.quality import Quality, assess
    from tumorlens.imaging.volume import Volume, head_extent, load_volume, take_slice

_HOMES = {
    "Fingerprint": "fingerprint",
    "Frame": "preprocess",
    "Image": "image",
    "Limits": "image",
    "Phantom": "phantom",
    "Prepared": "preprocess",
    "PreprocessSpec": "preprocess",
    "Quality": "quality",
    "Volume": "volume",
    "assess": "quality",
    "draw_phantom": "phantom",
    "head_extent": "volume",
    "load_volume": "volume",
    "prepare": "preprocess",
    "take_slice": "volume",
    "to_grey": "decode",
}

__all__ = [
    "Fingerprint",
    "Frame",
    "Image",
    "Limits",
    "Phantom",
    "Prepared",
    "PreprocessSpec",
    "Quality",
    "Volume",
    "assess",
    "draw_phantom",
    "head_extent",
    "load_volume",
    "prepare",
    "take_slice",
    "to_grey",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tumorlens.imaging' has no attribute {name!r}")
    return getattr(import_module(f"tumorlens.imaging.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
