"""Settings of ``tumorlens pacs``, from flags, the environment and a ``.env`` file."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tumorlens.errors import ConfigError

PREFIX = "TUMORLENS_PACS_"
GIB = 2**30
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # PS3.8, 9.3.2: no backslash, no control character

Names = Annotated[tuple[str, ...], NoDecode]


def _state_folder() -> Path:
    root = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(root) / "tumorlens" / "pacs"


class PacsSettings(BaseSettings):
    """The settings; each is also the variable ``TUMORLENS_PACS_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    folder: Path = Field(
        default_factory=_state_folder,
        description="Folder of the queue, of received series and of results not stored yet.",
    )
    queue: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the queue, such as postgresql+psycopg://…; "
        "empty: SQLite in the folder.",
    )
    model: Path | None = Field(default=None, description="Model file; empty: the packaged.")
    results: Names = Field(
        default=("sr", "sc"), description="Kinds of result, separated by commas."
    )
    threads: int = Field(default=0, ge=0, le=256, description="Threads of the network; 0: cores.")
    max_attempts: int = Field(
        default=5, ge=1, description="Failures after which a series is on the dead-letter list."
    )
    retry_seconds: float = Field(
        default=5.0, gt=0, description="Wait after the first failure; doubles with each."
    )
    retry_max_seconds: float = Field(default=600.0, gt=0, description="Longest wait.")
    lease_seconds: float = Field(
        default=60.0, ge=1, description="After this, another process takes a series over."
    )
    settle_seconds: float = Field(
        default=30.0, ge=0, description="A series is complete when nothing came for this long."
    )
    poll_seconds: float = Field(default=5.0, gt=0, description="Between questions to the archive.")
    backlog: bool = Field(
        default=False, description="Answer also what the archive holds at the first start."
    )
    lookback_days: int = Field(
        default=7, ge=0, description="DICOMweb: studies of the last days are looked at; 0: all."
    )
    archive_kind: Literal["auto", "orthanc", "dicomweb"] = Field(
        default="auto", description="Interface of the archive; auto asks it."
    )
    user: str = Field(default="", description="User name at the archive.")
    password: SecretStr = Field(default=SecretStr(""), description="Password at the archive.")
    token: SecretStr = Field(default=SecretStr(""), description="Bearer token at the archive.")
    ca_file: Path | None = Field(
        default=None, description="Certificates (PEM) that the archive or sender is trusted by."
    )
    archive_timeout: float = Field(default=60.0, gt=0, description="Seconds for one request.")
    host: str = Field(default="127.0.0.1", description="Address that `listen` listens on.")
    port: int = Field(default=11112, ge=0, le=65535, description="Its port; 0 picks a free one.")
    aet: str = Field(default="TUMORLENS", description="Its AE title; callers must use it.")
    allow: Names = Field(
        default=(), description="AE titles that may send, separated by commas; empty: all."
    )
    max_associations: int = Field(default=4, ge=1, le=64, description="Senders at once.")
    max_object_bytes: int = Field(default=GIB, ge=1, description="Largest object received.")
    max_series_files: int = Field(default=4096, ge=1, description="Most objects of a series.")
    min_free_bytes: int = Field(
        default=GIB, ge=0, description="Free disk space under which objects are refused."
    )
    keep_hours: float = Field(
        default=24.0, ge=0, description="How long received series are kept once answered."
    )
    network_timeout: float = Field(
        default=60.0, gt=0, description="Seconds of silence that end an association."
    )
    tls_certfile: Path | None = Field(default=None, description="TLS certificate chain (PEM).")
    tls_keyfile: Path | None = Field(default=None, description="TLS private key (PEM).")
    tls_clients: bool = Field(
        default=False, description="Senders must show a certificate that ca_file trusts."
    )
    stop_timeout: float = Field(
        default=30.0, ge=0, description="Seconds to finish what was begun on SIGTERM."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of the metrics.")
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the Prometheus metrics; 0: none."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest severity that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="Form of the log lines; auto: console on a terminal."
    )

    @field_validator("results", "allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("model", "ca_file", "tls_certfile", "tls_keyfile", mode="before")
    @classmethod
    def _empty_path(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("aet", "allow")
    @classmethod
    def _titles(cls, value: Any) -> Any:
        for title in (value,) if isinstance(value, str) else value:
            if not _AE_TITLE.fullmatch(title) or not title.strip():
                raise ValueError("an AE title has 1 to 16 characters, none of them a backslash")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.tls_certfile is None) != (self.tls_keyfile is None):
            raise ValueError("tls_certfile and tls_keyfile belong together: set both or none")
        if self.tls_clients and (self.ca_file is None or self.tls_certfile is None):
            raise ValueError("tls_clients needs ca_file, tls_certfile and tls_keyfile")
        if not self.results:
            raise ValueError("results: name at least one kind")
        return self

    @property
    def queue_url(self) -> str:
        """The SQLAlchemy URL of the queue."""
        return self.queue.get_secret_value() or f"sqlite:///{self.folder / 'queue.sqlite'}"


def load_pacs_settings(
    overrides: Mapping[str, object] | None = None, *, env_file: Path | None = Path(".env")
) -> PacsSettings:
    """Return the settings from ``overrides``, then the environment, then ``env_file``.

    Raises `ConfigError` for an unknown setting (naming the nearest) and a value out of range.
    """
    in_file = dotenv_values(env_file) if env_file is not None else {}
    _refuse_unknown([*os.environ, *in_file])
    chosen: dict[str, Any] = {**(overrides or {}), "_env_file": env_file}
    try:
        return PacsSettings(**chosen)
    except ValidationError as exc:
        raise ConfigError(_explain(exc)) from exc


def check_url(url: str) -> str:
    """Return the archive's URL without a final slash; raises `ConfigError` for an unusable one."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.scheme in ("http", "https")
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("the archive's address must be a URL such as http://orthanc:8042")
    if parts.username or parts.password:
        raise ConfigError(
            f"the archive's address names a user or password, which ps shows to all users; "
            f"set {PREFIX}USER and {PREFIX}PASSWORD"
        )
    return url.rstrip("/")


def _refuse_unknown(names: Iterable[str]) -> None:
    for name in names:
        if not name.upper().startswith(PREFIX):
            continue
        field = name[len(PREFIX) :].lower()
        if field in PacsSettings.model_fields:
            continue
        near = difflib.get_close_matches(field, PacsSettings.model_fields, n=1)
        hint = f"did you mean {PREFIX}{near[0].upper()}?" if near else "see docs/pacs-settings.md"
        raise ConfigError(f"{name} is not a setting of tumorlens pacs; {hint}")


def _explain(exc: ValidationError) -> str:
    """Describe which setting is invalid and why, without its value, which may be secret."""
    lines = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False):
        field = str(error["loc"][0]) if error["loc"] else ""
        name = f"{PREFIX}{field.upper()}: " if field else ""
        lines.append(name + error["msg"].removeprefix("Value error, "))
    return "; ".join(lines)


def settings_table() -> str:
    """Return ``docs/pacs-settings.md``: every setting with its flag, default and meaning."""
    rows = [
        "# Settings of tumorlens pacs",
        "",
        "Flags win over the environment, the environment over a `.env` file; an unknown",
        f"`{PREFIX}…` name stops the start. Secrets have no flag, since `ps` shows command lines",
        "to all users. Made by `python -m tumorlens.pacs.settings > docs/pacs-settings.md`.",
        "",
        "| variable | flag | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in PacsSettings.model_fields.items():
        default = field.default
        if name == "folder":
            shown = "`~/.local/state/tumorlens/pacs`"
        elif isinstance(default, SecretStr) or default in (None, "", ()):
            shown = "(empty)"
        elif isinstance(default, tuple):
            shown = f"`{','.join(default)}`"
        else:
            shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
        flag = "none" if isinstance(default, SecretStr) else f"`--{name.replace('_', '-')}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {flag} | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(settings_table())
