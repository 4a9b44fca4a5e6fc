"""``tumorlens download`` as a user types it; Kaggle's real client talks to a local server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.kaggle_stand_in import serve
from tumorlens.cli.app import run

pytest.importorskip("kagglehub")


def test_stdout_holds_only_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kagglesdk import kaggle_env

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    with serve({"brain_tumor_dataset/yes/a.jpg": b"x"}) as kaggle:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, kaggle.url)
        assert run(["download"]) == 0
    captured = capsys.readouterr()
    assert Path(captured.out.strip()).name == "brain_tumor_dataset"
    assert (Path(captured.out.strip()) / "yes" / "a.jpg").read_bytes() == b"x"
    assert "version 1: 1 files, downloaded" in captured.err
    assert "licence: unclear" in captured.err
    assert run(["download", "navoneel"]) == 0, "what is there needs no server"
    assert "already here, unchanged" in capsys.readouterr().err


def test_an_unknown_name_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["download", "nowhere"]) == 2
    assert "br35h, navoneel, nickparvar, sartaj_extra" in capsys.readouterr().err
