"""Settings checked in one place: the type of every field of a config dataclass, its choices, its numbers' ranges.

`check_settings` is what a `__post_init__` calls first; `config_from_dict` reads a dictionary from a file as strictly.
A range is written "> 0", ">= 1", "[0, 1)" or "[1, 65536]"; a number that is not finite is in none.
"""

import dataclasses
import math
import re
import typing
from collections.abc import Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Literal

from vse.system.errors import InputError

Precision = Literal["auto", "float32", "bfloat16"]  # see `vse.system.precision`
SIZE = "[1, 65536]"  # of a layer: more is a slip of the keyboard, and its weights would not fit in memory
_LARGEST = 2**63  # what a tensor or a file of ours can hold as a whole number
_WORDS = {
    bool: "true or false", int: "a whole number", float: "a finite number", str: "text", NoneType: "nothing",
}  # fmt: skip


def check_settings(config: object, prefix: str = "", **ranges: str) -> None:
    """Nothing, for a dataclass whose fields have their declared types and whose numbers are finite and in `ranges`.

    Raises InputError with field, value and what was expected; `prefix` stands before the field's name.
    """
    for name, kind in _hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, kind):
                raise InputError(f"{prefix}{name} = {_short(value)}: expected a {kind.__name__}")
            check_settings(value, f"{prefix}{name}.")
            continue
        value = _typed(kind, value, f"{prefix}{name}")
        if name in ranges and not _inside(value, ranges[name]):
            raise InputError(f"{prefix}{name} = {_short(value)}: expected {_in_words(ranges[name])}")


def config_from_dict(kind: type, values: object, where: str = "config", complete: bool = False):
    """A dataclass `kind` from the dictionary `dataclasses.asdict` made of it; anything else raises InputError.

    A key that is missing takes its default, as of a file from before there was the setting; not with `complete`.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a JSON object, found {_short(values)}")
    types = _hints(kind)
    if unknown := sorted(set(values) - set(types)):
        raise InputError(f"{where}: unknown key {_short(unknown[0])}; expected some of {', '.join(types)}")
    needed = {f.name for f in dataclasses.fields(kind) if complete or _has_no_default(f)}
    if missing := [name for name in types if name in needed - set(values)]:
        raise InputError(f"{where}: key {missing[0]!r} is missing; restore the file or make it again")
    typed = {name: _typed(types[name], value, f"{where}.{name}", complete) for name, value in values.items()}
    try:
        return kind(**typed)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


@cache
def _hints(kind: type) -> dict[str, object]:
    return typing.get_type_hints(kind)


def _has_no_default(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _typed(kind: object, value: object, where: str, complete: bool = False) -> object:
    """The value as the type that a field declares, a list as a tuple, 1 as 1.0. Raises InputError for another type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return config_from_dict(kind, value, where, complete)
    if origin is typing.Literal:
        if isinstance(value, str) and value in arguments:
            return value
        expected = f"{', '.join(arguments[:-1])} or {arguments[-1]}"
    elif origin in (tuple, Sequence):
        if isinstance(value, (list, tuple)):
            return tuple(_typed(arguments[0], part, where) for part in value)
        expected = "a list"
    elif origin in (UnionType, typing.Union):
        if value is None and NoneType in arguments:
            return None
        return _typed(next(part for part in arguments if part is not NoneType), value, where, complete)
    else:
        value = float(value) if kind is float and type(value) is int and abs(value) < _LARGEST else value
        if type(value) is kind and _is_sane(value):
            return value
        expected = _WORDS[kind]
    raise InputError(f"{where} = {_short(value)}: expected {expected}")


def _is_sane(value: object) -> bool:
    return math.isfinite(value) if type(value) is float else type(value) is not int or -_LARGEST <= value < _LARGEST


def _inside(value: int | float, interval: str) -> bool:
    sign, bound, opening, low, high, closing = _parts(interval)
    if sign:
        return value > float(bound) or (sign == ">=" and value == float(bound))
    above = value > float(low) or (opening == "[" and value == float(low))
    return above and (value < float(high) or (closing == "]" and value == float(high)))


def _in_words(interval: str) -> str:
    sign, bound, *_ = _parts(interval)
    return {">=": f"{bound} or more", ">": f"more than {bound}", None: f"a number in {interval}"}[sign]


def _parts(interval: str) -> tuple[str | None, ...]:
    return re.fullmatch(r"(?:(>=?) (\S+)|([\[(])(\S+), (\S+)([\])]))", interval).groups()


def _short(value: object) -> str:
    """The value in an error's line, cut where it is long."""
    if type(value) is int and abs(value) >= _LARGEST:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
