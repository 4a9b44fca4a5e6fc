"""Processes: the same answers as in process, and none lost when one dies or the job is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.drawn import draw, job, picture
from tumorlens.errors import ConfigError, ModelFileError
from tumorlens.jobs import local
from tumorlens.jobs.items import FileItem, Shard
from tumorlens.jobs.local import Answering, Failure, answer_locally
from tumorlens.jobs.run import run_job
from tumorlens.jobs.settings import Settings


def names(out: Path, kind: str = "results") -> list[str]:
    found = sorted((out / kind).glob("part-*"))
    rows = [json.loads(line) for part in found for line in part.read_text().splitlines()]
    return [Path(row["path"]).name for row in rows]


def test_two_processes_answer_what_one_does(tmp_path: Path, tiny_model_path: Path) -> None:
    scans = draw(tmp_path / "s", 7)
    (scans / "text.png").write_text("text")
    for workers in (1, 2):
        out = tmp_path / str(workers)
        run_job(job([scans], out, tiny_model_path, workers=workers, shard_size=2))
    for kind in ("results", "errors"):
        one, two = (sorted((tmp_path / each / kind).iterdir()) for each in ("1", "2"))
        assert [each.name for each in one] == [each.name for each in two]
        assert [each.read_bytes() for each in one] == [each.read_bytes() for each in two]
    assert names(tmp_path / "2") == [f"{seed:02}.png" for seed in range(7)]
    with pytest.raises(ConfigError, match="0 workers"):
        run_job(job([scans], tmp_path / "0", tiny_model_path, workers=0))


def test_a_process_that_is_killed_is_replaced(tmp_path: Path, tiny_model_path: Path) -> None:
    asked = job([], tmp_path / "out", tiny_model_path)
    files = [FileItem(f"{seed}.png", str(tmp_path / f"{seed}.png"), 9, "") for seed in range(4)]
    for seed, each in enumerate(files):
        Path(each.location).write_bytes(picture(seed))
    shards = [Shard(index, (each,), "s") for index, each in enumerate(files)]
    results = answer_locally(shards, tiny_model_path, asked.settings, 1)
    assert next(results).answered == 1
    (first,) = multiprocessing.active_children()
    first.kill()
    first.join()
    assert [(each.index, each.answered) for each in results] == [(1, 1), (2, 1), (3, 1)]
    assert not multiprocessing.active_children()


class _Scripted(local._Worker):
    """A worker in this process that dies with, or fails at, files of certain names."""

    dies: tuple[str, ...] = ()

    def start(self, shard: Shard | None) -> None:
        self.shard = shard
        self.connection, theirs = multiprocessing.Pipe()
        theirs.close()  # at its end, so there is something to be read

    def receive(self) -> object:  # type: ignore[override]
        assert self.shard is not None
        for item in self.shard.items:
            if isinstance(item, FileItem) and item.name.endswith(self.dies):
                return None
        return Answering(*self._given)(self.shard.to_json())

    def end(self) -> None:
        self.connection.close()


def test_a_file_that_kills_its_process_is_an_error_of_its_own(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_Worker", _Scripted)
    monkeypatch.setattr(_Scripted, "dies", ("04.png",))
    scans = draw(tmp_path / "s", 7)
    asked = job([scans], tmp_path / "out", tiny_model_path)
    end = run_job(asked)
    assert names(tmp_path / "out") == [f"{seed:02}.png" for seed in (0, 1, 2, 3, 5, 6)]
    (bad,) = (tmp_path / "out" / "errors").iterdir()
    assert "the process that read it died" in bad.read_text()
    assert (end.answered, end.failed) == (6, 1)
    assert run_job(asked).worked == 0


def test_processes_that_never_answer_end_the_job(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_Worker", _Scripted)
    monkeypatch.setattr(_Scripted, "receive", lambda self: None)
    with pytest.raises(ConfigError, match="end before they answer"):
        run_job(job([draw(tmp_path / "s", 2)], tmp_path / "out", tiny_model_path))
    assert not names(tmp_path / "out", "errors")


def test_an_unexpected_exception_is_an_error_of_its_file(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tumorlens.inference.predictor import Predictor

    original = Predictor.prepare

    def fails(self: Predictor, image: object) -> object:
        if getattr(image, "name", "").endswith("01.png"):
            raise IndexError("a value of the file")
        return original(self, image)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "prepare", fails)
    monkeypatch.setattr(local, "_Worker", _Scripted)
    run_job(job([draw(tmp_path / "s", 3)], tmp_path / "out", tiny_model_path))
    assert names(tmp_path / "out") == ["00.png", "02.png"]
    (bad,) = (tmp_path / "out" / "errors").iterdir()
    assert "IndexError" in bad.read_text()
    assert "a value of the file" not in bad.read_text()


def test_a_model_that_is_replaced_meanwhile_ends_the_job(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    shards = [Shard(0, (), "s")]
    settings = Settings(model="0" * 64, output="csv")
    with pytest.raises(ModelFileError, match="was replaced while the job runs"):
        list(answer_locally(shards, tiny_model_path, settings, 1))
    assert Failure("MissingExtraError", "told").raised() is not None


@pytest.mark.slow
def test_after_kill_nine_nothing_is_lost_or_twice_and_no_process_stays(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    content = picture(0)
    for number in range(120):
        (tmp_path / "s" / f"{number:03}.png").write_bytes(content)
    command = [sys.executable, "-m", "tumorlens", "predict", str(tmp_path / "s"), "--out",
               str(tmp_path / "out"), "--shard-size", "5", "--workers", "1", "--format", "jsonl",
               "--model", str(tiny_model_path)]  # fmt: skip
    manifest = tmp_path / "out" / "manifest.jsonl"
    kills = 0
    while kills < 2:
        before = manifest.read_bytes().count(b"\n") if manifest.exists() else 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            while run.poll() is None:
                done = manifest.read_bytes().count(b"\n") if manifest.exists() else 0
                if done >= before + 3:
                    break
            children = _children(run.pid)
            os.kill(run.pid, signal.SIGKILL)
        kills += 1
        assert run.returncode == -signal.SIGKILL
        assert children
        while any(map(_alive, children)):
            pass  # the test's own limit of time ends this
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "120 answers" in done.stdout
    assert sorted(names(tmp_path / "out")) == [f"{number:03}.png" for number in range(120)]
    lines = [json.loads(line)["shard"] for line in manifest.read_text().splitlines()]
    assert sorted(lines) == list(range(24))


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in found.split()]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
