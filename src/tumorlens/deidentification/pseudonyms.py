"""Replacements that are the same for the same value, and cannot be computed without the key."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from tumorlens.errors import ConfigError

KEY_BYTES = 16  # at least
_STANDARD = "1.2.840.10008."  # UIDs that the standard defines: classes, syntaxes, code lists


class Pseudonyms:
    """New UIDs and patient identifiers by HMAC-SHA-256 under one key."""

    def __init__(self, key: bytes | None = None) -> None:
        """Use ``key``, or a random one that is forgotten with this object.

        Raises `ConfigError` for a key shorter than `KEY_BYTES`.
        """
        if key is not None and len(key) < KEY_BYTES:
            raise ConfigError(
                f"the key has {len(key)} bytes; give at least {KEY_BYTES}, "
                "such as the output of `openssl rand -hex 32`"
            )
        self._key = secrets.token_bytes(32) if key is None else key

    def uid(self, uid: str) -> str:
        """Return the UID that stands for ``uid``, of the form 2.25.… (PS3.5, B.2).

        UIDs of the standard itself are returned unchanged, an empty one stays empty.
        """
        uid = uid.strip(" \0")
        if not uid or uid.startswith(_STANDARD):
            return uid
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def person(self, identity: str) -> str:
        """Return the pseudonym of a patient ID or name; empty for an empty one."""
        identity = identity.strip(" \0")
        return f"P-{self._digest('person', identity).hex()[:12].upper()}" if identity else ""

    def file_name(self, uid: str) -> str:
        """Return 16 hexadecimal digits for an object, series or study."""
        return self._digest("file", uid.strip(" \0")).hex()[:16]

    def _digest(self, purpose: str, value: str) -> bytes:
        message = f"{purpose}\0{value}".encode("utf-8", "surrogateescape")
        return hmac.new(self._key, message, hashlib.sha256).digest()


def read_key(path: Path) -> bytes:
    """Return the key in a file, without white space around it; raises `ConfigError`."""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read ({error.strerror})") from error
