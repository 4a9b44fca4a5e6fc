"""Lesion pictures from boxes and outlines, and the store of decoded inputs."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.drawn_sets import draw_set
from tumorlens.data import pixels as room
from tumorlens.data.manifest import Record
from tumorlens.data.pixels import IGNORE, LESION, lesion_mask, load_inputs, read_pixels
from tumorlens.data.sources import load_source
from tumorlens.errors import DecodeError, OutputError, UnreadableFileError
from tumorlens.imaging.preprocess import Frame, PreprocessSpec, prepare, preprocess

SPEC = PreprocessSpec(size=32)
WHOLE = Frame(height=100, width=100, x0=0, y0=0, w=100, h=100, size=16)
HEAD = Frame(height=100, width=200, x0=50, y0=0, w=100, h=100, size=16)
SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def record(**fields: Any) -> Record:
    return Record("s:a.png", Path("a.png"), "s", **({"label": 1} | fields))


def drawn(picture: Any) -> list[str]:
    """The picture as text: # lesion, + ignored, . none."""
    marks = {LESION: "#", IGNORE: "+", 0: "."}
    return ["".join(marks[int(value)] for value in row) for row in picture]


def test_an_outline_is_filled_and_its_margin_ignored() -> None:
    picture = lesion_mask(record(polygons=(SQUARE,)), replace(WHOLE, size=8))
    assert picture.dtype == np.uint8
    assert drawn(picture) == [
        "........",
        "........",
        "..####..",
        "..####..",
        "..####..",
        "..####..",
        "........",
        "........",
    ]
    # A margin of 1 % of the side is a pixel of a hundred.
    fine = lesion_mask(record(polygons=(SQUARE,)), replace(WHOLE, size=100))
    assert fine[50, 22:28].tolist() == [0, 0, IGNORE, LESION, LESION, LESION]


def test_a_box_is_its_ellipse_with_ignored_corners() -> None:
    picture = lesion_mask(record(boxes=((0.25, 0.25, 0.75, 0.75),)), WHOLE)
    assert picture[8, 8] == picture[8, 5] == picture[5, 8] == LESION
    assert picture[4, 4] == picture[4, 11] == picture[11, 4] == picture[11, 11] == IGNORE
    assert picture[1, 1] == picture[8, 14] == picture[14, 8] == 0
    # An ellipse fills pi / 4 of its box.
    assert (picture == LESION).sum() / 64 == pytest.approx(np.pi / 4, abs=0.12)


def test_an_outline_takes_precedence_over_a_box() -> None:
    both = record(polygons=(SQUARE,), boxes=((0.0, 0.0, 1.0, 1.0),))
    assert np.array_equal(lesion_mask(both, WHOLE), lesion_mask(record(polygons=(SQUARE,)), WHOLE))


def test_several_lesions_are_drawn() -> None:
    picture = lesion_mask(record(boxes=((0.0, 0.0, 0.3, 0.3), (0.6, 0.6, 1.0, 1.0))), WHOLE)
    assert picture[2, 2] == picture[12, 12] == LESION
    assert picture[2, 12] == picture[12, 2] == 0


@pytest.mark.parametrize("kind", ["boxes", "polygons"])
def test_lesions_move_with_the_frame(kind: str) -> None:
    # x 0.25..0.5 of an image 200 wide is x 50..100, the left half of a frame at 50..150.
    corners = ((0.25, 0.0), (0.5, 0.0), (0.5, 1.0), (0.25, 1.0))
    shapes = {"boxes": ((0.25, 0.0, 0.5, 1.0),), "polygons": (corners,)}[kind]
    picture = lesion_mask(record(**{kind: shapes}), HEAD)
    assert (picture[8, 1:7] == LESION).all()
    assert (picture[8, 9:] == 0).all()
    beside = {"boxes": ((0.8, 0.1, 1.0, 0.9),), "polygons": (((0.8, 0), (1, 0), (1, 1)),)}[kind]
    assert not lesion_mask(record(**{kind: beside}), HEAD).any()


def test_without_annotation_there_is_no_lesion() -> None:
    assert not lesion_mask(record(), WHOLE).any()


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return load_source(draw_set(tmp_path / "set", tumours=2, healthy=2))


def test_inputs_equal_preprocess(records: list[Record]) -> None:
    box = (0.4, 0.4, 0.6, 0.6)
    records = [replace(records[0], boxes=(box,)), *records[1:]]
    seen: list[tuple[int, int]] = []
    inputs, lesions = load_inputs(records, SPEC, progress=lambda *at: seen.append(at))
    for at, each in enumerate(records):
        assert np.array_equal(inputs[at], preprocess(read_pixels(each), SPEC))
    frame = prepare(read_pixels(records[0]), SPEC).frame
    assert np.array_equal(lesions[0], lesion_mask(records[0], frame))
    assert (lesions[0] == LESION).any()
    assert not lesions[1:].any()
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_second_load_comes_from_the_cache(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_inputs(records, SPEC, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(room, "decode", None)  # a call would fail
    second = load_inputs(records, SPEC, cache_dir=tmp_path / "cache")
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize(
    "change",
    [
        lambda each: (replace(each, sha256="0" * 64), SPEC),
        lambda each: (replace(each, boxes=((0.1, 0.1, 0.9, 0.9),)), SPEC),
        lambda each: (replace(each, polygons=(SQUARE,)), SPEC),
        lambda each: (each, replace(SPEC, margin=0.2)),
    ],
    ids=["file", "boxes", "outlines", "plan"],
)
def test_other_records_or_settings_do_not_use_the_cache(
    change: Any, records: list[Record], tmp_path: Path
) -> None:
    load_inputs(records, SPEC, cache_dir=tmp_path / "cache")
    other, spec = change(records[0])
    changed = [other, *records[1:]]
    kept = load_inputs(changed, spec, cache_dir=tmp_path / "cache")
    fresh = load_inputs(changed, spec)
    assert len(list((tmp_path / "cache").iterdir())) == 4
    assert all(np.array_equal(one, two) for one, two in zip(kept, fresh, strict=True))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"not an array"),
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        lambda file: np.save(file, np.zeros((4, 1, 8, 8), np.float32)),
        lambda file: np.save(file, np.zeros((4, 1, 32, 32), np.float64)),
    ],
    ids=["empty", "text", "cut off", "other shape", "other type"],
)
@pytest.mark.parametrize("part", ["inputs", "lesions"])
def test_a_damaged_file_is_made_anew(
    damage: Any, part: str, records: list[Record], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = [np.array(array) for array in load_inputs(records, SPEC, cache_dir=cache)]
    (file,) = cache.glob(f"*.{part}.npy")
    damage(file)
    for _ in range(2):
        again = load_inputs(records, SPEC, cache_dir=cache)
        assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))


def test_an_invalid_cache_folder_is_reported(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file/cache.*cache_dir=null"):
        load_inputs(records, SPEC, cache_dir=tmp_path / "file" / "cache")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_failed_write_leaves_no_files(
    number: int, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stream: Any, array: Any) -> None:
        stream.write(b"half")
        raise OSError(number, "no")

    monkeypatch.setattr(room.np, "save", fail)
    with pytest.raises(OutputError, match=r"cannot be written.*cache_dir=null"):
        load_inputs(records, SPEC, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unreadable_file_is_reported(records: list[Record], tmp_path: Path) -> None:
    records[0].path.write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    with pytest.raises(DecodeError, match=records[0].path.name):
        load_inputs(records, SPEC, cache_dir=tmp_path / "cache")
    records[0].path.unlink()
    with pytest.raises(UnreadableFileError, match=records[0].path.name):
        load_inputs(records, SPEC)
