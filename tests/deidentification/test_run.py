"""Folders: every file done or named by its number, none half written, and nothing told."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deidentification.planted import CANARY, DATES, UIDS, file_of, planted
from tumorlens.cli.app import run
from tumorlens.deidentification.run import REPORT_NAME, deidentify
from tumorlens.errors import ConfigError, OutputError

KEY = b"a secret that is long enough"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two good images, two bad files and an index, their names those of the patient."""
    folder = tmp_path / "in" / f"{CANARY}_Jane"
    folder.mkdir(parents=True)
    for k in (1, 2):
        made = planted(SOPInstanceUID=f"{UIDS[2]}.{k}")
        (folder / f"{CANARY}_{k}.dcm").write_bytes(file_of(made))
    (folder / f"{CANARY}_3.txt").write_text(f"about {CANARY}", "utf-8")
    (folder / f"{CANARY}_4.dcm").write_bytes(b"")
    (folder / "DICOMDIR").write_text(CANARY, "utf-8")
    return tmp_path / "in"


def everything(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)).encode()
        if path.is_file():
            yield path.read_bytes()


def test_nothing_is_left_in_names_files_and_report(source: Path, tmp_path: Path) -> None:
    report = deidentify(source, tmp_path / "out")
    assert (report.read, report.written) == (4, 2)
    assert [each.file for each in report.set_aside] == [3, 4]
    found = list(everything(tmp_path / "out"))
    assert len([each for each in found if each.endswith(b".dcm")]) == 2
    for secret in (CANARY, *DATES, *UIDS):
        assert not [each for each in found if secret.encode() in each]


def test_the_report_counts_by_tag_and_has_no_value(source: Path, tmp_path: Path) -> None:
    deidentify(source, tmp_path / "out", key=KEY)
    told = json.loads((tmp_path / "out" / REPORT_NAME).read_text("utf-8"))
    elements = {each["tag"]: each for each in told["elements"]}
    assert elements["(0010,0010)"]["action"] == "pseudonym"
    assert elements["(0010,1040)"]["count"] == 2
    assert elements["(0029,xxxx)"] | {"count": 0} == {
        "tag": "(0029,xxxx)", "name": "", "action": "removed", "count": 0,
    }  # fmt: skip
    assert {"(6000,xxxx)", "(6002,xxxx)", "(5000,xxxx)", "(5002,xxxx)"} <= set(elements)
    assert told["uids"] == "stable under the key"
    assert told["files"]["pixel_data_cleaned"] == 2
    assert told["warnings"]


def test_a_second_run_with_the_key_gives_the_same_folder(source: Path, tmp_path: Path) -> None:
    for out in ("one", "two", "two"):
        deidentify(source, tmp_path / out, key=KEY)
    assert list(everything(tmp_path / "one")) == list(everything(tmp_path / "two"))


def test_a_full_disk_leaves_no_half_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        deidentify(source, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_the_command_tells_numbers_and_the_mapping_names(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, mapping = tmp_path / "key", tmp_path / "mapping.csv"
    key.write_bytes(KEY)
    arguments = ["deidentify", str(source), str(tmp_path / "out"), "--key-file", str(key)]
    assert run([*arguments, "--mapping", str(mapping)]) == 3
    told = capsys.readouterr()
    assert "2 of 4 files written" in told.out
    assert "deface" in told.out
    assert "file 3: " in told.err
    assert "file 4: " in told.err
    assert CANARY not in told.out + told.err
    rows = mapping.read_text("utf-8").splitlines()
    assert len(rows) == 5
    assert f"{CANARY}_3.txt" in rows[3]
    assert stat.S_IMODE(mapping.stat().st_mode) == 0o600


def test_places_and_keys_that_cannot_be_meant_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="inside the source"):
        deidentify(source, source / "out")
    with pytest.raises(ConfigError, match="16"):
        deidentify(source, tmp_path / "out", key=b"short")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="is a file"):
        deidentify(source, tmp_path / "file")
    assert run(["deidentify", str(source), str(tmp_path / "out"), "--key-file", "nowhere"]) == 2
    assert not (tmp_path / "out").exists()
