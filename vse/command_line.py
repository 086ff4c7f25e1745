"""What every command line of this project does alike: parse, call, say a mistake in one line, and the exit status."""

import contextlib
import functools
import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from vse.errors import InputError

Run = Annotated[Positional[Path], arg(metavar="RUN", help="run folder that `vse train` made")]


def run(program: str, commands: Mapping[str, Callable[..., int | None]], argv: Sequence[str], version: str) -> int:
    """The exit status of a call: the command's own, 1 for a user's mistake (said in one line), 130 if interrupted."""
    for stream in (sys.stdout, sys.stderr):  # a photo's name may be no text: it is printed as it is on the disk
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")
    try:
        if list(argv) == ["--version"]:
            print(f"{program} {version}")
            return 0
        return parse(program, commands, argv)() or 0
    except InputError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        what = f"{error.filename2 or error.filename or 'system'}: {error.strerror or error}"
        print(f"{program}: {what}; check the path, the permissions and the free space", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted; the same command (train: with --resume) goes on", file=sys.stderr)
        return 130


def parse(
    program: str, commands: Mapping[str, Callable[..., int | None]], argv: Sequence[str]
) -> Callable[[], int | None]:
    """The call that the arguments ask for. Raises InputError for arguments that do not fit."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _bound(command) for name, command in commands.items()}, args=list(argv), prog=program
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        help_of = f"{program} {argv[0]} --help" if argv and argv[0] in commands else f"{program} --help"
        raise InputError(f"{_unboxed(said.getvalue(), program)}; see {help_of}") from None


def _unboxed(box: str, program: str) -> str:
    """The text of an error that tyro drew in a box, without frame, rules, title and its own hints at the help."""
    lines = [line.strip("│| ") for line in box.splitlines()[1:]]
    hints = ("For full helptext", "Argument helptext", f"in {program}", f"{program} ")
    kept = [line for line in lines if re.search(r"\w", line) and not line.startswith(hints)]
    text = " ".join(kept).rstrip(".").replace(" Perhaps you meant:", "; perhaps you meant:")
    return re.sub(r"__tyro\S*?\.config\.?", "", text)


def _bound(command: Callable[..., int | None]) -> Callable[..., Callable[[], int | None]]:
    """`command` with its signature, but binding its arguments only: what it prints is not the parser's.

    Raises InputError for a negative seed, which no generator takes.
    """

    @functools.wraps(command)
    def bind(*args, **kwargs):
        if (seed := kwargs.get("seed", 0)) < 0:
            raise InputError(f"--seed {seed}: expected 0 or more")
        return functools.partial(command, *args, **kwargs)

    return bind


def read_extra_text(data: str | None, dataset):
    """The captions of `data` without the photos that `dataset` evaluates on, None for None; says how many that were."""
    from vse.datasets import read_dataset, without_evaluated

    if data is None:
        return None
    kept, left_out = without_evaluated(read_dataset(data), dataset)
    print(f"extra text: {len(kept.captions)} captions; left out {left_out} images, evaluated in {dataset.name}")
    return kept


def json_line(hit) -> str:
    """A hit of a search as one JSON object."""
    return json.dumps({"rank": hit.rank, "score": round(hit.score, 6), "name": hit.name})


def table(rows: list[list[str]]) -> str:
    """Rows of text in columns: the first left-aligned, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [[c.rjust(w) for c, w in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *line[1:]]) for row, line in zip(rows, lines, strict=True))
