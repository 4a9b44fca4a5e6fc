"""Connections by themselves: clients that do not read, and the stop of the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.lifespan.off import LifespanOff
from uvicorn.server import Server, ServerState

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


class Socket:
    """Stands for a socket that is read at once; keeps what was written to it."""

    def __init__(self) -> None:
        self.protocol: BoundedConnection | None = None
        self.written = b""
        self.closed = asyncio.Event()

    def accepted_by(self, protocol: BoundedConnection) -> None:
        self.protocol = protocol
        protocol.connection_made(self)  # type: ignore[arg-type]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        if not self.closed.is_set() and self.protocol is not None:
            self.closed.set()
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


async def _ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 204 No Content"), (b"", b"")],
    ids=["asked", "idle"],
)
@pytest.mark.parametrize("made", ["before the stop", "after the stop"])
def test_the_stop_closes_what_was_accepted_before_it(made: str, sent: bytes, answer: bytes) -> None:
    # The first callback of a connection follows a turn of the loop after it was accepted.
    async def scenario() -> bytes:
        config = ConnectionConfig(_ok, lifespan="off", log_config=None, timeout_keep_alive=600)
        server = Server(config)
        server.servers, server.lifespan = [], LifespanOff(config)
        protocol = BoundedConnection(config, server.server_state, {}, asyncio.get_running_loop())
        client = Socket()
        if made == "before the stop":
            client.accepted_by(protocol)
        stop = asyncio.create_task(server.shutdown())
        await asyncio.sleep(0)
        if made == "after the stop":
            client.accepted_by(protocol)
        if sent:
            protocol.data_received(sent)
        await asyncio.wait_for(client.closed.wait(), 10)
        await asyncio.wait_for(stop, 10)
        return client.written

    written = asyncio.run(scenario())
    assert written.partition(b"\r\n")[0] == answer
    assert (b"connection: close" in written) is bool(sent)


def test_the_limit_of_connections_is_the_number_that_is_served() -> None:
    async def scenario() -> list[bytes]:
        config = ConnectionConfig(_app, lifespan="off", log_config=None)
        config.max_connections = 2
        state, loop = ServerState(), asyncio.get_running_loop()
        clients = [Socket() for _ in range(3)]
        for client in clients:
            client.accepted_by(BoundedConnection(config, state, {}, loop))
        for client in clients:
            client.close()
        await asyncio.sleep(0)
        return [client.written[:12] for client in clients]

    assert asyncio.run(scenario()) == [b"", b"", b"HTTP/1.1 503"]
