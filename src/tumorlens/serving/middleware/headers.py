"""Security headers for browsers, and CORS."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tumorlens.serving.problems import ProblemError, response

# 'blob:' and 'data:' are for the user's scan and its heat map. The page neither loads anything
# from another origin nor sends anything there.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HSTS = "max-age=31536000"


class SecurityHeaders:
    """ASGI middleware: adds the security headers to every response, errors included."""

    def __init__(self, app: ASGIApp, *, cross_origin: bool) -> None:
        self.app = app
        self.headers = dict(SECURITY_HEADERS)
        if cross_origin:
            # Pages of the allowed origins must be able to read the responses.
            self.headers["Cross-Origin-Resource-Policy"] = "cross-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with the headers added."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                if scope.get("scheme") == "https":
                    headers.setdefault("Strict-Transport-Security", HSTS)
                # Results of patients must not be cached. Only the page's files have an ETag:
                # browsers may cache those, and revalidate them each time.
                headers.setdefault("Cache-Control", "no-cache" if "etag" in headers else "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


class Cors(CORSMiddleware):
    """Starlette's CORS middleware, with problem documents for refused preflight requests."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=[
                "authorization",
                "content-type",
                "x-api-key",
                "x-request-id",
                "traceparent",
            ],
            expose_headers=[
                "x-request-id",
                "ratelimit",
                "ratelimit-policy",
                "retry-after",
                "inference-header-content-length",
            ],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Respond to a preflight request; a refused one gets a problem document."""
        result = super().preflight_response(request_headers)
        if result.status_code < 400:
            return result
        reason = bytes(result.body).decode("latin-1")
        refusal = ProblemError("malformed-request", f"CORS preflight refused: {reason}.")
        return response(refusal, {"path": "/"})
