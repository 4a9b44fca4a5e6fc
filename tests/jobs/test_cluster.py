"""Ray on this machine: the same bytes as by processes, and our errors for its own.

How a node is lost in the middle takes a minute and is measured by ``benchmarks.cluster_endurance``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.conftest import InProcess
from tests.jobs.drawn import draw, job
from tumorlens.errors import ConfigError, ModelFileError
from tumorlens.jobs.cluster import answer_on_cluster
from tumorlens.jobs.items import Shard
from tumorlens.jobs.run import run_job
from tumorlens.jobs.settings import Settings

# Ray leaves sockets to the end of the process, and warns of its own future.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ray = pytest.importorskip("ray", reason="an extra")


def contents(out: Path) -> dict[str, bytes]:
    return {
        f"{kind}/{part.name}": part.read_bytes()
        for kind in ("results", "errors") for part in (out / kind).iterdir()
    }  # fmt: skip


def test_a_cluster_answers_what_one_machine_does(
    tmp_path: Path, here: InProcess, tiny_model_path: Path
) -> None:
    scans = draw(tmp_path / "s", 6)
    (scans / "text.png").write_text("text")
    run_job(job([scans], tmp_path / "one", tiny_model_path, shard_size=2))
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20)
    try:
        asked = job([scans], tmp_path / "two", tiny_model_path, shard_size=2, engine="ray",
                    workers=None)  # fmt: skip
        end = run_job(asked)
        assert (end.answered, end.failed) == (6, 1)
        assert contents(tmp_path / "two") == contents(tmp_path / "one")
        assert run_job(asked).worked == 0
        # In the same cluster, which takes longest to start: a model that does not fit the job.
        settings = Settings(model="0" * 64, output="csv")
        with pytest.raises(ModelFileError, match="was replaced"):
            list(answer_on_cluster([Shard(0, (), "s")], tiny_model_path, settings))
        assert ray.is_initialized()  # the caller's connection stays
    finally:
        ray.shutdown()


def test_no_cluster_at_the_address_is_told(tmp_path: Path, tiny_model_path: Path) -> None:
    asked = job([draw(tmp_path / "s", 1)], tmp_path / "out", tiny_model_path, engine="ray",
                address="nonsense://nowhere")  # fmt: skip
    with pytest.raises(ConfigError, match="no Ray cluster there"):
        run_job(asked)
