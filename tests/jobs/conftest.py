"""Jobs that need no process of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tumorlens.inference.predictor import Predictor
from tumorlens.jobs.answer import answer_shard
from tumorlens.jobs.items import Shard
from tumorlens.jobs.settings import Settings, ShardResult


class InProcess:
    """Stands for the processes: answers here, and counts the shards."""

    def __init__(self) -> None:
        self.shards: list[int] = []
        self.stop_after: int | None = None

    def __call__(
        self, shards: Iterable[Shard], model: Path, settings: Settings, workers: int
    ) -> Iterator[ShardResult]:
        predictor = Predictor.open(model, threads=1, provider=settings.provider)
        for shard in shards:
            if self.stop_after is not None and len(self.shards) >= self.stop_after:
                raise KeyboardInterrupt
            self.shards.append(shard.index)
            yield answer_shard(predictor, Shard.from_json(shard.to_json()), settings)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Answer in this process instead of others."""
    engine = InProcess()
    monkeypatch.setattr("tumorlens.jobs.run.answer_locally", engine)
    return engine
