"""What every command line of this project does alike: parse, call, say a mistake in one line, and the exit status."""

import difflib
import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro import _arguments, _errors  # what tyro could not parse; private, so that the version is pinned
from tyro.conf import Positional, arg

from vse.system.arguments import Count, Seed, in_order, options_of
from vse.system.errors import InputError
from vse.system.files import json_text
from vse.system.terminal import caught_signals, printable, safe_streams

__all__ = [
    "CNNs",
    "Count",
    "Data",
    "Device",
    "FeatureFolders",
    "Images",
    "RerankFeatures",
    "Run",
    "Seed",
    "hit_line",
    "run",
    "table",
]

Data = Annotated[
    Positional[str],
    arg(metavar="DATA", help="Flickr8K folder, Karpathy or COCO JSON, CSV, NAME#N captions, photos, or scenes"),
]
Images = Annotated[Path | None, arg(help="where DATA's photos are, when not beside it")]
FeatureFolders = Annotated[list[Path], arg(help="one or more feature folders or .npy files, side by side")]
RerankFeatures = Annotated[
    list[Path], arg(help="features that --rerank RUN reads, where they are other than --features")
]
Run = Annotated[Positional[Path], arg(metavar="RUN", help="run folder that `vse train` made")]
Device = Annotated[str, arg(help="auto (a GPU where there is one), cpu, cuda or cuda:N")]
CNNs = Annotated[
    list[str], arg(metavar="FILE|timm:MODEL", help="weights file or timm model that the run names and that may be used")
]
Command = Callable[..., int | None]
Recipes = Mapping[str, Callable[[], object]]  # each gives a config
_NO_MEMORY = re.compile("can't allocate memory|out of memory")  # of the machine, of a GPU
_ENDED = {2: "interrupted", 15: "terminated"}  # by signal
_COMPLETION = ("--tyro-print-completion", "--tyro-write-completion")


def run(
    program: str,
    commands: Mapping[str, Command],
    argv: Sequence[str],
    version: str,
    recipes: Mapping[str, Recipes] = {},  # noqa: B006  nothing changes it
) -> int:
    """The exit status of a call: the command's own, 1 for a user's mistake (said in one line), 130 if interrupted.

    143 if terminated, 141 if nobody reads the output any more. `recipes` are those of each command that has a --recipe.
    """
    with safe_streams(), caught_signals() as received:
        try:
            if list(argv) == ["--version"]:
                print(f"{program} {version}")
                return 0
            return call(program, commands, argv, recipes) or 0
        except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except BaseException as error:
            if received or isinstance(error, KeyboardInterrupt):
                number = received[0] if received else 2
                print(f"{program}: {_ENDED[number]}; the same command (train: with --resume) goes on", file=sys.stderr)
                return 128 + number
            mistake = _mistake(error)
            if not mistake:  # a bug of ours
                raise
            print(f"{program}: {' '.join(mistake.split())}", file=sys.stderr)
            return 1


def _mistake(error: BaseException) -> str:
    """What to tell a user, "" for an error that is ours."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError) or isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)):
        return "not enough memory; give less at once, such as a smaller --batch-size, or smaller photos"
    if not isinstance(error, OSError):
        return ""
    where = error.filename2 or error.filename or "system"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}: permission denied; give a path where you may read and write, or change its permissions"
    return f"{where}: {error.strerror or error}; check the path, the permissions and the free space"


def call(
    program: str, commands: Mapping[str, Command], argv: Sequence[str], recipes: Mapping[str, Recipes]
) -> int | None:
    """What the command returns that the arguments ask for. Raises InputError for arguments that do not fit."""
    with _errors.on_parse_error(_refuse):
        if not argv or argv[0] not in commands:
            if not argv or argv[0] not in ("-h", "--help") and not argv[0].startswith(_COMPLETION):
                raise InputError(f"{_no_command(argv, commands)}; see {program} --help")
            return tyro.extras.subcommand_cli_from_dict(dict(commands), args=argv, prog=program)
        name, command = f"{program} {argv[0]}", commands[argv[0]]
        try:
            words = in_order(argv[1:], options_of(command))
        except InputError as error:
            raise InputError(f"{error}; see {name} --help") from None
        if argv[0] in recipes:
            command = _with_recipe(command, recipes[argv[0]], words, name)
        return tyro.cli(command, args=words, prog=name)


def _with_recipe(command: Command, recipes: Recipes, words: Sequence[str], name: str) -> Command:
    """`command` with the config of the recipe that --recipe names, the first one without it, for its defaults."""

    def read(recipe: Literal[*recipes] = next(iter(recipes))) -> str:
        return recipe

    recipe, _ = tyro.cli(read, args=words, prog=name, return_unknown_args=True, add_help=False)
    return functools.partial(command, config=recipes[recipe]())


def _refuse(event: _errors.ParseErrorEvent) -> None:
    """Raises InputError for what tyro could not parse; an event of a later tyro is left to it."""
    match event:
        case _errors.MissingArgs(missing_arguments=missing):
            reason = f"missing: {', '.join(_name(each.arg, with_value=True) for each in missing)}"
        case _errors.BadValue(argument=argument):
            reason = f"{_name(argument)}: expected one value"
        case _errors.InvalidChoice(argument=argument, value=value, choices=choices):
            reason = f"{_name(argument)} {value!r}: expected one of {', '.join(map(repr, choices))}"
        case _errors.UnrecognizedArgs(tokens=tokens):
            reason = f"one argument too many: {' '.join(tokens)}"
        case _errors.InstantiationFailure(message=message):
            reason = message
        case _:
            return
    raise InputError(f"{reason}; see {event.prog} --help")


def _name(argument: _arguments.ArgumentDefinition, with_value: bool = False) -> str:
    """What the help calls an argument."""
    if argument.is_positional():
        return argument.lowered.metavar
    return f"{argument.lowered.name_or_flags[-1]}{f' {argument.lowered.metavar}' if with_value else ''}"


def _no_command(words: Sequence[str], commands: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(words[0], commands, 2) if words else []
    hint = f"; perhaps you meant {' or '.join(near)}" if near else ""
    return f"{f'{words[0]}: no such' if words else 'no'} command{hint}; expected one of {', '.join(commands)}"


def hit_line(hit, folder: Path | None = None, as_json: bool = False) -> str:
    """A hit of a search in one line for people, or as one JSON object, with its path where it lies in a folder."""
    if not as_json:
        return f"{hit.rank:3d}  {hit.score:6.3f}  {printable(hit.name)}"
    path = {} if folder is None else {"path": str(folder / hit.name)}
    return json_text({"rank": hit.rank, "score": round(hit.score, 6), "name": hit.name} | path)


def table(rows: list[list[str]]) -> str:
    """Rows of text in columns: the first left-aligned, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [[c.rjust(w) for c, w in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *line[1:]]) for row, line in zip(rows, lines, strict=True))
