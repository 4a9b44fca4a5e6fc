"""A job: every input answered once, whatever it came from and however often it was stopped."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.jobs.conftest import InProcess
from tests.jobs.drawn import draw, job, picture
from tests.volumes.dicom_series import Scan, write_slices
from tests.volumes.heads import AFFINE, SPACING, head
from tumorlens.errors import ConfigError, OutputError
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series_batch import run_series
from tumorlens.jobs.run import Progress, run_job


def rows(out: Path, kind: str = "results") -> list[dict[str, object]]:
    parts = sorted((out / kind).glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def paths(out: Path, kind: str = "results") -> list[str]:
    return [Path(str(each["path"])).name for each in rows(out, kind)]


def parts(out: Path, kind: str = "results") -> list[str]:
    return sorted(each.name for each in (out / kind).iterdir())


def test_answers_are_those_of_predict(tmp_path: Path, here: InProcess, tiny_model_path: Path
                                      ) -> None:  # fmt: skip
    scans = draw(tmp_path / "scans", 4)
    (scans / "text.png").write_text("text")
    write_slices(scans / "series", Scan(head(), SPACING))
    nibabel.save(nibabel.Nifti1Image(head(), AFFINE), scans / "volume.nii.gz")
    progress = run_job(job([scans], tmp_path / "out", tiny_model_path))
    wanted = {}
    for each in run_series(Predictor.open(tiny_model_path, threads=1), [scans]):
        answer = each.series or each.prediction
        wanted[each.path] = None if answer is None else answer.to_dict()
    found = {str(each.pop("path")): each for each in rows(tmp_path / "out")}
    failed = [str(each["path"]) for each in rows(tmp_path / "out", "errors")]
    assert sorted([*found, *failed]) == sorted(wanted)
    assert failed == [str(scans / "text.png")]
    assert (progress.answered, progress.failed) == (6, 1)
    for path, answer in found.items():
        expected = wanted[path]
        assert expected is not None
        assert answer.pop("prob") == pytest.approx(expected.pop("prob"), abs=1e-6)
        expected.pop("latency_ms")
        if "slices" not in answer:
            assert answer == expected
        else:
            assert answer["findings"] == expected["findings"]
            assert len(answer["slices"]) == len(expected["slices"])  # type: ignore[arg-type]


def test_archives_and_tables_give_the_answers_of_their_files(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    scans = draw(tmp_path / "s", 4)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(scans.iterdir()):
            archive.write(each, each.name)
    for name, mode in (("b.tar", "w"), ("c.tar.gz", "w:gz"), ("d.tar.xz", "w:xz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            for each in sorted(scans.iterdir()):
                archive.add(each, each.name)
    images = [each.read_bytes() for each in sorted(scans.iterdir())]
    pq.write_table(pa.table({"bytes": images}), tmp_path / "e.parquet", row_group_size=3)
    for name in ("s", "a.zip", "b.tar", "c.tar.gz", "d.tar.xz", "e.parquet"):
        run_job(job([tmp_path / name], tmp_path / "out" / name, tiny_model_path))
    probs = {out.name: [each["prob"] for each in rows(out)] for out in (tmp_path / "out").iterdir()}
    assert len(probs) == 6
    assert all(each == probs["s"] and len(each) == 4 for each in probs.values())
    assert paths(tmp_path / "out" / "e.parquet")[-1] == "e.parquet#3"


def test_a_url_gives_the_same_answers(tmp_path: Path, here: InProcess, tiny_model_path: Path
                                      ) -> None:  # fmt: skip
    scans = draw(tmp_path / "s", 4)
    run_job(job([scans], tmp_path / "one", tiny_model_path))
    run_job(job([f"file://{scans}"], tmp_path / "two", tiny_model_path))
    assert [each["prob"] for each in rows(tmp_path / "one")] == [
        each["prob"] for each in rows(tmp_path / "two")
    ]


def test_what_is_damaged_is_in_the_errors_table(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    good = picture(0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.png", good)
        archive.writestr("bad.png", picture(1))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(picture(1)) + 60] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with tarfile.open(tmp_path / "b.tgz", "w:gz") as archive:
        for seed in range(3):
            (tmp_path / f"{seed}.png").write_bytes(np.random.default_rng(seed).bytes(60_000))
            archive.add(tmp_path / f"{seed}.png", f"{seed}.png")
    (tmp_path / "b.tgz").write_bytes((tmp_path / "b.tgz").read_bytes()[:130_000])
    pq.write_table(pa.table({"bytes": [good, None, b"text"]}), tmp_path / "c.parquet")
    progress = run_job(job([tmp_path / "a.zip", tmp_path / "b.tgz", tmp_path / "c.parquet",
                            tmp_path / "none.png"], tmp_path / "out", tiny_model_path))  # fmt: skip
    assert paths(tmp_path / "out") == ["good.png", "c.parquet#0"]
    assert paths(tmp_path / "out", "errors") == [
        "bad.png", "0.png", "1.png", "2.png", "c.parquet#1", "c.parquet#2", "none.png",
    ]  # fmt: skip
    kinds = [each["error"] for each in rows(tmp_path / "out", "errors")]
    assert kinds[0] == kinds[3] == "DecodeError"
    assert progress.failed == 7


def test_a_stopped_job_goes_on_where_it_was(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    scans = draw(tmp_path / "s", 11)
    asked = job([scans], tmp_path / "out", tiny_model_path)
    here.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        run_job(asked)
    assert here.shards == [0, 1]
    # The kill came while a line was written, and after the files of the next shard.
    with (tmp_path / "out" / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"shard": 2, "ke')
    (tmp_path / "out" / "results" / "part-00000002.jsonl").write_text("half of a shard\n")
    here.stop_after = None
    seen: list[tuple[int, int]] = []
    end = run_job(asked, lambda progress: seen.append((progress.done, progress.worked)))
    assert here.shards == [0, 1, 2, 3]
    assert seen == [(6, 0), (9, 3), (11, 5)]
    assert paths(tmp_path / "out") == [f"{seed:02}.png" for seed in range(11)]
    assert (end.inputs, end.skipped, end.worked, end.answered) == (11, 6, 5, 11)
    again = run_job(asked)
    assert (again.done, again.worked) == (11, 0)
    assert here.shards == [0, 1, 2, 3]


def test_a_shard_whose_file_was_lost_is_answered_again(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    asked = job([draw(tmp_path / "s", 6)], tmp_path / "out", tiny_model_path)
    run_job(asked)
    (tmp_path / "out" / "results" / "part-00000001.jsonl").write_text("")
    run_job(asked)
    assert here.shards == [0, 1, 1]
    assert len(rows(tmp_path / "out")) == 6


def test_changed_inputs_are_noticed_and_answered_again_on_request(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    scans = draw(tmp_path / "s", 9)
    asked = job([scans], tmp_path / "out", tiny_model_path)
    run_job(asked)
    (scans / "04.png").write_bytes(picture(40))
    (scans / "08.png").unlink()
    before = (tmp_path / "out" / "manifest.jsonl").read_text()
    with pytest.raises(ConfigError, match=r"changed, added or removed .* shard 1 .*04?.*--redo"):
        run_job(asked)
    assert (tmp_path / "out" / "manifest.jsonl").read_text() == before
    again = job([scans], tmp_path / "out", tiny_model_path, redo=frozenset({"changed"}))
    run_job(again)
    assert here.shards == [0, 1, 2, 1, 2]
    assert paths(tmp_path / "out") == [f"{seed:02}.png" for seed in range(8)]
    for seed in range(2, 8):
        (scans / f"{seed:02}.png").unlink()
    with pytest.raises(ConfigError, match="changed"):
        run_job(asked)
    run_job(again)
    assert paths(tmp_path / "out") == ["00.png", "01.png"]
    assert parts(tmp_path / "out") == ["part-00000000.jsonl"]


def test_another_model_or_setting_is_noticed(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    from tests.models_for_tests import write_tiny_model

    scans = draw(tmp_path / "s", 3)
    run_job(job([scans], tmp_path / "out", tiny_model_path))
    other = write_tiny_model(tmp_path / "other.onnx", version="2.0")
    with pytest.raises(ConfigError, match="holds answers of another model"):
        run_job(job([scans], tmp_path / "out", other))
    for change, told in (
        ({"output": "csv"}, "another output"),
        ({"slices": True}, "another slices"),
        ({"shard_size": 4}, "another shard size"),
        ({"planes": ("axial",)}, "another planes"),
    ):
        with pytest.raises(ConfigError, match=told):
            run_job(job([scans], tmp_path / "out", tiny_model_path, **change))
    run_job(job([scans], tmp_path / "out", other, output="csv", redo=frozenset({"changed"})))
    assert parts(tmp_path / "out") == ["part-00000000.csv"]


def test_shards_with_errors_are_answered_again_on_request(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    scans = draw(tmp_path / "s", 6)
    table = tmp_path / "all.txt"
    names = [f"{scans}/{seed:02}.png\n" for seed in range(6)]
    table.write_text("".join(names))
    (scans / "01.png").rename(scans / "away")
    run_job(job([table], tmp_path / "out", tiny_model_path))
    assert paths(tmp_path / "out", "errors") == ["01.png"]
    (scans / "away").rename(scans / "01.png")
    again = frozenset({"changed", "errors"})
    end = run_job(job([table], tmp_path / "out", tiny_model_path, redo=again))
    assert here.shards == [0, 1, 0]
    assert not parts(tmp_path / "out", "errors")
    assert (end.answered, end.failed, end.skipped) == (6, 0, 3)


@pytest.mark.parametrize("output", ["csv", "parquet"])
def test_the_tables_have_the_columns_of_predict_but_times(
    output: str, tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    scans = draw(tmp_path / "s", 2)
    nibabel.save(nibabel.Nifti1Image(head(), AFFINE), scans / "volume.nii.gz")
    (scans / "text.png").write_text("text")
    run_job(job([scans], tmp_path / "out", tiny_model_path, output=output, shard_size=9))
    part = tmp_path / "out" / "results" / f"part-00000000.{output}"
    failed = tmp_path / "out" / "errors" / f"part-00000000.{output}"
    wanted = [
        "path", "label", "prob", "decision", "prediction_set", "threshold", "threshold_origin",
        "in_domain", "in_domain_reason", "sequence", "model_name", "model_version",
        "model_sha256", "disclaimer", "plane", "n_slices", "n_answered", "n_tumor", "n_findings",
        "first", "last", "area_mm2", "volume_ml", "diameter_mm", "laterality",
    ]  # fmt: skip
    if output == "csv":
        table = list(csv.DictReader(io.StringIO(part.read_text())))
        assert list(table[0]) == wanted
        assert [bool(row["n_slices"]) for row in table] == [False, False, True]
        assert [row["in_domain"] in ("true", "false") for row in table] == [True] * 3
        (bad,) = csv.DictReader(io.StringIO(failed.read_text()))
    else:
        read = pq.read_table(part)
        assert read.schema.names == wanted
        assert read.schema.field("prob").type == pa.float64()
        assert read.schema.field("prediction_set").type == pa.list_(pa.string())
        slices, probs = read["n_slices"].to_pylist(), read["prob"].to_pylist()
        assert slices == [None, None, head().shape[2]]
        assert [isinstance(each, float) for each in probs[:2]] == [True, True]
        (bad,) = pq.read_table(failed).to_pylist()
    assert bad["error"] == "UnsupportedFormatError"


def test_a_folder_in_use_or_of_something_else_is_left_alone(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    scans = draw(tmp_path / "s", 3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(ConfigError, match="not the folder of a job"):
        run_job(job([scans], tmp_path / "mine", tiny_model_path))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "text"
    with pytest.raises(OutputError):
        run_job(job([scans], tmp_path / "mine" / "thesis.txt" / "out", tiny_model_path))

    def another(progress: Progress) -> None:
        with pytest.raises(ConfigError, match="another run works on this job"):
            run_job(job([scans], tmp_path / "out", tiny_model_path))

    run_job(job([scans], tmp_path / "out", tiny_model_path), another)
    assert len(rows(tmp_path / "out")) == 3


def test_time_left_is_told_by_bytes() -> None:
    progress = Progress(inputs=10, size=1000, left=750, worked=5, worked_bytes=250)
    progress.started -= 100
    assert progress.rate == pytest.approx(0.05, rel=0.01)
    assert progress.seconds_left == pytest.approx(300, rel=0.01)
    assert Progress().seconds_left is None
