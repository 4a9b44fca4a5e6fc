"""Access control by API keys and host names, before the body is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tumorlens.errors import ConfigError
from tumorlens.serving.problems import ProblemError, path_of
from tumorlens.serving.settings import Settings

# Open without a key: the page, which asks for one; health probes; and the documentation.
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
OPEN_PATHS |= {"/v2/health/live", "/v2/health/ready"}
OPEN_PREFIXES = ("/assets/", "/examples/", "/problems")


def load_keys(settings: Settings) -> tuple[bytes, ...]:
    """Return the SHA-256 of each configured key; empty when none is set.

    Raises :class:`ConfigError` when the key file cannot be read or holds no key, so that a
    misconfigured service is never open.
    """
    keys = settings.api_keys.get_secret_value().split(",")
    if settings.api_keys_file is not None:
        keys += _read_key_file(settings.api_keys_file)
    return tuple(_digest(key.strip().encode()) for key in keys if key.strip())


def _read_key_file(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"TUMORLENS_API_KEYS_FILE: {path} cannot be read: {exc}") from exc
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"TUMORLENS_API_KEYS_FILE: {path} holds no key; write one per line")
    return keys


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the key in ``Authorization: Bearer`` or ``X-API-Key``, or None."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
    return None


class ApiKeys:
    """ASGI middleware: 401 for protected paths without a valid key, in constant time."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: tuple[bytes, ...]) -> None:
        self.app = app
        self.keys = keys
        self.metrics_open = not settings.metrics_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise the ``unauthorized`` problem."""
        protected = scope["type"] == "http" and self.keys and not self._is_open(scope)
        if protected and known_digest(scope, self.keys) is None:
            missing = presented_key(scope["headers"]) is None
            raise ProblemError(
                "unauthorized",
                "No API key was sent." if missing else "The API key is not known.",
                headers={"WWW-Authenticate": 'Bearer realm="tumorlens"'},
            )
        await self.app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        if path_of(scope) == "/metrics":
            return self.metrics_open
        return is_open(scope)


def is_open(scope: Scope) -> bool:
    """Return whether a path needs no key and is exempt from the rate limit."""
    path = path_of(scope)
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES) or scope["method"] == "OPTIONS"


def known_digest(scope: Scope, keys: tuple[bytes, ...]) -> bytes | None:
    """Return the digest of the presented key when it is one of ``keys``, in constant time."""
    key = presented_key(scope["headers"])
    if key is None:
        return None
    digest = _digest(key)
    # All keys are compared, even after a match, so that the time taken reveals nothing.
    found = False
    for known in keys:
        found |= hmac.compare_digest(known, digest)
    return digest if found else None


class TrustedHosts(TrustedHostMiddleware):
    """Starlette's check of the Host header, with problem documents as responses."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        async def trusted(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, getattr(send, "send", send))

        super().__init__(trusted, hosts or None, www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise the ``untrusted-host`` problem."""
        await super().__call__(scope, receive, _Refusal(send))


class _Refusal:
    """Replaces ``send`` in the middleware, which uses it only to refuse."""

    def __init__(self, send: Send) -> None:
        self.send = send

    async def __call__(self, message: Message) -> None:
        raise ProblemError("untrusted-host")
