"""Bodies and queues at their limits, driven message by message through the ASGI interface."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.serving import scans
from tests.serving.messages import CHUNKED, GONE, START, Talk, form, part
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.app import create_app
from tumorlens.serving.middleware.limits import ByteBudget
from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import ProblemError
from tumorlens.serving.processing.service import Service
from tumorlens.serving.settings import Settings


def run(predictor: Predictor, *talks: Talk, **settings: Any) -> Service:
    app = create_app(predictor, Settings(**settings))

    async def together() -> None:
        await asyncio.gather(*(talk.play(app) for talk in talks))

    asyncio.run(together())
    service: Service = app.state.service
    service.pool.close()
    return service


def test_a_declared_length_over_the_limit_asks_for_no_byte(predictor: Predictor) -> None:
    talk = Talk([], {"content-length": "1001", "expect": "100-continue"})
    run(predictor, talk, max_upload_bytes=1000)
    assert (talk.status, talk.problem, talk.asked) == (413, "too-large", 0)


def test_a_chunked_body_is_refused_with_the_byte_too_many(predictor: Predictor) -> None:
    chunks = [part(START), part(bytes(400)), part(bytes(400)), part(bytes(400))]
    talk = Talk(chunks, CHUNKED)
    run(predictor, talk, max_upload_bytes=1000)
    assert (talk.status, talk.problem) == (413, "too-large")
    assert (b"connection", b"close") in talk.sent[0]["headers"]


def test_a_body_of_exactly_the_limit_is_taken(predictor: Predictor) -> None:
    body = form(scans.png_scan())
    talk = Talk([part(body, more=False)], {"content-length": str(len(body))})
    run(predictor, talk, max_upload_bytes=len(body))
    assert talk.status == 200


def test_a_slow_body_is_given_up(predictor: Predictor) -> None:
    talk = Talk([part(START)], CHUNKED)
    run(predictor, talk, body_timeout=0.05)
    assert (talk.status, talk.problem) == (408, "upload-too-slow")


def test_what_one_client_holds_is_shed_for_the_other_and_given_back(predictor: Predictor) -> None:
    hold = Talk([part(START + bytes(700))], CHUNKED)
    late = Talk([part(form(bytes(700)), more=False)], CHUNKED)
    settings = {"buffer_bytes": 1000, "max_upload_bytes": 1000, "batch_max_bytes": 1000}
    run(predictor, hold, late, body_timeout=0.2, **settings)
    assert (late.status, late.problem) == (503, "overloaded")
    assert (hold.status, hold.problem) == (408, "upload-too-slow")
    again = Talk([part(form(bytes(700)), more=False)], CHUNKED)
    run(predictor, again, **settings)
    assert again.status == 415


def test_the_budget_is_whole_again_after_every_way_out() -> None:
    budget = ByteBudget(10, Metrics())
    budget.reserve(10)
    with pytest.raises(ProblemError):
        budget.reserve(1)
    budget.release(10)
    budget.reserve(10)


def test_a_client_that_leaves_while_sending_gets_no_answer(predictor: Predictor) -> None:
    talk = Talk([part(START), GONE], CHUNKED)
    run(predictor, talk)
    assert talk.sent == []


@pytest.fixture
def stuck(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make the forward pass wait until the returned event is set."""
    free = threading.Event()
    real = Predictor.infer

    def wait(self: Predictor, batch: Any) -> Any:
        assert free.wait(20)
        return real(self, batch)

    monkeypatch.setattr(Predictor, "infer", wait)
    return free


@pytest.mark.parametrize(("length", "closes"), [(1000, False), (2**21, True)])
def test_a_full_service_sheds_before_it_reads(
    predictor: Predictor, stuck: threading.Event, length: int, closes: bool
) -> None:
    first = Talk([part(form(scans.png_scan()), more=False)], CHUNKED)
    shed = Talk([], {"content-length": str(length), "expect": "100-continue"})

    async def scenario() -> None:
        app = create_app(predictor, Settings(inference_threads=1, max_wait_s=0))
        running = asyncio.create_task(first.play(app))
        while not app.state.service.pool.full:
            await asyncio.sleep(0)
        await shed.play(app)
        stuck.set()
        await running
        app.state.service.pool.close()

    asyncio.run(scenario())
    assert (shed.status, shed.problem, shed.asked) == (503, "overloaded", 0)
    headers = dict(shed.sent[0]["headers"])
    assert int(headers[b"retry-after"]) >= 1
    assert (headers.get(b"connection") == b"close") is closes
    assert first.status == 200


def test_a_late_answer_becomes_504(predictor: Predictor, stuck: threading.Event) -> None:
    talk = Talk([part(form(scans.png_scan()), more=False)], CHUNKED)

    async def scenario() -> None:
        app = create_app(predictor, Settings(request_timeout=0.3))
        await talk.play(app)
        stuck.set()
        app.state.service.pool.close()

    asyncio.run(scenario())
    assert (talk.status, talk.problem) == (504, "timeout")


def test_a_client_that_leaves_stops_its_work(predictor: Predictor, stuck: threading.Event) -> None:
    body = form(scans.png_scan())
    leaver = Talk([part(body, more=False), GONE], CHUNKED)
    stayer = Talk([part(body, more=False)], CHUNKED)

    async def scenario() -> None:
        app = create_app(predictor, Settings(inference_threads=1, max_wait_s=60))
        await leaver.play(app)
        stuck.set()
        await stayer.play(app)
        app.state.service.pool.close()

    asyncio.run(scenario())
    assert leaver.sent == []
    assert stayer.status == 200
