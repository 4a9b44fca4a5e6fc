"""Images that are not brain MRI, for testing OOD detectors that were not fitted on them.

Sample images installed with scikit-image, scikit-learn, matplotlib and pydicom, whole and as random
crops, in colour and grey; and synthetic images, generated independently of
`tumorlens.ood.negatives`.
"""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from tumorlens.errors import InputError
from tumorlens.imaging.anatomy import paint_head
from tumorlens.imaging.decode import decode

Pixels = NDArray[Any]

PHOTOS = {
    "skimage": "astronaut brick camera cell chelsea clock_motion coffee coins color grass gravel "
    "hubble_deep_field ihc microaneurysms moon motorcycle_left motorcycle_right retina rocket",
    "sklearn": "china flower",
    "matplotlib": "grace_hopper",
}
DRAWINGS = {
    "skimage": "chessboard_GRAY horse logo page phantom text",
    "matplotlib": "Minduka_Present_Blue_Pack logo2",
}
FOLDERS = {
    "skimage": ("skimage", "data"),
    "sklearn": ("sklearn", "datasets", "images"),
    "matplotlib": ("matplotlib", "mpl-data", "sample_data"),
}
# pydicom's test files by content; MR_small is a 64-pixel image of another part of the body.
DICOM = {
    "CT": ("CT_small", "693_J2KI", "J2K_pixelrep_mismatch"),
    "other DICOM": ("JPEG2000", "examples_jpeg2k", "examples_rgb_color", "examples_palette",
                    "examples_overlay", "MR_small"),
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One image with its kind, source and pixels."""

    kind: str
    name: str
    pixels: Pixels


def installed(crops: int, seed: int) -> Iterator[Sample]:
    """Yield every installed sample image: whole, in grey, and ``crops`` random squares of it."""
    g = np.random.default_rng(seed)
    for kind, table in (("photo", PHOTOS), ("drawing", DRAWINGS)):
        for package, names in table.items():
            for name in names.split():
                yield from _views(kind, name, _load(package, name), crops, g)
    faces = np.load(_folder("skimage") / "lfw_subset.npy")[:100:4]
    for index, face in enumerate(faces):
        large = cv2.resize(face.astype(np.float32), (150, 150), interpolation=cv2.INTER_CUBIC)
        yield Sample("photo", f"face {index}", np.rint(large.clip(0, 1) * 255).astype(np.uint8))
    for kind, names_of in DICOM.items():
        for name in names_of:
            yield from _dicom(kind, name)


def brain_mri() -> Iterator[Sample]:
    """Yield the one brain MRI slice that these packages install: matplotlib's."""
    with gzip.open(_folder("matplotlib") / "s1045.ima.gz") as stream:
        pixels = np.frombuffer(stream.read(), np.uint16).reshape(256, 256)
    yield Sample("brain MRI", "s1045", pixels.astype(np.uint16))


def synthetic(count: int, seed: int) -> Iterator[Sample]:
    """Yield ``count`` images of each synthetic kind."""
    for number, (kind, draw) in enumerate(SYNTHETIC.items()):
        for index in range(count):
            g = np.random.default_rng([seed, number, index])
            image = np.clip(draw(g), 0, 1)
            yield Sample(kind, f"{kind} {index}", np.rint(image * 255).astype(np.uint8))


def _folder(package: str) -> Path:
    first, *rest = FOLDERS[package]
    return Path(str(resources.files(first))).joinpath(*rest)


def _load(package: str, name: str) -> Pixels:
    path = next(p for p in _folder(package).glob(f"{name}.*") if p.suffix in (".png", ".jpg"))
    with PillowImage.open(path) as image:
        return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _views(kind: str, name: str, pixels: Pixels, crops: int, g: Generator) -> Iterator[Sample]:
    if pixels.ndim == 3:
        yield Sample(f"{kind}, colour", name, pixels)
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    yield Sample(f"{kind}, grey", name, pixels)
    shorter = min(pixels.shape)
    for index in range(crops if shorter > 100 else 0):
        side = max(64, int(g.uniform(0.3, 0.9) * shorter))
        top, left = (int(g.integers(0, length - side + 1)) for length in pixels.shape)
        part = pixels[top : top + side, left : left + side]
        yield Sample(f"{kind}, crop", f"{name} {index}", part)


def _dicom(kind: str, name: str) -> Iterator[Sample]:
    path = Path(str(resources.files("pydicom"))) / "data" / "test_files" / f"{name}.dcm"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # several are intentionally broken
            yield Sample(kind, name, decode(path).pixels)
    except InputError:  # a transfer syntax that needs a plug-in
        return


def _noise(g: Generator) -> Pixels:
    side = int(g.integers(64, 300))
    fields = (
        g.normal(0.5, 0.2, (side, side)),
        g.poisson(2, (side, side)) / 8,
        g.gamma(1, 0.2, (side, side)),
        np.abs(g.standard_cauchy((side, side))) / 10,
    )
    blur = float(g.choice([0, 0, 1, 3, 8]))
    field = fields[int(g.integers(len(fields)))]
    if blur:
        field = cv2.GaussianBlur(field, (0, 0), blur)
        field = (field - field.min()) / np.ptp(field)
    return field


def _blank(g: Generator) -> Pixels:
    return np.full((int(g.integers(50, 300)), int(g.integers(50, 300))), g.random())


def _gradient(g: Generator) -> Pixels:
    y, x = np.mgrid[0:1:200j, 0:1:200j]
    a, b, c, d = g.uniform(-2, 2, 4)
    field = a * x + b * y + c * x * y + d * (x - 0.5) ** 2
    return (field - field.min()) / np.ptp(field)


def _text(g: Generator) -> Pixels:
    ground, ink = (255, 0) if g.random() < 0.6 else (0, 255)
    page = PillowImage.new("L", (int(g.integers(200, 500)), int(g.integers(200, 500))), ground)
    pen, size = ImageDraw.Draw(page), int(g.integers(10, 36))
    letters = list("abcdefghijklmnopqrstuvwxyz      ,.ABCDEFG0123456789")
    for row in range(8, page.height, size + 4):
        words = "".join(g.choice(letters, int(g.integers(4, 60))))
        pen.text((int(g.integers(4, 40)), row), words, ink, ImageFont.load_default(size))
    return np.asarray(page, dtype=np.float64) / 255


def _chart(g: Generator) -> Pixels:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    dark = g.random() < 0.5
    figure = Figure(figsize=(3, 3), dpi=80, facecolor="black" if dark else "white")
    axes = figure.add_subplot(facecolor="black" if dark else "white")
    axes.tick_params(colors="white" if dark else "black")
    values, kind = g.normal(0, 1, 30).cumsum(), int(g.integers(4))
    ink = str(g.uniform(0.3, 0.9))
    if kind == 0:
        axes.plot(values, color=ink)
    elif kind == 1:
        axes.bar(range(8), np.abs(values[:8]), color=ink)
    elif kind == 2:
        axes.scatter(values, g.normal(0, 1, 30), color=ink)
    else:
        axes.imshow(g.random((6, 6)), cmap="gray")
    FigureCanvasAgg(figure).print_png(stream := io.BytesIO())
    return np.asarray(PillowImage.open(stream).convert("L"), dtype=np.float64) / 255


def _head_ct(g: Generator) -> Pixels:
    """Paint CT numbers on the phantom's head: bone 1, brain nearly even, scalp thin, air 0."""
    head = paint_head(g, 256, "axial")
    depth, folds = head.depth, head.intensity
    brain = 0.42 + 0.05 * (folds - 0.5) + 0.02 * g.standard_normal(folds.shape)
    edge = g.uniform(-0.12, -0.08)
    image = np.where(depth > 0, brain, 0.0)
    image = np.where((depth <= 0) & (depth > edge), 1.0, image)
    image = np.where((depth <= edge) & (depth > edge - g.uniform(0.01, 0.04)), 0.3, image)
    return cv2.GaussianBlur(image, (0, 0), float(g.uniform(0.6, 1.5)))


def _xray(g: Generator) -> Pixels:
    """Render an X-ray as exp(-thickness) of ellipsoids, in frontal projection."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]

    def thickness(cx: float, cy: float, a: float, b: float, c: float) -> NDArray[np.float64]:
        return 2 * c * np.sqrt(np.clip(1 - ((x - cx) / a) ** 2 - ((y - cy) / b) ** 2, 0, None))

    mass = thickness(0, 0.2, g.uniform(0.75, 1), 1.2, 0.6) + thickness(0, -1, 0.3, 0.5, 0.3)
    for sign in (-1, 1):
        mass -= 0.9 * thickness(sign * 0.4, 0, 0.28, g.uniform(0.5, 0.7), 0.4)
        mass += thickness(sign * 0.75, -0.6, 0.35, 0.25, 0.3)
        for rib in np.linspace(-0.6, 0.6, int(g.integers(7, 11))):
            bow = np.abs(y - rib - 0.35 * (np.abs(x) - 0.4) ** 2 + 0.15 * np.abs(x)) < 0.025
            mass += 0.12 * (bow & (sign * x > 0.05) & (np.abs(x) < 0.7))
    mass += thickness(0.12, 0.3, 0.25, 0.3, 0.3) + 0.6 * (np.abs(x) < 0.06)
    film = 1 - np.exp(-mass * g.uniform(0.6, 1.4))
    return cv2.GaussianBlur(film, (0, 0), 1.5) + 0.02 * g.standard_normal(film.shape)


SYNTHETIC: dict[str, Callable[[Generator], Pixels]] = {
    "noise": _noise,
    "blank": _blank,
    "gradient": _gradient,
    "text": _text,
    "chart": _chart,
    "synthetic head CT": _head_ct,
    "synthetic X-ray": _xray,
}
