"""A server of a few lines: good, bad and broken answers by route; its port is its argument."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD = b'{"prob": 0.25}'
ANSWERS = {
    "/good": (200, GOOD, len(GOOD)),
    "/refused": (503, GOOD, len(GOOD)),
    "/no-json": (200, b"<html>", 6),
    "/no-prob": (200, b'{"label": "x"}', 14),
    "/cut": (200, GOOD, len(GOOD) + 10),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert b"scan.jpg" in self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (GOOD[:5], GOOD[5:], b""):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            return
        status, body, length = ANSWERS[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == "/cut"

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    if sys.argv[1] == "0":
        sys.exit("this server fails")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
