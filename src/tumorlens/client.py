"""A typed client of the service, with retries that honour ``Retry-After``.

    with Client("http://127.0.0.1:8000") as client:
        prediction = client.predict("scan.png")
        print(prediction.decision, prediction.prob)

Results have the fields of `inference.prediction.Prediction` and the ``request_id``. Only requests
that were certainly not processed are retried: 429, 503 and refused connections. File names are not
sent, because they may contain a patient's name.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ValidationError

from tumorlens.errors import MissingExtraError, ServiceError, UnreadableFileError
from tumorlens.serving.api.schemas import (
    BatchLine,
    ExplanationAnswer,
    PredictionAnswer,
)
from tumorlens.serving.api.series_schemas import SeriesLine, SeriesProgress

try:
    import httpx
except ImportError as exc:  # httpx is in the extra 'client'
    raise MissingExtraError("tumorlens.client", "client") from exc

Source = bytes | str | Path
Plane = Literal["axial", "coronal", "sagittal"]
Response = TypeVar("Response", bound=BaseModel)
RETRIED = frozenset({429, 503})
_FILE_TYPE = "application/octet-stream"


class Client:
    """Sends images to one service. Thread-safe."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 4,
        max_wait: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect to the service at ``url``.

        ``timeout`` is in seconds per request. Up to ``retries`` retries are made, unless the
        service asks to wait longer than ``max_wait`` seconds before one.
        """
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            base_url=url, timeout=timeout, headers=headers, transport=transport
        )
        self._retries = retries
        self._max_wait = max_wait
        self._sleep = sleep

    def predict(self, source: Source) -> PredictionAnswer:
        """Predict one image; raises `ServiceError` on a refusal."""
        return _parsed(PredictionAnswer, self._post("/predict", [source]).content)

    def explain(self, source: Source) -> ExplanationAnswer:
        """Predict one image, with its heat map."""
        return _parsed(ExplanationAnswer, self._post("/explain", [source]).content)

    def overlay(self, source: Source, *, opacity: float = 0.5) -> bytes:
        """Return the scan with its heat map as PNG; ``opacity`` is 0 to 1."""
        return self._post(
            "/explain", [source], params={"opacity": opacity}, headers={"Accept": "image/png"}
        ).content

    def predict_many(self, sources: Iterable[Source]) -> Iterator[BatchLine]:
        """Yield one result per image, in order; a zip archive stands for its members."""
        for line in self._post("/predict/batch", list(sources)).content.splitlines():
            yield _parsed(BatchLine, line)

    def predict_series(
        self,
        sources: Source | Iterable[Source],
        *,
        plane: Plane | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[SeriesLine]:
        """Yield one result per volume or DICOM series.

        Args:
            sources: A volume, a zip archive, a folder of files, or several of them.
            plane: Plane to cut; None: the plane of acquisition.
            progress: Called with the slices done and in total, as the service tells.
        """
        given = [sources] if isinstance(sources, bytes | str | Path) else list(sources)
        params = {"plane": plane} if plane else {}
        response = self._post("/predict/series", _with_folders(given), params=params, stream=True)
        with contextlib.closing(response):
            for line in _lines(response):
                if b'"done"' in line[:100]:
                    step = _parsed(SeriesProgress, line)
                    if progress is not None:
                        progress(step.done, step.of)
                else:
                    yield _parsed(SeriesLine, line)

    def model(self) -> dict[str, Any]:
        """Return the model's card and hash, and the service's limits."""
        card: dict[str, Any] = self._send("GET", "/model").json()
        return card

    def ready(self) -> bool:
        """Return whether the service accepts requests; never raises `ServiceError`."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections."""
        self.close()

    def _post(self, path: str, sources: list[Source], **options: Any) -> httpx.Response:
        files = [("file", ("image", _content(source), _FILE_TYPE)) for source in sources]
        return self._send("POST", path, files=files, **options)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        stream = bool(options.pop("stream", False))
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                request = self._http.build_request(method, path, **options)
                response = self._http.send(request, stream=stream)
                if stream and not response.is_success:
                    response.read()
                    response.close()
            except httpx.ConnectError as exc:
                if last:
                    raise ServiceError(f"{self._http.base_url}: no connection: {exc}") from exc
                self._sleep(_backoff(attempt))
                continue
            except httpx.TransportError as exc:
                # The request may have been processed: retrying is up to the caller.
                raise ServiceError(f"{self._http.base_url}: {type(exc).__name__}: {exc}") from exc
            wait = _retry_wait(response, attempt)
            if response.status_code not in RETRIED or last or wait > self._max_wait:
                return _checked(response)
            self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")


def _lines(response: httpx.Response) -> Iterator[bytes]:
    try:
        for line in response.iter_lines():
            yield line.encode()
    except httpx.TransportError as exc:
        raise ServiceError(f"the answer broke off: {type(exc).__name__}: {exc}") from exc


def _with_folders(sources: Iterable[Source]) -> list[Source]:
    """Replace each folder by the files below it, without hidden ones."""
    found: list[Source] = []
    for source in sources:
        if isinstance(source, bytes) or not Path(source).is_dir():
            found.append(source)
            continue
        found += sorted(
            each
            for each in Path(source).rglob("*")
            if each.is_file()
            and not any(part.startswith(".") for part in each.relative_to(source).parts)
        )
    return found


def _parsed(kind: type[Response], body: bytes) -> Response:
    try:
        return kind.model_validate_json(body)
    except ValidationError as exc:
        field = ".".join(str(part) for part in exc.errors()[0]["loc"])
        raise ServiceError(f"not a response of TumorLens: {field or 'no JSON'}") from exc


def _content(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as exc:
        raise UnreadableFileError(f"{source}: cannot be read: {exc.strerror}") from exc


def _backoff(attempt: int) -> float:
    # Jitter spreads the retries of clients that failed simultaneously.
    return float(min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.5))


def _retry_wait(response: httpx.Response, attempt: int) -> float:
    seconds = response.headers.get("retry-after", "")
    return float(seconds) if seconds.isdigit() else _backoff(attempt)


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    problem: dict[str, object] = {}
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        problem = response.json()
    detail = problem.get("detail", response.reason_phrase)
    title = problem.get("title", f"HTTP {response.status_code}")
    raise ServiceError(f"{title}: {detail}", response.status_code, problem)
