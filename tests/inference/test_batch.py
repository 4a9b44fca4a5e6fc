"""Folders and volumes: every input gives one result, in order, and none is lost."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import nibabel
import numpy as np
import pytest

from tests.imaging.dicoms import encode
from tests.volumes.dicom_series import Scan, multi_frame, write_slices
from tests.volumes.heads import SPACING, head
from tumorlens.errors import (
    ConfigError,
    DecodeError,
    EmptyInputError,
    ModelFileError,
    TooLargeError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.decode import Limits
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.batch import run_batch, run_explain
from tumorlens.inference.predictor import Predictor
from tumorlens.volumes.folders import iter_inputs


@pytest.fixture(scope="module")
def predictor(tiny_model_path: Path) -> Predictor:
    return Predictor.open(tiny_model_path, threads=1)


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), draw_phantom(seed, lesion=seed % 2 == 0).image)
    return path


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a folder of four good scans among five files that cannot be read."""
    root = tmp_path / "scans"
    for seed, name in enumerate(["a.png", "sub/b.jpg", "sub/deep/c.bmp", "z.tiff"]):
        draw(root / name, seed)
    (root / "empty.png").touch()
    (root / "sub" / "text.jpg").write_text("this is text")
    (root / "cut.jpg").write_bytes((root / "sub" / "b.jpg").read_bytes()[:900])
    (root / "notes.txt").write_text("notes")
    (root / "dir.png").mkdir()
    (root / ".hidden.png").write_bytes(b"x")
    (root / ".git").mkdir()
    (root / ".git" / "object").write_bytes(b"x")
    return root


def relative(paths: list[Path], root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


ALL = [
    "a.png",
    "cut.jpg",
    "empty.png",
    "notes.txt",
    "sub/b.jpg",
    "sub/deep/c.bmp",
    "sub/text.jpg",
    "z.tiff",
]


def test_a_folder_is_walked_in_order_without_hidden_files(mixed: Path) -> None:
    assert relative(list(iter_inputs([mixed])), mixed) == ALL


def test_missing_paths_and_files_are_yielded_unchanged(mixed: Path, tmp_path: Path) -> None:
    given = [mixed / ".hidden.png", tmp_path / "absent.png", mixed / "a.png", mixed / "a.png"]
    assert list(iter_inputs(given)) == given


def test_an_empty_folder_gives_an_error(mixed: Path, predictor: Predictor) -> None:
    assert list(iter_inputs([mixed / "dir.png"])) == [mixed / "dir.png"]
    (result,) = run_batch(predictor, [mixed / "dir.png"])
    assert isinstance(result.error, UnreadableFileError)
    assert "contains no readable file" in str(result.error)


def test_symbolic_links_are_followed_without_cycles(mixed: Path, tmp_path: Path) -> None:
    draw(tmp_path / "elsewhere" / "d.png", 9)
    (mixed / "linked").symlink_to(tmp_path / "elsewhere")
    (mixed / "sub" / "up").symlink_to(mixed)
    assert relative(list(iter_inputs([mixed])), mixed) == [*ALL[:3], "linked/d.png", *ALL[3:]]


@pytest.mark.parametrize(("batch_size", "readers"), [(1, 1), (3, 2), (16, 4)])
def test_a_mixed_folder_gives_one_result_each_in_order(
    mixed: Path, predictor: Predictor, batch_size: int, readers: int
) -> None:
    results = list(run_batch(predictor, [mixed], batch_size=batch_size, readers=readers))
    assert relative([Path(r.path) for r in results], mixed) == ALL
    assert [type(r.error) for r in results] == [
        type(None),
        DecodeError,
        EmptyInputError,
        UnsupportedFormatError,
        type(None),
        type(None),
        UnsupportedFormatError,
        type(None),
    ]
    assert all((r.prediction is None) != (r.error is None) for r in results)
    for result in results:
        if result.prediction:
            alone = predictor.predict(result.path)
            assert result.prediction.prob == pytest.approx(alone.prob, abs=1e-6)
            assert result.prediction.decision == alone.decision
        else:
            assert result.path in str(result.error)


def test_read_ahead_is_bounded(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "a.png", 0)
    asked: list[Path] = []

    def endless() -> list[Path]:
        while True:
            asked.append(tmp_path / "a.png")
            yield asked[-1]

    results = run_batch(predictor, endless(), batch_size=4, readers=2)
    for _ in range(9):
        next(results)
    # Nine results are three batches of four; at most batch + readers are read beyond them.
    assert len(asked) <= 12 + 4 + 2
    results.close()


def test_the_limits_are_enforced(mixed: Path, predictor: Predictor) -> None:
    (result,) = run_batch(predictor, [mixed / "a.png"], limits=Limits(max_pixels=1000))
    assert isinstance(result.error, TooLargeError)


def test_standard_input_is_one_image(
    mixed: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (mixed / "a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    (result,) = run_batch(predictor, ["-"])
    assert result.path == "-"
    assert result.prediction is not None
    assert result.prediction.prob == predictor.predict(mixed / "a.png").prob
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    (refused,) = run_batch(predictor, ["-"], limits=Limits(max_bytes=1000))
    assert isinstance(refused.error, TooLargeError)


def test_a_failing_model_is_not_reported_as_a_failed_input(
    mixed: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(batch: object) -> None:
        raise ModelFileError("broken")

    monkeypatch.setattr(predictor, "infer", fail)
    with pytest.raises(ModelFileError, match="broken"):
        list(run_batch(predictor, [mixed]))


@pytest.mark.parametrize(("batch_size", "readers"), [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(predictor: Predictor, batch_size: int, readers: int) -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        next(run_batch(predictor, [], batch_size=batch_size, readers=readers))


def test_each_input_gets_an_explanation(mixed: Path, predictor: Predictor) -> None:
    results = list(run_explain(predictor, [mixed]))
    assert relative([Path(r.path) for r in results], mixed) == ALL
    for result in results:
        assert (result.explanation is None) == (result.error is not None)
        if result.explanation:
            assert result.prediction == result.explanation.prediction
            assert result.explanation.heatmap.shape == (256, 256)
            assert np.ptp(result.explanation.heatmap) > 0


def write_volume(path: Path, head: range, depth: int = 12) -> Path:
    """Write an axial stack of phantoms, ``[64, 64, depth]``, with head in some slices only."""
    data = np.zeros((64, 64, depth), dtype=np.float32)
    for index in head:
        # Voxels grow to the right and to the front; the picture's rows go the other way.
        data[:, :, index] = draw_phantom(index, lesion=False, size=64).image.T[::-1, ::-1]
    nibabel.save(nibabel.Nifti1Image(data, np.diag([3.0, 3.0, 5.0, 1.0])), path)
    return path


@pytest.mark.parametrize("name", ["brain.nii", "brain.nii.gz", "BRAIN.NII.GZ"])
def test_a_volume_gives_one_result_per_head_slice(
    name: str, tmp_path: Path, predictor: Predictor
) -> None:
    path = write_volume(tmp_path / name, range(3, 9))
    draw(tmp_path / "zz.png", 1)
    results = list(run_batch(predictor, [tmp_path], batch_size=4))
    slices = [f"{path}#axial:{index}" for index in range(3, 9)]
    assert [r.path for r in results] == [*slices, str(tmp_path / "zz.png")]
    for index, result in zip(range(3, 9), results, strict=False):
        pixels = draw_phantom(index, lesion=False, size=64).image.astype(np.float32)
        assert result.prediction is not None
        assert result.prediction.prob == pytest.approx(predictor.predict(pixels).prob, abs=1e-6)
    assert len({r.prediction.prob for r in results if r.prediction}) == 7
    explained = list(run_explain(predictor, [path]))
    assert [r.path for r in explained] == slices


def test_a_damaged_volume_is_one_result(tmp_path: Path, predictor: Predictor) -> None:
    whole = write_volume(tmp_path / "brain.nii.gz", range(3, 9)).read_bytes()
    (tmp_path / "brain.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "fake.nii").write_text("no volume")
    results = list(run_batch(predictor, [tmp_path]))
    assert [Path(r.path).name for r in results] == ["brain.nii.gz", "fake.nii"]
    assert isinstance(results[0].error, DecodeError)
    assert results[1].error is not None


def test_a_volume_with_an_odd_header_keeps_the_other_lines(
    tmp_path: Path, predictor: Predictor
) -> None:
    draw(tmp_path / "a.png", 1)
    path = write_volume(tmp_path / "b.nii", range(3, 5), depth=6)
    draw(tmp_path / "c.png", 2)
    content = bytearray(path.read_bytes())
    content[280:328] = np.full(12, np.nan, "<f4").tobytes()  # the rows of the sform
    path.write_bytes(bytes(content))
    (tmp_path / "bad.nii").write_bytes(bytes(content[:40]) + bytes(8) + bytes(content[48:]))
    results = list(run_batch(predictor, [tmp_path]))
    assert [Path(r.path).name for r in results] == [
        "a.png", "b.nii#axial:3", "b.nii#axial:4", "bad.nii", "c.png"]  # fmt: skip
    assert [r.error is None for r in results] == [True, True, True, False, True]


def test_a_thick_volume_is_cut_in_its_plane(tmp_path: Path, predictor: Predictor) -> None:
    data = np.zeros((6, 64, 64), np.float32)
    for index in (2, 3):
        data[index] = draw_phantom(index, lesion=False, size=64, plane="sagittal").image
    image = nibabel.Nifti1Image(data, np.diag([9.0, 3.0, 3.0, 1.0]))
    nibabel.save(image, tmp_path / "v.nii")
    results = list(run_batch(predictor, [tmp_path]))
    assert [Path(r.path).name for r in results] == ["v.nii#sagittal:2", "v.nii#sagittal:3"]


def test_frames_of_a_dicom_file_are_slices_and_its_header_is_asked(
    tmp_path: Path, predictor: Predictor
) -> None:
    scan = Scan(head(), SPACING)
    (tmp_path / "a.dcm").write_bytes(encode(multi_frame(scan, SpacingBetweenSlices=SPACING[2])))
    knee = multi_frame(scan, SpacingBetweenSlices=SPACING[2], BodyPartExamined="KNEE")
    (tmp_path / "b.dcm").write_bytes(encode(knee))
    write_slices(tmp_path / "c", scan)
    results = list(run_batch(predictor, [tmp_path]))
    names = [Path(r.path).name for r in results]
    assert names[0].startswith("a.dcm#axial:")
    assert names[-len(scan.slices) :] == sorted(path.name for path in (tmp_path / "c").iterdir())
    assert all(result.prediction for result in results)
    refused = [r for r in results if r.path.startswith(str(tmp_path / "b.dcm"))]
    assert refused
    assert all(r.prediction and "knee" in str(r.prediction.in_domain_reason) for r in refused)
    assert all(r.prediction and r.prediction.sequence == "T1" for r in results)


@pytest.mark.real
def test_a_real_volume_is_read(data_root: Path, predictor: Predictor) -> None:
    path = sorted((data_root / "volumes").rglob("*.nii*"))[0]
    results = list(run_batch(predictor, [path]))
    assert 40 < len(results) < 100
    assert all(r.prediction for r in results)
