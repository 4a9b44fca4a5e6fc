"""Bounds on what one request may send, hold and take, in pure ASGI.

Nothing here waits for a whole body: bytes are counted while they stream in, and a request
that is refused early is answered before another byte is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tumorlens.serving.observability.metrics import Metrics
from tumorlens.serving.problems import ClientGoneError, ProblemError, overloaded, path_of, response
from tumorlens.serving.processing.pool import Arrival, Pool
from tumorlens.serving.settings import Settings

BATCH_PATH = "/predict/batch"
IMAGE_PATHS = frozenset({"/predict", "/explain", BATCH_PATH})

# A refused client is often still sending. Closing at once would reset the connection and
# destroy the answer it has not read yet, so a little more is read and discarded first.
LINGER_BYTES = 4 * 2**20
LINGER_SECONDS = 1.0
# The rest of a small body costs less than the new connection its client would have to open,
# and under overload it is those connections that pile up.
SMALL_BYTES = 2**20


# Refusals after which the same client is expected to ask again.
_KEPT = frozenset({429, 503})


class ByteBudget:
    """Bytes of uploads that one worker holds at the same time, over all requests."""

    def __init__(self, total: int, metrics: Metrics) -> None:
        self.total = total
        self.metrics = metrics
        self.used = 0

    def take(self, count: int) -> None:
        """Reserve ``count`` bytes, or raise the 503 problem when they do not fit."""
        if self.used + count > self.total:
            self.metrics.shed.labels("memory").inc()
            raise overloaded("Too many uploads are in flight.")
        self.used += count

    def give(self, count: int) -> None:
        """Return bytes reserved with :meth:`take`."""
        self.used -= count


class _Body:
    """The body of one request: counts, bounds and times the bytes that stream in."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, settings: Settings, budget: ByteBudget
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._budget = budget
        batch = path_of(scope) == BATCH_PATH
        self._limit = settings.batch_max_bytes if batch else settings.max_upload_bytes
        self._patience = settings.body_timeout
        headers = dict(scope["headers"])
        self._declared = _length(headers.get(b"content-length"))
        self._waiting_for_continue = b"expect" in headers
        self._complete = not self._declared and b"transfer-encoding" not in headers
        self._deadline: float | None = None
        self.received = 0
        self.held = 0

    async def receive(self) -> Message:
        """Return the next message; raises 413, 408 or 503 problems as the bytes come in."""
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
        self._budget.take(chunk)
        self.held += chunk
        return message

    async def send(self, message: Message) -> None:
        """Send on; an answer given before the body ended closes the connection politely."""
        if message["type"] == "http.response.start" and message["status"] in _KEPT:
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
            self._deadline = now + self._patience
        try:
            async with asyncio.timeout(self._deadline - now):
                return await self._receive()
        except TimeoutError:
            raise ProblemError(
                "upload-too-slow",
                f"The body did not arrive within {self._patience:g} seconds.",
            ) from None

    async def _finish_small(self) -> None:
        """Read a small body to its end, so that the connection can be used again."""
        if not self._complete and self._declared and self._declared <= SMALL_BYTES:
            self._complete = await self._linger()

    async def _linger(self) -> bool:
        """Read on and discard, within bounds; tells whether the body's end was reached."""
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


def _length(value: bytes | None) -> int | None:
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
            self.budget.give(body.held)


class LoadShedding:
    """ASGI middleware: refuses images at once while the queue is full.

    The routes refuse as well. This refusal comes before routing, keys and bodies: under overload
    most requests are refused, and the work of refusing delays those that were accepted.
    """

    def __init__(self, app: ASGIApp, pool: Pool) -> None:
        self.app = app
        self.pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 503."""
        if scope["type"] != "http" or path_of(scope) not in IMAGE_PATHS:
            await self.app(scope, receive, send)
            return
        declared = _length(dict(scope["headers"]).get(b"content-length"))
        # The server discards a small body by itself; a larger one needs BodyLimits.
        if self.pool.crowded and declared is not None and declared <= SMALL_BYTES:
            await response(self.pool.refusal(), scope)(scope, receive, send)
            return
        arrival = Arrival(self.pool)
        scope.setdefault("state", {})["arrival"] = arrival
        try:
            await self.app(scope, receive, send)
        finally:
            arrival.leave()


class Deadline:
    """ASGI middleware: answers refusals raised below it, and 504 when time is up."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within its time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        batch = path_of(scope) == BATCH_PATH
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
                # The answer is half sent: all that is left is to cut it off visibly.
                scope["state"]["problem"] = "timeout"
                raise ClientGoneError from None
            late = ProblemError("timeout", f"No answer within {seconds:g} seconds.")
            await response(late, scope)(scope, receive, send)
