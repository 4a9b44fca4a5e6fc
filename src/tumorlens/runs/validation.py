"""JSON-like values ↔ frozen dataclasses of settings, with readable error messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tumorlens.errors import ConfigError

Settings = TypeVar("Settings")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}  # slow to build


def validated(kind: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Return a dataclass of settings, and of settings in them, built from JSON-like ``values``.

    Types are strict: no string for a number, no number for a boolean; an integer may stand for a
    float. A ``ConfigError`` raised by a dataclass itself passes through.

    Args:
        kind: A dataclass whose field types pydantic supports.
        values: Field → value.
        where: Prefix of an error message.

    Raises:
        ConfigError: Naming the first invalid setting, its value, and which values are valid.
    """
    _refuse_unknown(kind, values, where, "")
    try:
        checked: Settings = _adapter(kind).validate_json(json.dumps(values), strict=True)
        return checked
    except ValidationError as error:
        raise ConfigError(f"{where}: {_description(error)}") from error
    except TypeError as error:  # json.dumps: a value such as a tensor
        raise ConfigError(f"{where}: {error}") from error


def as_plain(settings: Any) -> dict[str, Any]:
    """Return a dataclass of settings as JSON-ready values."""
    values: dict[str, Any] = _adapter(type(settings)).dump_python(settings, mode="json")
    return values


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries with changes merged in; other values are replaced whole."""
    result = dict(values)
    for name, change in changes.items():
        old = result.get(name)
        both = isinstance(change, Mapping) and isinstance(old, Mapping)
        result[name] = merged(old, change) if both else change  # type: ignore[arg-type]
    return result


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _refuse_unknown(kind: Any, values: Mapping[str, Any], where: str, at: str) -> None:
    """Raise for unknown keys, which pydantic ignores in a standard dataclass."""
    known = {each.name for each in fields(kind)}
    unknown = sorted(str(name) for name in set(values) - known)
    if unknown:
        raise ConfigError(
            f"{where}: {at or 'a run'} has no settings {unknown}; known are {sorted(known)}"
        )
    for name, hint in get_type_hints(kind).items():
        inner = values.get(name)
        if is_dataclass(hint) and isinstance(inner, Mapping):
            _refuse_unknown(hint, inner, where, f"{at}.{name}" if at else name)


def _description(error: ValidationError) -> str:
    """Describe the first invalid setting, with every alternative of a union type."""
    found = error.errors(include_url=False)
    at = _setting(found[0]["loc"])
    messages = [each["msg"] for each in found if _setting(each["loc"]) == at]
    wanted = [each.removeprefix("Input ").replace("valid array", "list") for each in messages]
    value = "missing" if found[0]["type"] == "missing" else repr(found[0]["input"])
    return f"{at} is {value}; it {', or '.join(dict.fromkeys(wanted))}"


def _setting(location: tuple[int | str, ...]) -> str:
    """Return a setting's dotted name without the entries that pydantic adds for a union."""
    names = [str(part) for part in location if isinstance(part, str)]
    kinds = ("int", "constrained-int", "str", "float", "bool")
    return ".".join(name for name in names if name not in kinds and "[" not in name)
