"""Settings of the service, from environment, ``.env`` file and flags of ``tumorlens serve``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tumorlens.errors import ConfigError
from tumorlens.inference.cores import usable_cores

PREFIX = "TUMORLENS_"
# Variables with the same prefix that are not settings of the service.
OTHER_VARIABLES = frozenset({"TUMORLENS_DATA", "TUMORLENS_MORE", "TUMORLENS_CACHE"})
OTHER_PREFIX = "TUMORLENS_PACS_"  # checked by `tumorlens pacs`

Names = Annotated[tuple[str, ...], NoDecode]
MIB = 2**20


class Settings(BaseSettings):
    """The settings of the service; each is also the variable ``TUMORLENS_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one."
    )
    workers: int = Field(default=1, ge=1, le=64, description="Processes that serve the same port.")
    model: Path | None = Field(
        default=None, description="Model file; empty means the packaged default."
    )
    reload_seconds: float = Field(
        default=5.0,
        ge=0,
        description="Seconds between checks of the model file; 0: no checks.",
    )
    inference_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Images processed at once per worker; 0: cores / workers.",
    )
    max_wait_s: float = Field(
        default=2.0,
        ge=0,
        description="Seconds to an answer that may be expected; further images get 503.",
    )
    max_upload_bytes: int = Field(default=32 * MIB, ge=1, description="Largest request body.")
    max_pixels: int = Field(
        default=16_777_216,
        ge=1,
        description="Pixels of one image, checked before decoding.",
    )
    buffer_bytes: int = Field(
        default=64 * MIB,
        ge=1,
        description="Bytes of all uploads in a worker together; further ones get 503.",
    )
    batch_max_files: int = Field(default=64, ge=1, description="Most images in one batch request.")
    batch_max_bytes: int = Field(
        default=64 * MIB,
        ge=1,
        description="Largest batch or series body; largest zip, unpacked.",
    )
    series_max_files: int = Field(
        default=1024, ge=1, description="Most files of a series request, in zips or by themselves."
    )
    series_max_voxels: int = Field(
        default=2**25, ge=1, description="Voxels of one volume or series, checked before decoding."
    )
    header_timeout: float = Field(default=10.0, gt=0, description="Seconds to receive the headers.")
    body_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds to receive a body, and to send an answer.",
    )
    request_timeout: float = Field(default=60.0, gt=0, description="Seconds for a whole request.")
    batch_timeout: float = Field(
        default=300.0, gt=0, description="Seconds for a whole batch or series request."
    )
    keep_alive: int = Field(default=5, ge=0, description="Seconds an idle connection stays open.")
    max_connections: int = Field(default=512, ge=1, description="Most open connections per worker.")
    stop_timeout: int = Field(
        default=30, ge=0, description="Seconds to finish accepted work on SIGTERM."
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""), description="API keys, separated by commas; empty: no key is needed."
    )
    api_keys_file: Path | None = Field(default=None, description="File with one API key a line.")
    rate_limit: int = Field(
        default=0, ge=0, description="Requests per window for one key or address; 0: no limit."
    )
    rate_window: int = Field(default=60, ge=1, description="Seconds of the rate limit's window.")
    cors_origins: Names = Field(default=(), description="Origins whose pages may call the API.")
    trusted_hosts: Names = Field(
        default=(), description="Host names that are accepted, also as *.example.org; empty: all."
    )
    forwarded_allow_ips: str = Field(
        default="127.0.0.1",
        description="Proxies whose X-Forwarded-For is trusted; * trusts all.",
    )
    root_path: str = Field(
        default="", description="Path prefix that a proxy strips, such as /tumorlens."
    )
    ssl_certfile: Path | None = Field(default=None, description="TLS certificate chain (PEM).")
    ssl_keyfile: Path | None = Field(default=None, description="TLS private key (PEM).")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest severity that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="Form of the log lines; auto is console on a terminal, else json.",
    )
    metrics: bool = Field(default=True, description="Serve Prometheus metrics at /metrics.")
    drift_window: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="Last answers per worker that are watched for drift; 0: none.",
    )
    metrics_key: bool = Field(default=False, description="Require an API key at /metrics too.")
    otel: bool = Field(
        default=False, description="Export traces with OpenTelemetry (OTEL_… variables say where)."
    )

    @field_validator("cors_origins", "trusted_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("model", "api_keys_file", "ssl_certfile", "ssl_keyfile", mode="before")
    @classmethod
    def _empty_path(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("trusted_hosts")
    @classmethod
    def _host_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if "*" in name.removeprefix("*.") and name != "*":
                raise ValueError(f"{name}: a wildcard is * alone or stands first: *.example.org")
        return value

    @field_validator("root_path")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError("must start with a slash, such as /tumorlens")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("ssl_certfile and ssl_keyfile belong together: set both or none")
        if self.buffer_bytes < max(self.max_upload_bytes, self.batch_max_bytes):
            raise ValueError("buffer_bytes must hold at least one body of the largest size")
        return self

    @property
    def threads(self) -> int:
        """Images processed at once in one worker (``inference_threads`` resolved)."""
        return self.inference_threads or max(1, usable_cores() // self.workers)


def load_settings(
    overrides: Mapping[str, object] | None = None, *, env_file: Path | None = Path(".env")
) -> Settings:
    """Return the settings from ``overrides``, then the environment, then ``env_file``.

    Raises :class:`ConfigError` for an unknown setting (naming the nearest known one) and
    for a value out of range.
    """
    chosen: dict[str, Any] = dict(overrides or {})
    in_file = dotenv_values(env_file) if env_file is not None else {}
    _refuse_unknown(chosen, "")
    chosen["_env_file"] = env_file
    _refuse_unknown(os.environ, PREFIX)
    _refuse_unknown(in_file, PREFIX, where=f"{env_file}: ")
    try:
        return Settings(**chosen)
    except ValidationError as exc:
        raise ConfigError(_explain(exc)) from exc


def _refuse_unknown(names: Iterable[str], prefix: str, where: str = "") -> None:
    for name in names:
        upper = name.upper()
        if not upper.startswith(prefix) or upper in OTHER_VARIABLES:
            continue
        if prefix and upper.startswith(OTHER_PREFIX):
            continue
        field = name[len(prefix) :].lower() if prefix else name
        if field in Settings.model_fields:
            continue
        near = difflib.get_close_matches(field, Settings.model_fields, n=1)
        wanted = prefix + (near[0].upper() if prefix else near[0]) if near else ""
        hint = f"did you mean {wanted}?" if near else "docs/settings.md lists every setting"
        raise ConfigError(f"{where}{name} is not a setting of TumorLens; {hint}")


def _explain(exc: ValidationError) -> str:
    """Describe which setting is invalid and why, without its value, which may be secret."""
    lines = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False):
        field = str(error["loc"][0]) if error["loc"] else ""
        name = f"{PREFIX}{field.upper()}: " if field else ""
        lines.append(name + error["msg"].removeprefix("Value error, "))
    return "; ".join(lines)


def settings_table() -> str:
    """Return ``docs/settings.md``: every setting with its flag, default and meaning."""
    rows = [
        "# Settings of the service",
        "",
        "Set them in the environment, in a `.env` file, or as flags of `tumorlens serve`",
        "(flags win over the environment, the environment over `.env`). An unknown",
        "`TUMORLENS_…` name stops the start. This table is generated from the code:",
        "`python -m tumorlens.serving.settings > docs/settings.md`.",
        "",
        "| variable | flag | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, SecretStr | tuple) or default is None:
            shown = "(empty)"
        else:
            shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
            shown = "(empty)" if default == "" else shown
        # Secrets have no flag, since ps shows the command line to all users.
        secret = isinstance(default, SecretStr)
        flag = "none" if secret else f"`--{name.replace('_', '-')}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {flag} | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(settings_table())
