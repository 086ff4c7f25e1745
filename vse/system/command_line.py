"""What every command line of this project does alike: parse, call, say a mistake in one line, and the exit status."""

import contextlib
import difflib
import errno
import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from vse.system.arguments import Count, Seed, check_numbers, in_order, options_of
from vse.system.errors import InputError
from vse.system.files import json_text
from vse.system.terminal import caught_signals, printable, safe_streams

__all__ = [
    "CNNs",
    "Count",
    "Data",
    "Device",
    "Images",
    "Run",
    "Seed",
    "hit_line",
    "is_first_process",
    "parse",
    "printable",
    "read_extra_text",
    "run",
    "table",
]

Data = Annotated[
    Positional[str],
    arg(metavar="DATA", help="Flickr8K folder, Karpathy or COCO JSON, CSV, NAME#N captions, photos, or scenes"),
]
Images = Annotated[Path | None, arg(help="where DATA's photos are, when not beside it")]
Run = Annotated[Positional[Path], arg(metavar="RUN", help="run folder that `vse train` made")]
Device = Annotated[str, arg(help="auto (a GPU where there is one), cpu, cuda or cuda:N")]
CNNs = Annotated[
    list[str], arg(metavar="FILE|timm:MODEL", help="weights file or timm model that the run names and that may be used")
]
_NO_MEMORY = re.compile("can't allocate memory|out of memory")  # of the machine, of a GPU
_ENDED = {2: "interrupted", 15: "terminated"}  # by signal
_SAID = {  # of tyro and Python in words of the command line
    r"Error parsing (?:-\w/)?(--\S+): invalid literal for int\(\) with base 10: (.+)": r"\1 \2: expected an integer",
    r"Error parsing (?:-\w/)?(--\S+): could not convert string to float: (.+)": r"\1 \2: expected a number",
    r"Unrecognized options: ": "one argument too many: ",
    r"\. Expected 1 values": "; expected one value",
}
_COMPLETION = ("--tyro-print-completion", "--tyro-write-completion")


Commands = Mapping[str, Callable[..., int | None]]


def run(program: str, commands: Commands | Callable[[], Commands], argv: Sequence[str], version: str) -> int:
    """The exit status of a call: the command's own, 1 for a user's mistake (said in one line), 130 if interrupted.

    143 if terminated, 141 if nobody reads the output any more.
    """
    with safe_streams(), caught_signals() as received:
        try:
            if list(argv) == ["--version"]:
                print(f"{program} {version}")
                return 0
            return parse(program, commands() if callable(commands) else commands, argv)() or 0
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


def parse(program: str, commands: Commands, argv: Sequence[str]) -> Callable[[], int | None]:
    """The call that the arguments ask for. Raises InputError for arguments that do not fit."""
    words, said = list(argv), io.StringIO()
    if words and words[0] in commands:
        command, name = commands[words[0]], f"{program} {words[0]}"
        words = _with_help(name, lambda: in_order(words[1:], options_of(command)))

        def call() -> Callable[[], int | None]:
            return tyro.cli(_bound(command), args=words, prog=name)
    else:
        name = program
        if not words or words[0] not in ("-h", "--help") and not words[0].startswith(_COMPLETION):
            raise InputError(f"{_no_command(words, commands)}; see {program} --help")
        complete = words[0].startswith(_COMPLETION)
        all_of_them = {key: _bound(command) if complete else _named(command) for key, command in commands.items()}

        def call() -> Callable[[], int | None]:
            return tyro.extras.subcommand_cli_from_dict(all_of_them, args=words, prog=program)

    try:
        with contextlib.redirect_stderr(said):
            return call()
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(f"{_unboxed(said.getvalue(), name, words)}; see {name} --help") from None


def _with_help(name: str, check: Callable[[], list[str]]) -> list[str]:
    """What `check` gives; its error names the help."""
    try:
        return check()
    except InputError as error:
        raise InputError(f"{error}; see {name} --help") from None


def _no_command(words: Sequence[str], commands: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(words[0], commands, 2) if words else []
    hint = f"; perhaps you meant {' or '.join(near)}" if near else ""
    return f"{f'{words[0]}: no such' if words else 'no'} command{hint}; expected one of {', '.join(commands)}"


def _named(command: Callable[..., object]) -> Callable[[], None]:
    """A command without its options: enough for the list of commands, and read in no time."""

    def named() -> None:
        pass

    named.__doc__ = command.__doc__
    return named


def _unboxed(box: str, name: str, words: Sequence[str]) -> str:
    """The text of an error that tyro drew in a box, without frame, rules, title and its own hints at the help."""
    lines = [line.strip("│| ") for line in box.splitlines()[1:]]
    if "Argument helptext:" in lines:
        lines = lines[: lines.index("Argument helptext:")]
    hints = ("For full helptext", f"in {name}", f"{name} ")
    kept = [line for line in lines if re.search(r"\w", line) and not line.startswith(hints)]
    text = " ".join(kept).rstrip(".").replace(" Perhaps you meant:", "; perhaps you meant:")
    for word in words:  # the box broke what is longer than its lines, such as paths
        if 20 < len(word) < 5000:
            text = re.sub(r"\s*".join(map(re.escape, word)), lambda _, word=word: word, text)
    for pattern, said in _SAID.items():
        text = re.sub(pattern, said, text)
    return text


def _bound(command: Callable[..., int | None]) -> Callable[..., Callable[[], int | None]]:
    """`command` with its signature, but checking and binding its arguments only: what it prints is not the parser's."""

    @functools.wraps(command)
    def bind(*args, **kwargs):
        check_numbers(command, inspect.signature(command).bind(*args, **kwargs).arguments)
        return functools.partial(command, *args, **kwargs)

    return bind


def is_first_process() -> bool:
    """True but in the second and later processes that `torchrun` started: they do the same, and the first one tells."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def read_extra_text(data: str | None, dataset):
    """The captions of `data` without the photos that `dataset` evaluates on, None for None; says how many that were."""
    from vse.data.datasets import read_dataset, without_evaluated

    if data is None:
        return None
    kept, left_out = without_evaluated(read_dataset(data), dataset)
    if is_first_process():
        print(f"extra text: {len(kept.captions)} captions; left out {left_out} images, evaluated in {dataset.name}")
    return kept


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
