"""A server that answers the Hub's client as the Hub does, for files made in the test."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


def commit(name: str) -> str:
    """A commit's hash, as git has them."""
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


@dataclass
class StandIn:
    """What the server has, how it behaves, and what it was asked.

    ``files`` maps (repository, revision, path) to content; each revision is also known by its
    commit.
    """

    files: dict[tuple[str, str, str], bytes]
    status: int = 200
    gated: bool = False
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def find(self, repo: str, revision: str, path: str) -> tuple[int, str, str, bytes]:
        """Status, error code, commit and content of an answer."""
        if self.status != 200:
            return self.status, "", "", b""
        if self.gated:
            return 403, "GatedRepo", "", b""
        known = {name for owner, name, _ in self.files if owner == repo}
        if not known:
            return 401, "RepoNotFound", "", b""
        found = [name for name in known if revision in (name, commit(name))]
        if not found:
            return 404, "RevisionNotFound", "", b""
        content = self.files.get((repo, found[0], path))
        if content is None:
            return 404, "EntryNotFound", commit(found[0]), b""
        return 200, "", commit(found[0]), content


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[StandIn]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        owner, name, _, revision, *path = self.path.strip("/").split("/")
        self.hub.asked.append(f"{self.command} {owner}/{name}@{revision}")
        status, code, sha, content = self.hub.find(f"{owner}/{name}", revision, "/".join(path))
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "no")
        if sha:
            self.send_header("X-Repo-Commit", sha)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def serve(files: dict[tuple[str, str, str], bytes]) -> Iterator[StandIn]:
    hub = StandIn(files)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
