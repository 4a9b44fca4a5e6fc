"""Requests per key or address and time, right over several workers.

The algorithm is the generic cell rate algorithm (ITU-T I.371): one number a client, the
time at which its allowance is whole again. That fits a table of fixed size in memory that
all workers map, so the limit holds for the service and memory does not grow with clients.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tumorlens.serving.middleware.access import is_open, known_digest
from tumorlens.serving.observability.metrics import shared_folder
from tumorlens.serving.problems import ProblemError
from tumorlens.serving.settings import Settings

_SLOT = struct.Struct("<8sd")  # who (hash), when the allowance is whole again (monotonic)
_SLOTS = 65_536
_PROBES = 8


@dataclass(frozen=True)
class Verdict:
    """What the limiter says of one request; times in seconds."""

    allowed: bool
    remaining: int
    reset: int
    retry_after: int


class RateTable:
    """The clients' allowances; in a file when workers share them, else in memory."""

    def __init__(self, quota: int, window: int, path: Path | None) -> None:
        self._step = window / quota
        self._window = window
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        size = _SLOTS * _SLOT.size
        if self._file is not None:
            os.ftruncate(self._file, size)
        self._table = mmap.mmap(-1 if self._file is None else self._file, size)

    def count(self, who: bytes, now: float | None = None) -> Verdict:
        """Count one request of ``who`` at ``now`` (monotonic seconds) if it is allowed."""
        now = time.monotonic() if now is None else now
        digest = hashlib.blake2b(who, digest_size=8).digest()
        with self._locked():
            offset, whole = self._find(digest, now)
            after = max(whole, now) + self._step
            # A hair of slack: the sum of many steps may exceed the window by rounding.
            allowed = after - now <= self._window + 1e-6
            if allowed:
                whole = after
                _SLOT.pack_into(self._table, offset, digest, whole)
        used = max(0.0, whole - now)
        return Verdict(
            allowed=allowed,
            remaining=max(0, math.floor((self._window - used) / self._step + 1e-6)),
            reset=math.ceil(used),
            retry_after=max(1, math.ceil(after - now - self._window)),
        )

    def _find(self, digest: bytes, now: float) -> tuple[int, float]:
        """Return the slot of a client, or the one it may take: free, or nearest to it."""
        start = int.from_bytes(digest, "little") % _SLOTS
        best, best_whole = -1, math.inf
        for probe in range(_PROBES):
            offset = (start + probe) % _SLOTS * _SLOT.size
            who, whole = _SLOT.unpack_from(self._table, offset)
            if who == digest:
                return offset, whole
            if whole < best_whole:
                best, best_whole = offset, whole
        return best, now

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        import fcntl  # Windows has none, and no workers that would share a table

        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the table and its file."""
        self._table.close()
        if self._file is not None:
            os.close(self._file)


class RateLimit:
    """ASGI middleware: 429 over the limit, and the IETF RateLimit fields on every answer."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: tuple[bytes, ...]) -> None:
        self.app = app
        self.keys = keys
        folder = shared_folder()
        path = None if folder is None else folder / "rates"
        self.table = RateTable(settings.rate_limit, settings.rate_window, path)
        self.policy = f'"default";q={settings.rate_limit};w={settings.rate_window}'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise the ``rate-limited`` problem."""
        if scope["type"] != "http" or is_open(scope):
            await self.app(scope, receive, send)
            return
        verdict = self.table.count(self._who(scope))
        fields = {
            "RateLimit-Policy": self.policy,
            "RateLimit": f'"default";r={verdict.remaining};t={verdict.reset}',
        }
        if not verdict.allowed:
            headers = {**fields, "Retry-After": str(verdict.retry_after)}
            raise ProblemError("rate-limited", headers=headers)

        async def with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in fields.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, with_fields)

    def _who(self, scope: Scope) -> bytes:
        # Wrong keys count against the address, so that guessing keys is limited too.
        digest = known_digest(scope, self.keys)
        return digest or _address(scope)


def _address(scope: Scope) -> bytes:
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.encode()
    if address.version == 6:
        # A household holds a /64: one address of it is as good as another.
        return ipaddress.ip_network((address, 64), strict=False).network_address.packed
    return address.packed
