"""``tumorlens split`` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.drawn_sets import draw_set
from tumorlens.cli.app import run
from tumorlens.data.grouping import group_records
from tumorlens.data.near_duplicates.fingerprint_cache import FingerprintCache
from tumorlens.data.sources import load_source
from tumorlens.data.splits import read_split
from tumorlens.errors import LeakageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUMORLENS_CACHE", str(tmp_path / "cache"))
    root = draw_set(tmp_path / "set", 10, 10)
    (root / "yes" / "copy.png").write_bytes((root / "yes" / "00.png").read_bytes())
    return root


def test_a_split_is_written_and_fits_the_data(
    source: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "split.json"
    assert run(["split", str(source), "--out", str(out), "--fractions", "0.5,0.2,0.1,0.2"]) == 0
    records = group_records(load_source(source), FingerprintCache())
    split = read_split(out, records)
    assert [len(keys) for keys in split.parts().values()] == pytest.approx([10, 4, 2, 4], abs=2)
    printed = capsys.readouterr().out
    assert f"grouped, seed 0, sha256 {split.sha256[:16]}" in printed
    assert f"train: {len(split.train)} images" in printed


def test_a_split_is_not_overwritten(source: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = ["split", str(source), "--out", str(tmp_path / "split.json")]
    assert run(arguments) == 0
    assert run(arguments) == 0
    assert run([*arguments, "--seed", "1"]) == 2
    assert "contains another split" in capsys.readouterr().err


def test_each_fold_is_written_to_its_own_file(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds"
    assert run(["split", str(source), "--out", str(out), "--folds", "3", "--repeats", "2"]) == 0
    names = [f"grouped-3-fold-r{r}-f{f}.json" for r in range(2) for f in range(3)]
    assert sorted(path.name for path in out.iterdir()) == names


def test_the_random_split_is_marked_as_leaky(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "random.json"
    assert run(["split", str(source), "--out", str(out), "--random-leaky"]) == 0
    split = read_split(out)
    assert (split.name, len(split.test)) == ("random-leaky", 5)
    records = group_records(load_source(source), FingerprintCache())
    with pytest.raises(LeakageError, match=r"set:yes/(00|copy)\.png"):
        read_split(out, records)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--fractions", "0.5,0.5"], "give four"),
        (["--fractions", "a,b,c,d"], "not numbers"),
        (["--fractions", "0.5,0.5,0.5,0.5"], "sum to 1"),
        (["--random-leaky", "--folds", "3"], "cannot be combined with"),
        (["--held-out", "elsewhere"], "held-out source elsewhere"),
    ],
)
def test_invalid_options_are_refused(
    source: Path, tmp_path: Path, capsys: Capture, extra: list[str], message: str
) -> None:
    assert run(["split", str(source), "--out", str(tmp_path / "s.json"), *extra]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()


def test_an_unknown_source_names_the_known_ones(tmp_path: Path, capsys: Capture) -> None:
    assert run(["split", "nowhere", "--out", str(tmp_path / "s.json")]) == 2
    assert "Known names: br35h, cheng2017, navoneel" in capsys.readouterr().err
