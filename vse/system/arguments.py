"""The arguments of a command, seen through its signature: which options there are, and which numbers they take.

Options may stand anywhere between positional arguments, and every number is checked here, before any work is done.
Parses nothing itself: that is tyro's, called by command_line.py.
"""

import dataclasses
import difflib
import inspect
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from vse.system.errors import InputError

Takes = Literal["nothing", "one", "many"]  # values of an option
_BUILT_IN = {"-h": "nothing", "--help": "nothing"}
_MOST = 2**63  # no whole number of a setting is as large, seeds apart


@dataclasses.dataclass(frozen=True)
class Between:
    """Marks a number's type with the least and the largest that it may be, both included."""

    least: int
    largest: int = _MOST - 1

    def expected(self) -> str:
        """What an error says is expected."""
        return f"{self.least} or more" + (f", at most {self.largest}" if self.largest != _MOST - 1 else "")


Count = Annotated[int, Between(1)]
Seed = Annotated[int, Between(0, 2**64 - 1)]  # what PyTorch's generators take


def options_of(command: Callable[..., object]) -> dict[str, Takes]:
    """The options of a command, such as "--k", and how many values each takes; `--no-x` of a flag included."""
    options: dict[str, Takes] = dict(_BUILT_IN)
    for name, kind, notes in _parameters(command):
        aliases = [alias for note in notes for alias in getattr(note, "aliases", None) or ()]
        renamed = next((note.name for note in notes if getattr(note, "name", None) is not None), name)
        _add_options(options, renamed, kind, aliases)
    return options


def _parameters(command: Callable[..., object]) -> list[tuple[str, Any, list]]:
    """Name, type and annotations of each parameter that is an option."""
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters.values()
    named = [p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY and p.name in hints]
    return [(name, *_unwrapped(hints[name])) for name in named]


def _unwrapped(kind: Any) -> tuple[Any, list]:
    """A type without Annotated and without "or None", and the annotations."""
    notes: list = []
    while True:
        if get_origin(kind) is Annotated:
            kind, *more = get_args(kind)
            notes += more
        elif get_origin(kind) in (Union, types.UnionType):
            (kind, *_) = [part for part in get_args(kind) if part is not type(None)]
        else:
            return kind, notes


def _add_options(options: dict[str, Takes], name: str, kind: Any, aliases: Sequence[str] = ()) -> None:
    if dataclasses.is_dataclass(kind):
        for field, inner in get_type_hints(kind, include_extras=True).items():
            if field in {f.name for f in dataclasses.fields(kind)}:
                _add_options(options, f"{name}.{field}" if name else field, _unwrapped(inner)[0])
        return
    takes: Takes = "nothing" if kind is bool else "many" if get_origin(kind) in (list, tuple) else "one"
    flag = name.replace("_", "-")
    options |= {word: takes for word in (f"--{flag}", *aliases)}
    if kind is bool:
        head, dot, last = flag.rpartition(".")
        options[f"--{head}{dot}no-{last}"] = takes


def in_order(words: Sequence[str], options: Mapping[str, Takes]) -> list[str]:
    """The same arguments with the positional ones together, wherever the options stood.

    An option of many values that is given twice has the values of both. `--x True` and `--x False` are `--x` and
    `--no-x`. Raises InputError for an option that is not there.
    """
    free: list[str] = []
    given: dict[str, list[str]] = {}
    rest, left = [], list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            free += left
            break
        if not _is_option(word):
            free.append(word)
            continue
        name, equals, value = word.partition("=")
        name = name if name.startswith("--tyro-") else name.replace("_", "-")
        takes = options.get(name) or _unknown(name, options)
        if takes == "nothing":
            rest.append(_flag(name, value if equals else _truth(left), options))
        elif takes == "one":
            values = [value] if equals else [left.pop(0)] if left else []
            rest += [f"{name}={value}"] if equals else [name, *values]
        else:
            values = [value] if equals else []
            while not equals and left and left[0] != "--" and not _is_option(left[0]):
                values.append(left.pop(0))
            given.setdefault(name, []).extend(values)
    for name, values in given.items():
        rest += [name, *values]
    return [*rest, "--", *free] if any(word.startswith("-") for word in free) else [*free, *rest]


def _is_option(word: str) -> bool:
    return bool(re.match(r"--?[A-Za-z]", word)) and not re.fullmatch(r"-(inf|infinity|nan)", word, re.IGNORECASE)


def _unknown(name: str, options: Mapping[str, Takes]) -> Takes:
    if name.startswith("--tyro-"):  # shell completion
        return "one"
    near = difflib.get_close_matches(name, options, 3)
    hint = f"perhaps you meant {' or '.join(near)}" if near else f"expected some of {', '.join(options)}"
    raise InputError(f"{name}: no such option; {hint if near or len(options) < 30 else 'check its name'}")


def _truth(left: list[str]) -> str:
    return left.pop(0) if left and left[0].lower() in ("true", "false") else ""


def _flag(name: str, value: str, options: Mapping[str, Takes]) -> str:
    if value.lower() in ("", "true"):
        return name
    head, dot, last = name.removeprefix("--").rpartition(".")
    opposite = f"--{head}{dot}{last[3:] if last.startswith('no-') else f'no-{last}'}"
    if value.lower() != "false" or opposite not in options:
        raise InputError(f"{name}={value}: expected {name} or {opposite}")
    return opposite


def check_numbers(command: Callable[..., object], arguments: Mapping[str, Any]) -> None:
    """Raises InputError for the first number of a call that is not finite or outside of what its type may be."""
    kinds = {name: notes for name, _, notes in _parameters(command)}
    for name, value in arguments.items():
        between = next((note for note in kinds.get(name, ()) if isinstance(note, Between)), None)
        _check(f"--{name.replace('_', '-')}", value, between)


def _check(flag: str, value: Any, between: Between | None) -> None:
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inside = "" if flag == "--config" else f"{flag[2:]}."
            _check(f"--{inside}{field.name.replace('_', '-')}", getattr(value, field.name), None)
    elif isinstance(value, (list, tuple)):
        for one in value:
            _check(flag, one, between)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{flag} {value}: expected a finite number")
    elif isinstance(value, int) and not isinstance(value, bool):
        between = between or Between(-_MOST)
        if not between.least <= value <= between.largest:
            expected = between.expected() if between.least > -_MOST else f"a number between -{_MOST} and {_MOST}"
            raise InputError(f"{flag} {value if abs(value) < 10**30 else 'of too many digits'}: expected {expected}")
