from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.drawn_sets import draw_set, save, write_manifest
from tumorlens.cli.app import run
from tumorlens.data.audit import shortcuts as shortcuts_module
from tumorlens.data.audit.audit import Audit, audit
from tumorlens.data.audit.html_report import html_report
from tumorlens.data.audit.image_summary import ImageSummary, summarize
from tumorlens.data.audit.shortcuts import find_shortcuts
from tumorlens.data.manifest import Record
from tumorlens.data.sources import load_source
from tumorlens.errors import MissingExtraError, SourceNotFoundError
from tumorlens.imaging.phantom import draw_phantom

pytest.importorskip("sklearn")


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """A set with a duplicate file, a rotated one with the other label, a broken and a stray one."""
    root = draw_set(tmp_path / "troubled", 4, 4)
    (root / "yes" / "again.png").write_bytes((root / "yes" / "00.png").read_bytes())
    picture = cv2.imread(str(root / "yes" / "01.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    save(root / "no" / "turned.png", np.rot90(picture))
    (root / "no" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (root / "notes.txt").write_text("taken in spring")
    return root


def kinds(found: Audit) -> dict[str, tuple[str, int]]:
    return {f.kind: (f.severity, f.count) for f in found.findings}


def test_each_problem_is_reported_once_and_errors_first(troubled: Path) -> None:
    found = audit(troubled, shortcuts=False)
    assert kinds(found) == {
        "unreadable": ("error", 1),
        "label-conflict": ("error", 1),
        "odd-file": ("warning", 1),
        "exact-duplicates": ("warning", 1),
        "near-duplicates": ("warning", 1),
    }
    assert [f.severity for f in found.findings] == ["error"] * 2 + ["warning"] * 3
    items = {f.kind: f.items[0] for f in found.findings}
    assert items["exact-duplicates"].startswith("troubled:yes/00.png = troubled:yes/again.png")
    assert items["label-conflict"].startswith("troubled:no/turned.png = troubled:yes/01.png")
    assert items["unreadable"].startswith("troubled:no/broken.jpg: ")
    assert items["odd-file"] == "notes.txt: not read as an image"
    assert found.sources()["troubled"]["groups"] == 8
    assert found.failed


def test_a_clean_set_passes(tmp_path: Path) -> None:
    found = audit(draw_set(tmp_path / "clean", 5, 5), shortcuts=False)
    assert found.findings == ()
    assert not found.failed


def test_overlap_with_another_set_is_an_error(tmp_path: Path) -> None:
    train = draw_set(tmp_path / "train", 3, 3)
    test = draw_set(tmp_path / "test", 1, 2, first_seed=1)
    found = audit(test, [train], shortcuts=False)
    assert kinds(found) == {"overlap": ("error", 3)}
    assert found.overlap["test", "train"] == 3
    assert found.overlap["train", "test"] == 3
    assert found.overlap["train", "train"] == 0
    far = draw_set(tmp_path / "far", 2, 2, first_seed=60)
    assert not audit(far, [train], shortcuts=False).failed


def test_a_set_does_not_overlap_with_itself(tmp_path: Path) -> None:
    whole = draw_set(tmp_path / "whole", 2, 2)
    write_manifest(load_source(whole), whole / "manifest.csv")
    assert not audit(whole / "yes", [whole], shortcuts=False).failed


def test_nothing_to_audit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        audit(tmp_path)


def images_with(
    tmp_path: Path,
    alter: Callable[[np.ndarray, int], np.ndarray],
    suffix: tuple[str, str],  # type: ignore[type-arg]
) -> list[ImageSummary]:
    """Sixty noise pictures, a third tumours, each altered by its label and named by it."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(60):
        label = int(number % 3 == 0)
        cells = rng.integers(40, 255, (16, 16)).astype(np.uint8)
        picture = cv2.resize(cells, (120, 120), interpolation=cv2.INTER_CUBIC)
        path = tmp_path / f"{number}{suffix[label]}"
        save(path, alter(picture, label))
        seen = summarize(Record(f"s:{number}", path, "s", label=label))
        assert isinstance(seen, ImageSummary)
        images.append(seen)
    return images


def framed(picture: np.ndarray, label: int) -> np.ndarray:  # type: ignore[type-arg]
    if label:
        picture[:3] = picture[-3:] = picture[:, :3] = picture[:, -3:] = 0
    return picture


def marked(picture: np.ndarray, label: int) -> np.ndarray:  # type: ignore[type-arg]
    if label:
        picture[30:60, 30:60] = 255
    return picture


@pytest.mark.parametrize(
    ("feature", "alter", "suffix"),
    [
        ("file type", lambda p, _: p, (".jpg", ".png")),
        ("file type", lambda p, _: p, (".jpg", ".JPG")),
        ("size", lambda p, label: cv2.resize(p, (90, 90)) if label else p, (".png", ".png")),
        ("aspect", lambda p, label: p[:100] if label else p, (".png", ".png")),
        ("border", framed, (".png", ".png")),
        ("thumbnail", marked, (".png", ".png")),
    ],
)
def test_a_planted_shortcut_is_found(
    tmp_path: Path,
    feature: str,
    alter: Callable[[np.ndarray, int], np.ndarray],  # type: ignore[type-arg]
    suffix: tuple[str, str],
) -> None:
    images = images_with(tmp_path, alter, suffix)
    by_feature = {s.feature: s for s in find_shortcuts(images, np.arange(60), features=[feature])}
    assert by_feature[feature].suspicious
    assert by_feature[feature].auc.value > 0.95
    assert by_feature[feature].auc.n == 60
    assert (by_feature[feature].within, by_feature[feature].target) == ("s", "label")


def test_without_shortcuts_none_is_reported(tmp_path: Path) -> None:
    images = images_with(tmp_path, lambda p, _: p, (".png", ".png"))
    tried = find_shortcuts(images, np.arange(60))
    assert len(tried) == 5
    assert not any(shortcut.suspicious for shortcut in tried)


def test_the_view_is_a_feature_among_images_whose_view_is_known(tmp_path: Path) -> None:
    """Every tumour sagittal, every healthy head axial; of half of them the view is not known."""
    images = images_with(tmp_path, lambda p, _: p, (".png", ".png"))

    def seen_from(image: ImageSummary) -> ImageSummary:
        view = "sagittal" if image.record.label else "axial"
        return replace(image, record=replace(image.record, view=view))

    mixed = [*images[:30], *map(seen_from, images[30:])]
    (found,) = find_shortcuts(mixed, np.arange(60), features=["view"])
    assert (found.feature, found.target, found.suspicious) == ("view", "label", True)
    assert (found.auc.value, found.auc.n) == (1.0, 30)
    mixed[30] = images[30]
    assert find_shortcuts(mixed, np.arange(60), features=["view"]) == [], "nine tumours are too few"


def test_near_duplicates_cannot_be_memorised(tmp_path: Path) -> None:
    """Twenty pictures three times over: known again by their thumbnail only if a fold leaks."""
    images = images_with(tmp_path, lambda p, _: p, (".png", ".png"))[:20]
    tripled = [images[i // 3] for i in range(60)]
    few = find_shortcuts(tripled, np.repeat(np.arange(20), 3))
    assert few == [], "seven tumour groups are too few to say anything"
    forty = images_with(tmp_path, lambda p, _: p, (".png", ".png"))
    groups = np.repeat(np.arange(60), 3)
    tripled = [forty[i // 3] for i in range(180)]
    (honest,) = find_shortcuts(tripled, groups, features=["thumbnail"])
    (leaky,) = find_shortcuts(tripled, np.arange(180), features=["thumbnail"])
    assert leaky.auc.value > 0.95
    assert honest.auc.value < 0.75


def test_the_source_is_a_target_if_there_are_several(tmp_path: Path) -> None:
    one = [summarize(r) for r in load_source(draw_set(tmp_path / "one", 10, 10))]
    two = [summarize(r) for r in load_source(draw_set(tmp_path / "two", 10, 10, first_seed=30))]
    images = [seen for seen in [*one, *two] if isinstance(seen, ImageSummary)]
    targets = {
        (s.within, s.target) for s in find_shortcuts(images, np.arange(40), features=["aspect"])
    }
    assert targets == {
        ("one", "label"),
        ("two", "label"),
        ("all sources", "label"),
        ("all sources", "source: one"),
        ("all sources", "source: two"),
    }


def test_a_missing_scikit_learn_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcuts_module, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"tumorlens\[audit\]"):
        find_shortcuts([], np.array([], np.int64))
    with pytest.raises(MissingExtraError, match=r"tumorlens\[audit\]"):
        audit(tmp_path / "not even there")
    assert audit(draw_set(tmp_path / "set", 1, 1), shortcuts=False).shortcuts == ()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "img":
            assert values["alt"]
            self.sources.append(values["src"] or "")
        self.links += [v for k, v in attrs if k == "href" and v]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_html_report_is_self_contained(troubled: Path) -> None:
    (troubled / "yes" / "<b>.png").write_bytes((troubled / "yes" / "00.png").read_bytes())
    page = Page()
    page.feed(html_report(audit(troubled, shortcuts=False), "a <set>"))
    assert page.open == []
    assert page.links == []
    assert len(page.sources) == 2 * 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "Audit of a <set>" in page.words
    assert "troubled:yes/<b>.png (tumor)" in page.words
    assert "error: 1 label-conflict" in page.words


def test_the_command_prints_writes_and_exits_with_1_on_errors(
    troubled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, report = tmp_path / "a.html", tmp_path / "a.json"
    arguments = [
        "audit",
        str(troubled),
        "--html",
        str(html),
        "--json",
        str(report),
        "--no-shortcuts",
    ]
    assert run(arguments) == 1
    out = capsys.readouterr().out
    assert "error: 1 label-conflict" in out
    assert "10 images, 2 errors, 3 warnings" in out
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    content = json.loads(report.read_text())
    assert content["sources"]["troubled"]["tumor"] == 5
    assert {
        "first": "troubled:yes/00.png",
        "second": "troubled:yes/again.png",
        "exact": True,
        "distance": 0,
        "agreement": 1.0,
    } in content["pairs"]


def test_warnings_fail_only_when_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = draw_set(tmp_path / "set", 3, 3)
    assert run(["audit", str(root), "--no-shortcuts", "--strict", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    (root / "yes" / "again.png").write_bytes((root / "yes" / "00.png").read_bytes())
    assert run(["audit", str(root), "--no-shortcuts"]) == 0
    assert run(["audit", str(root), "--no-shortcuts", "--strict"]) == 1
    assert run(["audit", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.slow
def test_the_real_set_has_the_published_near_duplicates_and_shortcuts(data_root: Path) -> None:
    found = audit(data_root / "brain_tumor_dataset")
    assert kinds(found) == {
        "odd-file": ("warning", 13),
        "label-issue": ("warning", 11),
        "exact-duplicates": ("warning", 29),
        "near-duplicates": ("warning", 49),
        "shortcut": ("warning", 3),
    }
    assert found.sources()["navoneel"]["groups"] == 199
    auc = {s.feature: s.auc for s in found.shortcuts}
    assert auc["file type"].low > 0.6
    assert auc["size"].low > 0.7
    assert auc["border"].value < 0.65


def test_a_phantom_is_not_an_odd_file(tmp_path: Path) -> None:
    save(tmp_path / "p.png", draw_phantom(0, lesion=True).image)
    seen = summarize(Record("s:p", tmp_path / "p.png", "s"))
    assert isinstance(seen, ImageSummary)
    assert seen.remarks == ()


def test_files_with_label_issues_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = draw_set(tmp_path / "set", 2, 2)
    assert "label-issue" not in {finding.kind for finding in audit(root, shortcuts=False).findings}
    one = sorted(load_source(root), key=lambda record: record.key)[0]
    digest = hashlib.sha256(one.path.read_bytes()).hexdigest()
    monkeypatch.setattr(
        "tumorlens.data.audit.findings.label_issue_of",
        lambda record: "visible_lesion" if record.sha256 == digest else None,
    )
    found = {finding.kind: finding for finding in audit(root, shortcuts=False).findings}[
        "label-issue"
    ]
    assert (found.severity, found.count) == ("warning", 1)
    assert found.items == (f"{one.key}: labelled healthy, but a mass is clearly visible",)
