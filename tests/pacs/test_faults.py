"""Killed at random moments, every acknowledged series is answered once: the quick form.

The full one, with disk, archive and data base away, is ``python -m benchmarks.pacs_faults``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.pacs_faults import killed, without

pytestmark = [pytest.mark.slow, pytest.mark.system("orthanc", "storescu")]


@pytest.mark.parametrize(("verb", "series", "kills"), [("listen", 20, 3), ("watch", 10, 2)])
def test_killed_and_started_again_each_series_is_answered_once(
    verb: str, series: int, kills: int, tmp_path: Path
) -> None:
    found = killed(verb, tmp_path, series=series, kills=kills)
    assert found["answered_once"] == series, found
    assert found["answered_more_than_once"] == found["dead_letters"] == 0
    assert found["canaries_in_the_log"] == 0


def test_an_archive_that_is_away_loses_nothing(tmp_path: Path) -> None:
    found = without("orthanc", tmp_path, series=6, seconds=2.0)
    assert found["answered_once"] == 6, found
    assert found["refused_meanwhile"] == found["canaries_in_the_log"] == 0
