"""A connection whose client does not read: dropped in time, and not a moment earlier."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.server import ServerState

from tumorlens.serving.connection import BoundedConnection, ConnectionConfig


class Transport:
    """Stands for a socket; remembers that it was aborted."""

    def __init__(self) -> None:
        self.aborted = asyncio.Event()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.aborted.is_set()

    def abort(self) -> None:
        self.aborted.set()

    def close(self) -> None:
        raise AssertionError("closing would wait for the client")


async def _app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request was sent")


def connect() -> tuple[BoundedConnection, Transport]:
    config = ConnectionConfig(_app, lifespan="off", log_config=None)
    config.write_timeout = 0.02
    protocol = BoundedConnection(config, ServerState(), {}, asyncio.get_running_loop())
    transport = Transport()
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return protocol, transport


def test_a_client_that_does_not_read_is_dropped() -> None:
    async def scenario() -> None:
        protocol, transport = connect()
        protocol.pause_writing()
        await asyncio.wait_for(transport.aborted.wait(), 10)
        protocol.connection_lost(ConnectionAbortedError())

    asyncio.run(scenario())


def test_one_that_catches_up_is_kept() -> None:
    async def scenario() -> None:
        protocol, transport = connect()
        protocol.pause_writing()
        protocol.resume_writing()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(transport.aborted.wait(), 0.1)
        protocol.connection_lost(ConnectionAbortedError())

    asyncio.run(scenario())
