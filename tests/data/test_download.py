from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.drawn_sets import draw_set
from tests.data.kaggle_stand_in import StandIn, serve
from tumorlens.data.download import download
from tumorlens.data.sources import load_source
from tumorlens.errors import DownloadError, MissingExtraError, OutputError, SourceNotFoundError

pytest.importorskip("kagglehub")


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, bytes]:
    """The layout of the mission's set: each image once at the top and once in a subfolder."""
    drawn = draw_set(tmp_path / "drawn", 2, 1)
    once = {p.relative_to(drawn).as_posix(): p.read_bytes() for p in sorted(drawn.rglob("*.png"))}
    return {**once, **{f"brain_tumor_dataset/{name}": data for name, data in once.items()}}


@pytest.fixture
def kaggle(
    pictures: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandIn]:
    """Kaggle's real client, led to a local server, in an empty home without credentials."""
    import kagglehub.config
    from kagglesdk import kaggle_env

    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLEHUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        kagglehub.config, "DEFAULT_KAGGLE_CREDENTIALS_FOLDER", str(tmp_path / "home" / ".kaggle")
    )
    with serve(pictures) as server:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.url)
        yield server


def test_a_download_writes_the_hash_of_every_file(
    kaggle: StandIn, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    done = download("navoneel", cache=tmp_path / "cache")
    assert done.fetched
    assert (done.version, done.n_files) == (1, 3)
    assert done.folder.name == "brain_tumor_dataset"
    for name, content in pictures.items():
        if name.startswith("brain"):
            assert (done.folder.parent / name).read_bytes() == content
    kept = json.loads(done.hashes.read_text())
    assert kept["handle"] == "navoneel/brain-mri-images-for-brain-tumor-detection"
    assert kept["licence"].startswith("unclear")
    assert sorted(kept["files"]) == ["no/00.png", "yes/00.png", "yes/01.png"]
    assert [record.label for record in load_source(done.folder)] == [0, 1, 1]
    assert "KAGGLEHUB_CACHE" not in os.environ


def test_the_second_call_needs_no_network(kaggle: StandIn, tmp_path: Path) -> None:
    first = download("navoneel", cache=tmp_path / "cache")
    asked = len(kaggle.asked)
    again = download("navoneel", cache=tmp_path / "cache")
    assert (again.fetched, again.sha256, again.folder) == (False, first.sha256, first.folder)
    assert len(kaggle.asked) == asked


def test_a_downloaded_source_is_loaded_by_name(
    kaggle: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUMORLENS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceNotFoundError, match="tumorlens download navoneel"):
        load_source("navoneel")
    done = download("navoneel")
    assert done.folder.resolve().is_relative_to(tmp_path / "kaggle_cache")
    assert {record.source for record in load_source("navoneel")} == {"navoneel"}


def test_the_environment_variable_sets_the_cache(
    kaggle: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "elsewhere"))
    assert download("navoneel").folder.is_relative_to(tmp_path / "elsewhere")
    assert os.environ["KAGGLEHUB_CACHE"] == str(tmp_path / "elsewhere")


def test_changed_files_are_detected_and_can_be_downloaded_again(
    kaggle: StandIn, tmp_path: Path
) -> None:
    done = download("navoneel", cache=tmp_path)
    (done.folder / "yes" / "00.png").write_bytes(b"something else")
    (done.folder / "no" / "00.png").unlink()
    with pytest.raises(
        DownloadError, match=r"2 files have changed .*no/00.png, yes/00.png.*--force"
    ):
        download("navoneel", cache=tmp_path)
    assert download("navoneel", cache=tmp_path, force=True).sha256 == done.sha256


def test_any_handle_is_accepted(kaggle: StandIn, tmp_path: Path) -> None:
    done = download("someone/some-set", cache=tmp_path)
    assert (done.info.name, done.n_files) == ("some-set", 6)
    assert done.info.licence.startswith("unknown")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "/x", "cheng2017"])
def test_an_unknown_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="br35h, navoneel, nickparvar"):
        download(name, cache=tmp_path)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "KAGGLE_API_TOKEN"),
        (403, "accept the data set's terms"),
        (404, "no such data set"),
        (429, "wait some minutes"),
        (500, "try again later"),
    ],
)
def test_refusals_of_kaggle_give_advice(
    kaggle: StandIn, tmp_path: Path, status: int, advice: str
) -> None:
    kaggle.status = status
    with pytest.raises(DownloadError, match=advice) as refused:
        download("navoneel", cache=tmp_path)
    assert str(refused.value).startswith("navoneel/brain-mri-images-for-brain-tumor-detection: ")
    assert refused.value.__cause__ is not None


def test_without_a_network_the_error_gives_advice(
    kaggle: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kagglesdk import kaggle_env

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, closed)
    with pytest.raises(DownloadError, match="cannot be reached") as refused:
        download("br35h", cache=tmp_path)
    for hint in ("check the network or proxy", "kaggle.com/datasets/ahmed", "give its folder"):
        assert hint in str(refused.value)


@pytest.mark.parametrize(("trouble", "complaint"), [("damage", "damaged"), ("cut", "reached")])
def test_a_failed_download_is_not_used(
    kaggle: StandIn, tmp_path: Path, trouble: str, complaint: str
) -> None:
    setattr(kaggle, trouble, True)
    with pytest.raises(DownloadError, match=complaint):
        download("navoneel", cache=tmp_path)
    setattr(kaggle, trouble, False)
    assert download("navoneel", cache=tmp_path).fetched


def test_invalid_credentials_are_reported(kaggle: StandIn, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir(parents=True)
    (folder / "kaggle.json").write_text("not json")
    with pytest.raises(DownloadError, match="Invalid Kaggle credentials"):
        download("navoneel", cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_an_output_error(kaggle: StandIn, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="--cache or KAGGLEHUB_CACHE"):
        download("navoneel", cache=tmp_path / "file" / "cache")


def test_a_missing_client_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tumorlens.data.download.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"tumorlens\[train\]"):
        download("navoneel", cache=tmp_path)
