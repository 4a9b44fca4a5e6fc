"""Rate limit per API key or address, shared by all workers.

The generic cell rate algorithm (ITU-T I.371) needs one number for each client: the time at which
its quota is full again. A table of fixed size, which all workers map into memory, holds them, so
that the limit applies to the whole service and memory does not grow with the number of clients.
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

_SLOT = struct.Struct("<8sd")  # hash of the client, time at which its quota is full (monotonic)
_SLOTS = 65_536
_PROBES = 8


@dataclass(frozen=True)
class RateDecision:
    """The rate limiter's decision on one request; times in seconds."""

    allowed: bool
    remaining: int
    reset: int
    retry_after: int


class RateTable:
    """The clients' quotas, in a file shared by workers, or in memory for a single process."""

    def __init__(self, quota: int, window: int, path: Path | None) -> None:
        self._step = window / quota
        self._window = window
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        size = _SLOTS * _SLOT.size
        if self._file is not None:
            os.ftruncate(self._file, size)
        self._table = mmap.mmap(-1 if self._file is None else self._file, size)

    def count(self, client: bytes, now: float | None = None) -> RateDecision:
        """Count a request of ``client`` at ``now`` (monotonic seconds) if it is allowed."""
        now = time.monotonic() if now is None else now
        digest = hashlib.blake2b(client, digest_size=8).digest()
        with self._locked():
            offset, full_at = self._find(digest, now)
            next_full_at = max(full_at, now) + self._step
            # Tolerance for rounding errors of the sum of many steps.
            allowed = next_full_at - now <= self._window + 1e-6
            if allowed:
                full_at = next_full_at
                _SLOT.pack_into(self._table, offset, digest, full_at)
        used = max(0.0, full_at - now)
        return RateDecision(
            allowed=allowed,
            remaining=max(0, math.floor((self._window - used) / self._step + 1e-6)),
            reset=math.ceil(used),
            retry_after=max(1, math.ceil(next_full_at - now - self._window)),
        )

    def _find(self, digest: bytes, now: float) -> tuple[int, float]:
        """Return offset and time of a client's slot, or of the least used one to replace."""
        start = int.from_bytes(digest, "little") % _SLOTS
        best, earliest = -1, math.inf
        for probe in range(_PROBES):
            offset = (start + probe) % _SLOTS * _SLOT.size
            client, full_at = _SLOT.unpack_from(self._table, offset)
            if client == digest:
                return offset, full_at
            if full_at < earliest:
                best, earliest = offset, full_at
        return best, now

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        import fcntl  # not on Windows, where the service does not run

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
    """ASGI middleware: 429 over the limit, and the IETF RateLimit fields on every response."""

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
        # Wrong keys count against the address, which limits the guessing of keys.
        decision = self.table.count(known_digest(scope, self.keys) or _address(scope))
        fields = {
            "RateLimit-Policy": self.policy,
            "RateLimit": f'"default";r={decision.remaining};t={decision.reset}',
        }
        if not decision.allowed:
            headers = {**fields, "Retry-After": str(decision.retry_after)}
            raise ProblemError("rate-limited", headers=headers)

        async def with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(fields)
            await send(message)

        await self.app(scope, receive, with_fields)


def _address(scope: Scope) -> bytes:
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.encode()
    if address.version == 6:
        # A subscriber usually controls a whole /64 network.
        return ipaddress.ip_network((address, 64), strict=False).network_address.packed
    return address.packed
