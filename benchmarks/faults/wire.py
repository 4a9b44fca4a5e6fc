"""A plain HTTP/1.1 client for asyncio: cheap enough to overload a server from its own machine."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

BOUNDARY = "faults-boundary"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def post(path: str, image: bytes, *, extra: str = "") -> bytes:
    """Return a whole request that uploads one image."""
    body = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
        'name="file"; filename="a"\r\nContent-Type: application/octet-stream\r\n\r\n'
    ).encode()
    body += image + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{extra}"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """One connection that is opened again when the server closes it."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self._reader, self._writer

    async def ask(self, request: bytes) -> Answer:
        """Send one request and return its answer; raises OSError or EOFError when cut off."""
        begin = time.perf_counter()
        reused = self._writer is not None
        try:
            return await self._exchange(request, begin)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            # A kept connection may have been closed while it idled: every client tries again.
            if not reused or getattr(error, "partial", b""):
                raise
        return await self._exchange(request, begin)

    async def _exchange(self, request: bytes, begin: float) -> Answer:
        reader, writer = await self.open()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        seconds = time.perf_counter() - begin
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(lines[0].split()[1]), headers, body, seconds)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
