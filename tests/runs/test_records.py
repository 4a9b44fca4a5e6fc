"""The tables of further images and whole heads among a run's records."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.drawn_sets import draw_set
from tests.data.drawn_volumes import HEALTHY, draw_volume, save_volume, write_table
from tumorlens.errors import SourceNotFoundError
from tumorlens.runs.compose import compose_config
from tumorlens.runs.data_config import DataConfig, SplitConfig
from tumorlens.runs.records import load_records, make_split, read_records

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("experiment", ["default", "quick", "teacher"])
def test_without_the_tables_it_is_said_what_is_missing(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORLENS_MORE", str(tmp_path / "more"))
    data = compose_config([f"experiment={experiment}", f"data.root={tmp_path}"]).data
    with pytest.raises(SourceNotFoundError) as refused:
        read_records(data)
    told = str(refused.value)
    assert f"{tmp_path}/more/images.csv and {tmp_path}/more/heads.csv: no such table" in told
    assert "set TUMORLENS_MORE" in told
    assert "data=all_sources" in told
    without = compose_config([f"experiment={experiment}", "data=all_sources", "data.root=."]).data
    assert (without.manifests, without.heads, without.split.earlier) == ((), (), None)


def test_images_and_heads_of_one_person_stay_on_one_side(tmp_path: Path) -> None:
    draw_set(tmp_path, 8, 8)
    persons = [f"p{at}" for at in range(8)]
    images = [
        {"path": f"{folder}/{at:02}.png", "label": label, "source": "site", "sequence": "T1",
         "person": persons[at]}
        for folder, label in (("yes", "tumor"), ("no", "clear"))
        for at in range(8)
    ]  # fmt: skip
    images[-1] |= {"label": "not_mri", "person": ""}
    shape = (40, 40, 12)
    for at in range(2):
        save_volume(tmp_path / "heads" / f"{at}.nii.gz", draw_volume(shape, at), (1.0, 1.0, 6.0))
    rows = [{"file": f"{at}.nii.gz", **HEALTHY, "person": persons[at]} for at in range(2)]
    data = DataConfig(
        root=tmp_path,
        sources=(),
        manifests=(write_table(tmp_path / "images.csv", images),),
        heads=(write_table(tmp_path / "heads.csv", rows),),
        heads_every_mm=0,
        split=SplitConfig(train=0.5, validation=0.0, calibration=0.0, test=0.5),
    )
    records = load_records(data)
    assert {record.source for record in records} == {"site", "some_site_x1_heads"}
    part_of = {
        key: part for part, keys in make_split(data, records).parts().items() for key in keys
    }
    # What is no MRI is read, for the detector, but in no part.
    assert [r.key for r in records if r.key not in part_of] == ["site:no/07.png"]
    for person in persons:
        own = [record for record in records if record.person == person]
        assert len(own) > (10 if person in ("p0", "p1") else 0)
        assert len({part_of[record.key] for record in own}) == 1
    assert len(set(part_of.values())) == 2
