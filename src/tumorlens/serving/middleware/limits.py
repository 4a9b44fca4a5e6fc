"""Limits on the size, memory and time of one request, as pure ASGI middleware.

Bytes are counted while they stream in; a request that is refused early is answered before more of
its body is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import ClientGoneError, ProblemError, overloaded, path_of, response
from tumorlens.serving.settings import Settings

# Many files in one request: larger bodies, and more time.
BATCH_PATHS = frozenset(
    {"/predict/batch", "/predict/series", "/explain/series", "/report", "/dicom", "/fhir"}
)

# A refused client is often still sending. Closing at once would reset the connection before it has
# read the response, so some more is read and discarded first.
LINGER_BYTES = 4 * 2**20
LINGER_SECONDS = 1.0
# Reading the rest of a small body is cheaper than a new connection, of which there would be many
# under overload.
SMALL_BYTES = 2**20
# Statuses after which the same client is expected to retry.
_RETRIED = frozenset({429, 503})


class ByteBudget:
    """Upload bytes that one worker holds in memory, over all requests."""

    def __init__(self, total: int, metrics: Metrics) -> None:
        self.total = total
        self.metrics = metrics
        self.used = 0

    def reserve(self, count: int) -> None:
        """Reserve ``count`` bytes; raises the 503 problem when they exceed the budget."""
        if self.used + count > self.total:
            self.metrics.shed.labels("memory").inc()
            raise overloaded("Too many uploads are in flight.")
        self.used += count

    def release(self, count: int) -> None:
        """Release bytes reserved with :meth:`reserve`."""
        self.used -= count


class _Body:
    """The body of one request: limits the number of bytes and the time they take."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, settings: Settings, budget: ByteBudget
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._budget = budget
        batch = path_of(scope) in BATCH_PATHS
        self._limit = settings.batch_max_bytes if batch else settings.max_upload_bytes
        self._timeout = settings.body_timeout
        headers = dict(scope["headers"])
        self._declared = declared_length(headers.get(b"content-length"))
        self._waiting_for_continue = b"expect" in headers
        self._complete = not self._declared and b"transfer-encoding" not in headers
        self._deadline: float | None = None
        self.received = 0
        self.held = 0

    async def receive(self) -> Message:
        """Return the next message; raises 413, 408 or 503 problems as the bytes arrive."""
        if self._complete:
            return await self._receive()
        if self._declared is not None and self._declared > self._limit:
            raise self._too_large(self._declared)
        self._waiting_for_continue = False
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = len(message.get("body", b""))
        self.received += chunk
        self._complete = not message.get("more_body", False)
        if self.received > self._limit:
            raise self._too_large(self.received)
        self._budget.reserve(chunk)
        self.held += chunk
        return message

    async def send(self, message: Message) -> None:
        """Forward a message; a response before the end of the body closes the connection."""
        if message["type"] == "http.response.start" and message["status"] in _RETRIED:
            await self._finish_small()
        if self._complete:
            await self._send(message)
        elif message["type"] == "http.response.start":
            headers = [*message.get("headers", []), (b"connection", b"close")]
            await self._send({**message, "headers": headers})
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> Message:
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._timeout
        try:
            async with asyncio.timeout(self._deadline - now):
                return await self._receive()
        except TimeoutError:
            raise ProblemError(
                "upload-too-slow",
                f"The body did not arrive within {self._timeout:g} seconds.",
            ) from None

    async def _finish_small(self) -> None:
        """Read a small body to its end, so that the connection can be reused."""
        if not self._complete and self._declared and self._declared <= SMALL_BYTES:
            self._complete = await self._linger()

    async def _linger(self) -> bool:
        """Read and discard, within limits; returns whether the end of the body was reached."""
        if self._waiting_for_continue:
            return False
        discarded = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while discarded < LINGER_BYTES:
                    message = await self._receive()
                    discarded += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return bool(message["type"] == "http.request")
        return False

    def _too_large(self, size: int) -> ProblemError:
        return ProblemError(
            "too-large", f"The body has at least {size} bytes; the limit is {self._limit} bytes."
        )


def declared_length(value: bytes | None) -> int | None:
    """Return the number of bytes that a Content-Length field declares, if it is one."""
    return int(value) if value is not None and value.isdigit() else None


class BodyLimits:
    """ASGI middleware: the size, time and memory limits of request bodies."""

    def __init__(self, app: ASGIApp, settings: Settings, budget: ByteBudget) -> None:
        self.app = app
        self.settings = settings
        self.budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request through the bounded receive and send."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(scope, receive, send, self.settings, self.budget)
        scope.setdefault("state", {})["body"] = body
        try:
            await self.app(scope, body.receive, body.send)
        finally:
            self.budget.release(body.held)


class Deadline:
    """ASGI middleware: responds to problems raised below it, and with 504 at the time limit."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within its time limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        batch = path_of(scope) in BATCH_PATHS
        seconds = self.settings.batch_timeout if batch else self.settings.request_timeout
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(seconds):
                await self.app(scope, receive, watched)
        except ProblemError as problem:
            if started:
                raise
            await response(problem, scope)(scope, receive, send)
        except TimeoutError:
            if started:
                # The response is incomplete: close the connection, so that the client notices.
                scope["state"]["problem"] = "timeout"
                raise ClientGoneError from None
            timeout = ProblemError("timeout", f"No answer within {seconds:g} seconds.")
            await response(timeout, scope)(scope, receive, send)
