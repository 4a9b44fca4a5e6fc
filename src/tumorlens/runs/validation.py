"""Plain values ↔ frozen dataclasses, and what is wrong with a value in our words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tumorlens.errors import ConfigError

Settings = TypeVar("Settings")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}  # slow to make


def validated(kind: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Return a dataclass of settings, and of settings in them, built from JSON-like ``values``.

    Types hold strictly: no text for a number, no number for true or false, but a whole number
    for a float. A ``ConfigError`` of the dataclasses themselves comes through as it is.

    Args:
        kind: A dataclass whose types pydantic knows.
        values: Of its fields, by name.
        where: What an error names before the setting.

    Raises:
        ConfigError: Naming the first wrong setting, its value and what it may be.
    """
    _refuse_unknown(kind, values, where, "")
    try:
        checked: Settings = _adapter(kind).validate_json(json.dumps(values), strict=True)
        return checked
    except ValidationError as error:
        raise ConfigError(f"{where}: {_complaint(error)}") from error
    except TypeError as error:  # of json: a value that is no setting, such as a tensor
        raise ConfigError(f"{where}: {error}") from error


def as_plain(settings: Any) -> dict[str, Any]:
    """Return a dataclass of settings as JSON-ready values."""
    values: dict[str, Any] = _adapter(type(settings)).dump_python(settings, mode="json")
    return values


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries with changes; what is no dictionary is replaced whole."""
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
    """Pydantic passes over unknown keys of a plain dataclass; a misspelt setting is an error."""
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


def _complaint(error: ValidationError) -> str:
    """Say what is wrong with the first wrong setting; all choices of one that has several."""
    found = error.errors(include_url=False)
    at = _setting(found[0]["loc"])
    told = [each["msg"] for each in found if _setting(each["loc"]) == at]
    wanted = [each.removeprefix("Input ").replace("valid array", "list") for each in told]
    value = "missing" if found[0]["type"] == "missing" else repr(found[0]["input"])
    return f"{at} is {value}; it {', or '.join(dict.fromkeys(wanted))}"


def _setting(place: tuple[int | str, ...]) -> str:
    """Return a setting's name without what pydantic adds for each choice of a union."""
    names = [str(part) for part in place if isinstance(part, str)]
    kinds = ("int", "constrained-int", "str", "float", "bool")
    return ".".join(name for name in names if name not in kinds and "[" not in name)
