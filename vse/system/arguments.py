"""The options of a command, seen through its signature: where they may stand, and which numbers they take.

Parses nothing, that is tyro's (see command_line.py), but prepares the words for it: options may stand anywhere between
positional arguments, and every number is checked before any work is done (of one in a list tyro does not say what is
wrong with it).
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

_MOST = 2**63  # no whole number of a setting is as large, seeds apart


@dataclasses.dataclass(frozen=True)
class Between:
    """Marks a whole number's type with the least and the largest that it may be, both included."""

    least: int = -_MOST
    largest: int = _MOST - 1

    def expected(self) -> str:
        """What an error says is expected."""
        if self.least == -_MOST:
            return f"a number between -{_MOST} and {_MOST}"
        return f"{self.least} or more" + (f", at most {self.largest}" if self.largest != _MOST - 1 else "")


Count = Annotated[int, Between(1)]
Seed = Annotated[int, Between(0, 2**64 - 1)]  # what PyTorch's generators take


@dataclasses.dataclass(frozen=True)
class Option:
    """How many values an option takes, and the type and range of each."""

    takes: Literal["nothing", "one", "many"]
    kind: Any = None
    between: Between = Between()

    def check(self, name: str, word: str) -> None:
        """Nothing for a value that may be: no number, or a finite one in its range. Raises InputError."""
        if self.kind not in (int, float):
            return
        shown = word if len(word) <= 30 else "of too many digits"
        try:
            value = self.kind(word)
        except ValueError:
            expected = "an integer" if self.kind is int else "a number"
            raise InputError(f"{name} {word!r}: expected {expected}") from None
        if self.kind is float and not math.isfinite(value):
            raise InputError(f"{name} {shown}: expected a finite number")
        if self.kind is int and not self.between.least <= value <= self.between.largest:
            raise InputError(f"{name} {shown}: expected {self.between.expected()}")


_FLAG = Option("nothing")


def options_of(command: Callable[..., object]) -> dict[str, Option]:
    """The options of a command by their names, such as "--k"; `--no-x` of a flag included."""
    options = {"-h": _FLAG, "--help": _FLAG}
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        if parameter.kind is not parameter.POSITIONAL_ONLY and parameter.name in hints:
            _add_options(options, parameter.name, hints[parameter.name])
    return options


def _add_options(options: dict[str, Option], name: str, kind: Any) -> None:
    """Adds the options of one parameter: of each field for a dataclass."""
    kind, notes = _unwrapped(kind)
    settings = next((note for note in notes if hasattr(note, "aliases")), None)  # tyro.conf.arg's
    if settings and settings.name is not None:
        name = settings.name
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            _add_options(options, f"{name}.{field.name}" if name else field.name, hints[field.name])
        return
    flag = name.replace("_", "-")
    if kind is bool:
        head, dot, last = flag.rpartition(".")
        options |= {f"--{flag}": _FLAG, f"--{head}{dot}no-{last}": _FLAG}
        return
    many = get_origin(kind) in (list, tuple)
    between = next((note for note in notes if isinstance(note, Between)), Between())
    option = Option("many" if many else "one", get_args(kind)[0] if many else kind, between)
    options |= dict.fromkeys((f"--{flag}", *(settings and settings.aliases or ())), option)


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


def in_order(words: Sequence[str], options: Mapping[str, Option]) -> list[str]:
    """The same arguments with the positional ones together, wherever the options stood.

    An option of many values that is given twice has the values of both. `--x True` and `--x False` are `--x` and
    `--no-x`. Raises InputError for an option that is not there and for a number that may not be.
    """
    free: list[str] = []
    rest: list[str] = []
    lists: dict[str, list[str]] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            free += left
            break
        if not _is_option(word):
            free.append(word)
            continue
        name, equals, value = word.partition("=")
        name, values = name.replace("_", "-"), [value] if equals else []
        option = options.get(name) or _unknown(name, options)
        if option.takes == "nothing":
            if not equals and left and left[0].lower() in ("true", "false"):
                values = [left.pop(0)]
            rest.append(_flag(name, *values, options=options))
            continue
        while left and left[0] != "--" and not _is_option(left[0]) and not equals:
            values.append(left.pop(0))
            if option.takes == "one":
                break
        for value in values:
            option.check(name, value)
        if option.takes == "many":
            lists.setdefault(name, []).extend(values)
        else:
            rest.append(f"{name}={values[0]}" if values else name)
    for name, values in lists.items():
        rest += [name, *values]
    return [*rest, "--", *free] if any(word.startswith("-") for word in free) else [*free, *rest]


def _is_option(word: str) -> bool:
    return bool(re.match(r"--?[A-Za-z]", word)) and not re.fullmatch(r"-(inf|infinity|nan)", word, re.IGNORECASE)


def _unknown(name: str, options: Mapping[str, Option]) -> Option:
    near = difflib.get_close_matches(name, options, 3)
    hint = f"perhaps you meant {' or '.join(near)}" if near else f"expected some of {', '.join(options)}"
    raise InputError(f"{name}: no such option; {hint if near or len(options) < 30 else 'check its name'}")


def _flag(name: str, value: str = "true", *, options: Mapping[str, Option]) -> str:
    """The flag, or its opposite for the value "false"."""
    if value.lower() == "true":
        return name
    head, dot, last = name.removeprefix("--").rpartition(".")
    opposite = f"--{head}{dot}{last[3:] if last.startswith('no-') else f'no-{last}'}"
    if value.lower() != "false" or opposite not in options:
        raise InputError(f"{name}={value}: expected {name} or {opposite}")
    return opposite
