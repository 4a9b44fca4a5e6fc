"""Every block of README and docs runs as it stands, or says why it is not run."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import cv2
import nibabel
import pyarrow
import pytest
from pyarrow import parquet

from tests.data.drawn_sets import draw_set
from tests.docs.snippets import ELSEWHERE, ROOT, Block, blocks, copied, run
from tests.imaging.dicoms import dicom
from tests.models_for_tests import write_tiny_model
from tests.serving.live import LiveServer
from tests.volumes.dicom_series import Scan, write_slices
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.metrics.decision import Threshold
from tumorlens.volumes.phantom import draw_phantom_volume

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SPACING = (4.0, 4.0, 12.0)  # mm
STUDY = {
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.2",
    "PatientID": "drawn",
}
SHOWN = {page: found for page in PAGES if (found := list(blocks(page)))}
RUN = {page: [b for b in found if b.reason is None] for page, found in SHOWN.items()}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that pages speak of, all drawn."""
    here = tmp_path_factory.mktemp("sandbox")
    threshold = Threshold(value=0.5, target=0.9, origin="drawn", n=60)
    write_tiny_model(here / "model.onnx", threshold=threshold, prior=0.5)
    draw_set(here / "scans", 36, 36)
    for name, seed in (("scan.png", 7), ("a.png", 8)):
        assert cv2.imwrite(str(here / name), draw_phantom(seed, lesion=True).image)
    slice_ = dicom(draw_phantom(8, lesion=False).image)
    (here / "more").mkdir()
    for name in ("b.dcm", "more/slice.dcm"):
        (here / name).write_bytes(slice_)
    head = draw_phantom_volume(2, lesion=True, spacing_mm=SPACING).volume
    nibabel.save(nibabel.Nifti1Image(head.data, head.affine), here / "scan.nii.gz")
    write_slices(here / "study", Scan(head.data, SPACING), **STUDY)
    for name in ("more.zip", "study.zip", "study1.zip"):
        with ZipFile(here / name, "w") as archive:
            for each in sorted((here / "study").iterdir()):
                archive.write(each, each.name)
    shutil.make_archive(str(here / "study2"), "gztar", here / "study")
    scans = sorted((here / "scans").rglob("*.png"))[:4]
    columns = {
        "scan": [each.stem for each in scans],
        "image": [each.read_bytes() for each in scans],
    }
    parquet.write_table(pyarrow.table(columns), here / "scans.parquet")
    (here / "paths.txt").write_text("scan.png\na.png\n", "utf-8")
    (here / "secret.key").write_bytes(bytes(range(32)))
    return here


@pytest.fixture(scope="module")
def server(tiny_model_path: Path) -> Iterator[str]:
    with LiveServer(tiny_model_path) as live:
        yield live.url


@pytest.mark.slow
@pytest.mark.system("curl")
@pytest.mark.parametrize(
    "page",
    [page for page, found in RUN.items() if found],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_blocks_of_a_page_run_in_their_order(
    page: Path, sandbox: Path, server: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="pages train too: the extra 'train'")
    here = copied(sandbox, tmp_path)
    if page.name == "deidentify.md":  # of DICOM files alone
        shutil.rmtree(here / "scans")
        shutil.copytree(here / "study", here / "scans")
    for block in RUN[page]:
        run(block, here, server)


def test_what_is_not_run_says_why_in_a_sentence() -> None:
    left_out = [block for found in SHOWN.values() for block in found if block.reason is not None]
    assert left_out
    for block in left_out:
        assert len(block.reason or "") >= 15, f"{block}: {block.reason}"
    assert len(left_out) < len([block for found in RUN.values() for block in found])


def test_every_reason_stands_above_a_block() -> None:
    for page in PAGES:
        comments = page.read_text("utf-8").count("<!-- not run:")
        marked = [block for block in SHOWN.get(page, []) if block.reason is not None]
        assert page.parent == ROOT or comments == len(marked), page
    started = [block.code for block in SHOWN[ROOT / "README.md"] + SHOWN[ROOT / "CONTRIBUTING.md"]]
    for words in ELSEWHERE:
        assert any(code.startswith(words) for code in started), words


def test_the_extras_that_pages_install_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    for page in PAGES:
        for named in re.findall(
            r"pip install '(?:tumorlens|\.)\[([\w,]+)\]'", page.read_text("utf-8")
        ):
            assert set(named.split(",")) <= extras, f"{page.relative_to(ROOT)}: {named}"


def block(language: str, code: str) -> Block:
    return Block(ROOT / "docs" / "cli.md", 1, language, code, None)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("sh", "false\ntrue"),
        ("sh", "tumorlens no-such-verb"),
        ("sh", "tumorlens serve --no-such-option\ntrue"),
        ("sh", "echo $no_such_variable"),
        ("sh", "false | cat"),
        ("sh", "curl http://127.0.0.1:9/predict"),
        ("python", "from tumorlens import no_such_name"),
        ("python", "raise SystemExit(3)"),
    ],
)
def test_a_block_that_fails_is_found(language: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"docs/cli\.md:1 ends with [1-9]"):
        run(block(language, code), tmp_path, "http://127.0.0.1:9")


def test_what_a_block_leaves_running_is_ended(tmp_path: Path) -> None:
    # The pipe's other end closes with the process that holds it, however it ends.
    os.mkfifo(tmp_path / "alive")
    reading = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    run(block("sh", "sleep 600 >alive &"), tmp_path, "http://127.0.0.1:9")
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b""
    os.close(reading)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```sh\nx\n```\n", None),
        ("<!-- not run: needs a GPU -->\n```sh\nx\n```\n", "needs a GPU"),
        ("<!-- not run: needs a GPU -->\n\n```sh\nx\n```\n", "needs a GPU"),
        ("<!-- not run: needs a GPU -->\n\nBetween.\n\n```sh\nx\n```\n", None),
        ("- item\n\n  <!-- not run: needs a GPU -->\n  ```sh\n  x\n  ```\n", "needs a GPU"),
    ],
)
def test_a_reason_belongs_to_the_block_below_it(
    text: str, reason: str | None, tmp_path: Path
) -> None:
    (tmp_path / "page.md").write_text(text, "utf-8")
    assert [(each.code, each.reason) for each in blocks(tmp_path / "page.md")] == [("x\n", reason)]
