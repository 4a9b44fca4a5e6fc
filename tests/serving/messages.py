"""Requests played to the application message by message, through the ASGI interface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

BOUNDARY = b"b0undary"
START = b'--b0undary\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"\r\n--b0undary--\r\n"


def form(body: bytes) -> bytes:
    return START + body + END


@dataclass
class Talk:
    """One request, played to the application; counts what it asks for."""

    messages: Iterable[dict[str, Any] | None]
    headers: dict[str, str] = field(default_factory=dict)
    path: str = "/predict"
    sent: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0

    async def play(self, app: Any) -> None:
        waiting = iter(self.messages)

        async def receive() -> dict[str, Any]:
            self.asked += 1
            message = next(waiting, None)
            if message is None:
                await asyncio.Event().wait()  # a client that says nothing more
            assert message is not None
            return message

        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)

        headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
        scope = {
            "type": "http",
            "method": "POST",
            "path": self.path,
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [
                (name.encode(), value.encode())
                for name, value in {**headers, **self.headers}.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "http_version": "1.1",
        }
        await asyncio.wait_for(app(scope, receive, send), 20)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def problem(self) -> str:
        body = b"".join(message.get("body", b"") for message in self.sent[1:])
        return str(json.loads(body)["type"]).removeprefix("/problems/")


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}
CHUNKED = {"transfer-encoding": "chunked"}
