"""Limits of HTTP connections that apply before there is a request.

uvicorn's protocol waits indefinitely for a request's head, accepts any number of connections, and
answers malformed requests in plain text, which is unsuitable for the open internet.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any, cast
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from tumorlens.serving.problems import MEDIA_TYPE, ProblemError, document

MAX_HEAD_BYTES = 32 * 1024
# Grace period for requests on idle connections that were sent just before the shutdown.
STOP_GRACE_SECONDS = 0.5


class ConnectionConfig(Config):
    """uvicorn's configuration with the limits of :class:`BoundedConnection`."""

    header_timeout: float = 10.0
    max_connections: int = 512
    write_timeout: float = 30.0


class _Shutdown:
    """Records that a server shuts down, from a place among its open connections.

    uvicorn shuts down the connections that it knows, and it knows one from ``connection_made``
    on: a turn of the event loop after it was accepted, with TLS a handshake after. One accepted
    just before would never hear of the shutdown and go on until the stop timeout cancels its
    request.
    """

    def __init__(self, server_state: ServerState) -> None:
        self.begun = False
        self._connections = cast("set[object]", server_state.connections)
        self._connections.add(self)

    def shutdown(self) -> None:
        """Be shut down as a connection is; uvicorn then waits until it is gone from the set."""
        self.begun = True
        self._connections.discard(self)


_SHUTDOWNS: WeakKeyDictionary[ServerState, _Shutdown] = WeakKeyDictionary()


class BoundedConnection(HttpToolsProtocol):
    """A connection with limits on the request head's time and size, and on their number."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        limits = config if isinstance(config, ConnectionConfig) else ConnectionConfig
        self.header_timeout = limits.header_timeout
        self.max_connections = limits.max_connections
        self.write_timeout = limits.write_timeout
        # Before the shutdown: asyncio drops what it accepts after it.
        if server_state not in _SHUTDOWNS:
            _SHUTDOWNS[server_state] = _Shutdown(server_state)
        self._server_shutdown = _SHUTDOWNS[server_state]
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it when there are too many."""
        super().connection_made(transport)
        # One of them is the record of the shutdown.
        if len(self.connections) - 1 > self.max_connections:
            detail = "Too many connections are open."
            self._refuse(ProblemError("overloaded", detail, headers={"Retry-After": "1"}))
            return
        self._expect_head()
        if self._server_shutdown.begun:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._stop_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data, unless the connection was already refused."""
        if self.transport.is_closing():
            return
        super().data_received(data)

    def pause_writing(self) -> None:
        """Start the write timeout: the client reads more slowly than the service sends."""
        self._stop_write_timer()
        # close() would wait for the client to read the rest; abort() drops the response.
        self._write_timer = self.loop.call_later(self.write_timeout, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Cancel the write timeout: the client has caught up."""
        self._stop_write_timer()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Start limiting the time and size of a request's head."""
        super().on_message_begin()
        self._head_bytes, self._in_head = 0, True
        if self._head_timer is None:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the request target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the bytes of a header field."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the head's timer, or refuse the request if the head is too large."""
        self._stop_timer()
        self._in_head = False
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(ProblemError("header-too-large"))
            raise _RefusedError
        super().on_headers_complete()
        if self._stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP with a problem document."""
        if not self.transport.is_closing():
            self._refuse(ProblemError("malformed-request", "This is not a valid HTTP request."))

    def shutdown(self) -> None:
        """Shut down; an idle connection gets a grace period for a request already sent."""
        self._stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(STOP_GRACE_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def _close_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _count(self, size: int) -> None:
        self._head_bytes += size
        # An endless header field never reaches on_headers_complete.
        if self._in_head and self._head_bytes > 2 * MAX_HEAD_BYTES:
            self._refuse(ProblemError("header-too-large"))
            raise _RefusedError

    def _expect_head(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.header_timeout, self._head_timed_out)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            detail = f"The request's head did not arrive within {self.header_timeout:g} seconds."
            self._refuse(ProblemError("upload-too-slow", detail))

    def _refuse(self, problem: ProblemError) -> None:
        scope = {"path": "/", "state": {"request_id": secrets.token_hex(16)}}
        body = json.dumps(document(problem, scope)).encode()
        head = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            "connection": "close",
            **problem.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.transport.write(STATUS_LINE[problem.kind.status] + lines.encode() + b"\r\n" + body)
        self.transport.close()


class _RefusedError(Exception):
    """Stops the parser after a refusal; httptools turns it into its own parser error."""
