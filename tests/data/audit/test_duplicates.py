from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.drawn_sets import draw_head, save
from tumorlens.data.audit import duplicates
from tumorlens.data.audit.duplicates import NearDuplicate, duplicate_groups, find_near_duplicates
from tumorlens.data.audit.image_summary import ImageSummary, Unreadable, summarize, summarize_all
from tumorlens.data.manifest import Record
from tumorlens.data.near_duplicates import search
from tumorlens.data.near_duplicates.contrast import local_contrast
from tumorlens.data.sources import load_source
from tumorlens.imaging.decode import decode
from tumorlens.imaging.image import to_grey

Grey = NDArray[np.uint8]


def jpeg(picture: Grey, quality: int) -> Grey:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def resized(picture: Grey, factor: float) -> Grey:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=how), np.uint8)


def cropped(picture: Grey, share: float) -> Grey:
    """Cut ``share`` of height and width off each side."""
    height, width = picture.shape
    top, left = round(share * height), round(share * width)
    return picture[top : height - top, left : width - left]


def brightened(picture: Grey, factor: float) -> Grey:
    return np.clip(picture * factor, 0, 255).astype(np.uint8)


ALTERED: dict[str, Callable[[Grey], Grey]] = {
    "flip left-right": lambda p: p[:, ::-1],
    "flip up-down": lambda p: p[::-1],
    "rotate 90°": lambda p: np.rot90(p),
    "rotate 270°": lambda p: np.rot90(p, 3),
    "resize 0.5": lambda p: resized(p, 0.5),
    "resize 0.75": lambda p: resized(p, 0.75),
    "resize 2": lambda p: resized(p, 2.0),
    "JPEG 40": lambda p: jpeg(p, 40),
    "JPEG 70": lambda p: jpeg(p, 70),
    "JPEG 95": lambda p: jpeg(p, 95),
    "crop 5 % (2.5 % a side)": lambda p: cropped(p, 0.025),
    "crop 10 % (5 % a side)": lambda p: cropped(p, 0.05),
    "crop 5 % of one side": lambda p: p[round(0.05 * p.shape[0]) :],
    "brightness +20 %": lambda p: brightened(p, 1.2),
    "brightness -20 %": lambda p: brightened(p, 0.8),
    "all at once": lambda p: jpeg(
        brightened(np.rot90(cropped(resized(p, 0.75), 0.02))[:, ::-1].copy(), 1.1), 70
    ),
}


def summary(path: Path, picture: Grey, name: str) -> ImageSummary:
    """ImageSummary at a picture by way of a PNG file."""
    file = path / f"{name}.png"
    save(file, np.ascontiguousarray(picture))
    seen = summarize(Record(f"s:{name}", file, "s"))
    assert isinstance(seen, ImageSummary)
    return seen


def head(seed: int) -> Grey:
    return draw_head(seed, lesion=seed % 2 == 0)


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED.keys())
def test_an_altered_version_is_found_among_others(
    tmp_path: Path, alter: Callable[[Grey], Grey]
) -> None:
    images = [summary(tmp_path, head(seed), f"{seed}") for seed in range(6)]
    images.append(summary(tmp_path, alter(head(3)), "copy"))
    found = find_near_duplicates(images)
    assert [(pair.first, pair.second) for pair in found] == [(3, 6)]
    assert found[0].agreement > 0.8


def test_equal_files_are_exact_and_others_are_not(tmp_path: Path) -> None:
    images = [
        summary(tmp_path, head(1), "one"),
        summary(tmp_path, head(1), "two"),
        summary(tmp_path, brightened(head(1), 0.9), "dark"),
    ]
    found = find_near_duplicates(images)
    assert found[0] == NearDuplicate(0, 1, exact=True, distance=0, agreement=1.0)
    assert [(pair.first, pair.second, pair.exact) for pair in found[1:]] == [
        (0, 2, False),
        (1, 2, False),
    ]
    assert duplicate_groups(3, found).tolist() == [0, 0, 0]


def test_of_many_copies_the_first_stands_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MOST_COPIES", 2)
    images = [summary(tmp_path, head(1), f"{copy}") for copy in range(4)]
    images += [summary(tmp_path, head(2), "other"), summary(tmp_path, head(2), "again")]
    images.append(summary(tmp_path, brightened(head(1), 0.9), "dark"))
    pairs = [(pair.first, pair.second, pair.exact) for pair in find_near_duplicates(images)]
    assert pairs == [(0, 1, True), (0, 2, True), (0, 3, True), (0, 6, False), (4, 5, True)]


def test_other_scans_are_not_near_duplicates(tmp_path: Path) -> None:
    images = [summary(tmp_path, head(seed), f"{seed}") for seed in range(30)]
    assert find_near_duplicates(images) == []
    assert find_near_duplicates([]) == []


def test_the_windowed_search_finds_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [summary(tmp_path, head(seed), f"{seed}") for seed in range(10)]
    images.append(summary(tmp_path, np.rot90(head(7)), "copy"))
    exact = find_near_duplicates(images)
    monkeypatch.setattr(search, "EXACT_UP_TO", 5)
    assert find_near_duplicates(images) == exact


def test_local_contrast_is_invariant_to_brightness_and_gain() -> None:
    sample = cv2.resize(head(0), (64, 64), interpolation=cv2.INTER_AREA)
    plain, changed = local_contrast(sample), local_contrast(brightened(sample, 0.6) + 40)
    assert float(np.linalg.norm(plain)) == pytest.approx(1)
    assert float((plain * changed).sum()) > 0.97
    assert not np.isnan(local_contrast(np.zeros((64, 64), np.uint8))).any()


@pytest.mark.parametrize(
    ("name", "picture", "remark"),
    [
        ("tiny.png", head(0)[::5, ::5], "only 36 × 40 pixels"),
        ("long.png", np.tile(head(0), (1, 3)), "one side is more than twice the other"),
        ("colour.png", np.dstack([head(0), head(0)[::-1], head(0)[:, ::-1]]), "in colour"),
        ("flat.png", np.full((128, 128), 9, np.uint8), "not a usable head slice: blank"),
    ],
)
def test_odd_files_get_remarks(tmp_path: Path, name: str, picture: Grey, remark: str) -> None:
    save(tmp_path / name, picture)
    seen = summarize(Record("s:x", tmp_path / name, "s"))
    assert isinstance(seen, ImageSummary)
    assert any(remark in found for found in seen.remarks)


def test_a_wrong_suffix_gets_a_remark(tmp_path: Path) -> None:
    save(tmp_path / "a.png", head(0))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    seen = summarize(Record("s:x", tmp_path / "a.jpg", "s"))
    assert isinstance(seen, ImageSummary)
    assert seen.remarks == ("named .jpg, but is a png file",)


def test_an_unreadable_file_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    save(tmp_path / "b.png", head(0))
    records = [Record(f"s:{n}", tmp_path / n, "s") for n in ("a.png", "b.png", "c.png")]
    first, second, third = summarize_all(records)
    assert isinstance(first, Unreadable)
    assert "a.png: not a" in first.reason
    assert isinstance(second, ImageSummary)
    assert second.remarks == ()
    assert isinstance(third, Unreadable)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED.keys())
def test_recall_on_altered_versions_of_real_scans(
    data_root: Path, tmp_path: Path, alter: Callable[[Grey], Grey]
) -> None:
    """At least 95 % of altered copies are found, from 40 scans of all sources."""
    records = load_source(data_root)
    chosen = [records[i] for i in np.random.default_rng(0).choice(len(records), 40, replace=False)]
    found = 0
    for record in chosen:
        original = summarize(record)
        grey = to_grey(np.asarray(decode(record.path).pixels, np.uint8))
        copy = summary(tmp_path, alter(grey), "copy")
        assert isinstance(original, ImageSummary)
        found += len(find_near_duplicates([original, copy]))
    assert found >= 38
