"""Parser of multipart/form-data that keeps uploads in memory and never writes them to disk.

Web frameworks spool uploads to temporary files. Scans must not remain on a disk, so the parts are
held in memory, within the limits of :mod:`tumorlens.serving.middleware.limits`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from tumorlens.serving.problems import ProblemError

MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 8192
MAX_OTHER_PARTS = 16


@dataclass
class Upload:
    """The bytes of one uploaded file.

    The file name is not kept, since it may contain a patient's name, nor the declared content
    type, which is not trusted.
    """

    data: bytearray = field(default_factory=bytearray)

    def take(self) -> bytes:
        """Return the bytes and release the buffer, so that no second copy stays in memory."""
        taken = bytes(self.data)
        self.data.clear()
        return taken


class FormReader:
    """Collects the ``file`` parts of a form from a stream."""

    def __init__(self, content_type: str, max_files: int) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data":
            raise ProblemError(
                "unsupported-format",
                "The request body must be multipart/form-data with a part named 'file', or, where "
                "one image is expected, an image itself with its Content-Type.",
            )
        if not 1 <= len(boundary) <= 70:
            raise ProblemError("malformed-request", "The Content-Type names no usable boundary.")
        self.files: list[Upload] = []
        self._max_files = max_files
        self._others = 0
        self._ended = False
        self._current: Upload | None = None
        self._name, self._value, self._header_bytes = b"", b"", 0
        self._headers: dict[bytes, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_end": self._end,
            },
        )

    async def read(self, stream: AsyncIterator[bytes]) -> list[Upload]:
        """Return the uploaded files in order; raises the 400 problem for a broken form."""
        try:
            async for chunk in stream:
                if chunk:
                    self._parser.write(chunk)
            self._parser.finalize()
        except MultipartParseError as exc:
            raise ProblemError("malformed-request", "The multipart body is malformed.") from exc
        if not self._ended:
            raise ProblemError(
                "malformed-request", "The multipart body ends before its closing boundary."
            )
        if not self.files:
            raise ProblemError("malformed-request", "The form has no part named 'file'.")
        return self.files

    def _part_begin(self) -> None:
        self._headers, self._header_bytes = {}, 0
        self._name, self._value = b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > MAX_PART_HEADER_BYTES:
            raise ProblemError("malformed-request", "A part's header is too long.")

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""
        if len(self._headers) > MAX_PART_HEADERS:
            raise ProblemError("malformed-request", "A part has too many headers.")

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") == b"file":
            if b"filename" not in options:
                raise ProblemError(
                    "malformed-request", "The part named 'file' is a text field, not a file."
                )
            if len(self.files) >= self._max_files:
                raise ProblemError(
                    "too-large", f"The form has more than {self._max_files} file(s)."
                )
            self._current = Upload()
            self.files.append(self._current)
            return
        # Other fields are ignored, up to a limit.
        self._current = None
        self._others += 1
        if self._others > MAX_OTHER_PARTS:
            raise ProblemError("malformed-request", "The form has too many parts.")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.data += memoryview(data)[start:end]

    def _end(self) -> None:
        self._ended = True
