"""A server that answers Kaggle's client as Kaggle does, for data sets made in the test."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


@dataclass
class StandIn:
    """What the server has, how it behaves, and what it was asked."""

    files: dict[str, bytes]
    version: int = 1
    status: int = 200
    damage: bool = False
    cut: bool = False
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def archive(self) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in self.files.items():
                archive.writestr(name, content)
        return packed.getvalue()


class _Handler(BaseHTTPRequestHandler):
    kaggle: ClassVar[StandIn]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        service = self.path.rpartition("/")[2]
        self.kaggle.asked.append(service)
        if self.kaggle.status != 200:
            self._json({"code": self.kaggle.status, "message": "no"}, self.kaggle.status)
        elif service == "GetDataset":
            self._json({"currentVersionNumber": self.kaggle.version}, 200)
        else:
            self._archive()

    def _json(self, body: dict[str, object], status: int) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _archive(self) -> None:
        content = self.kaggle.archive()
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        if self.kaggle.damage:
            content = content[:-1] + b"?"
        self.send_response(200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-goog-hash", f"md5={digest}")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.kaggle.cut else content)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[StandIn]:
    kaggle = StandIn(files)
    handler = type("Handler", (_Handler,), {"kaggle": kaggle})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        kaggle.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield kaggle
        finally:
            server.shutdown()
            thread.join()
