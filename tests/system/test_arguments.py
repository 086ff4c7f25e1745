"""Arguments of a command: options anywhere, numbers checked before any work, errors that name what was typed."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from tyro.conf import Positional, arg

from vse.system.arguments import Between, Count, Option, Seed, in_order, options_of
from vse.system.command_line import call, run
from vse.system.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Inner:
    deep: bool = False
    rate: float = 1.0


@dataclass(frozen=True)
class Config:
    inner: Inner = field(default_factory=Inner)
    kinds: tuple[Literal["a", "b"], ...] = ("a",)
    decay: float = 0.5


def command(
    photos: Annotated[Positional[list[Path]], arg(metavar="PHOTO...")],
    /,
    config: Annotated[Config, arg(name="")] = Config(),  # noqa: B008  frozen
    k: Annotated[Count, arg(aliases=["-k"])] = 3,
    plus: list[str] = [],  # noqa: B006
    levels: Annotated[list[int], Between(0)] = [0],  # noqa: B006
    out: Path | None = None,
    seed: Seed = 0,
    json: bool = False,
    offset: int | None = None,
    share: float = 0.0,
) -> None:
    """A command."""
    called.append((photos, config, k, plus, levels, out, seed, json, offset, share))


called: list[tuple] = []


def told(*argv: str) -> tuple:
    called.clear()
    call("prog", {"do": command, "other": command}, ["do", *argv], {})
    return called[0]


def mistake(*argv: str) -> str:
    with pytest.raises(InputError) as caught:
        call("prog", {"do": command, "other": command}, ["do", *argv], {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "argv",
    [
        "a b --json -k 2 --out x --plus red blue",
        "--json a -k 2 b --out x --plus red blue",
        "a --out=x --json b --k=2 --plus red --plus blue",
        "-k 2 --out x --plus red blue --json -- a b",
        "--plus=red a --plus=blue b -k 2 --out x --json",
        "a --json True b --k 2 --out x --plus red blue --inner.deep false",
        "a --no-json --json b --k 2 --out x --plus red blue --inner.no-deep",
    ],
)
def test_options_stand_anywhere(argv):
    photos, config, k, plus, _, out, _, json, *_ = told(*argv.split())
    assert (photos, k, plus, out, json) == ([Path("a"), Path("b")], 2, ["red", "blue"], Path("x"), True)
    assert config == Config()


def test_what_looks_like_an_option_and_is_none():
    assert told("-1 dog.jpg", "--share", "-0.5", "--offset", "-3")[0] == [Path("-1 dog.jpg")]
    assert told("--", "--json")[0] == [Path("--json")]
    assert told("a", "--share", "-.5")[-1] == -0.5
    assert told("a", "--inner.deep", "--kinds", "b", "a")[1] == Config(Inner(True), ("b", "a"))


def test_the_options_of_a_command():
    options = options_of(command)
    assert all(options[name].takes == "nothing" for name in ("--json", "--no-json", "--inner.no-deep"))
    assert options["--plus"] == Option("many", str) and options["--kinds"].takes == "many"
    assert options["-k"] == options["--k"] == Option("one", int, Between(1))
    assert options["--inner.rate"] == Option("one", float) and "--photos" not in options
    assert in_order(["--dev_images", "3", "x"], {"--dev-images": Option("one")}) == ["x", "--dev-images=3"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("a", "--jsn"), ("--jsn", "--json", "prog do --help")),
        (("a", "--json=maybe"), ("--json=maybe", "--no-json")),
        (("a", "--k", "0"), ("--k 0", "1 or more")),
        (("a", "--k", "three"), ("--k 'three'", "integer")),
        (("a", "--k"), ("--k", "expected one value")),
        (("a", "--out", "--json"), ("--out", "expected one value")),
        (("a", "--levels", "0", "x"), ("--levels 'x'", "integer")),
        (("a", "--share", "nan"), ("--share nan", "finite")),
        (("a", "--share", "much"), ("--share 'much'", "a number")),
        (("a", "--decay", "-inf"), ("--decay -inf", "finite")),
        (("a", "--inner.rate", "inf"), ("--inner.rate inf", "finite")),
        (("a", "--seed", "-1"), ("--seed -1", "0 or more")),
        (("a", "--seed", str(2**64)), (str(2**64), "at most 18446744073709551615")),
        (("a", "--levels", "0", "-1"), ("--levels -1", "0 or more")),
        (("a", "--offset", str(10**40)), ("--offset", "too many digits")),
        (("a", "--kinds", "c"), ("'c'", "'a', 'b'")),
    ],
)
def test_mistakes_name_what_was_typed(argv, says):
    said = mistake(*argv)
    assert all(part in said for part in says), said


def test_a_path_in_an_error_stays_whole():
    path = "/" + "/".join(["a long folder of mine"] * 7) + "/photo.jpg"
    assert path in mistake("a", "--k", path)


def test_commands_that_are_not_there():
    for argv, says in ((["othr"], "perhaps you meant other"), ([], "no command; expected one of do, other")):
        with pytest.raises(InputError, match=says):
            call("prog", {"do": command, "other": command}, argv, {})


def test_an_error_of_the_system_says_what_to_do(capsys):
    errors = {
        PermissionError(13, "Permission denied", "/etc/x"): "/etc/x: permission denied; give a path where you may",
        OSError(28, "No space left on device", "x"): "x: No space left on device; check the path",
        MemoryError(): "not enough memory",
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"): "not enough memory",
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"): "not enough memory",
    }
    for error, says in errors.items():

        def fail(error=error):
            raise error

        assert run("prog", {"fail": fail, "other": fail}, ["fail"], "1") == 1
        assert capsys.readouterr().err.startswith(f"prog: {says}")
    with pytest.raises(RuntimeError, match="a bug"):  # keeps its traceback
        run("prog", {"fail": lambda: (_ for _ in ()).throw(RuntimeError("a bug"))}, ["fail"], "1")


COMMANDS = {
    "vse": (
        *("data", "download", "scenes", "features", "train", "hubs", "evaluate", "search", "classify"),
        *("arithmetic", "pca", "page"),
    ),
    "scnlm": ("train", "trigram", "score", "assemble", "caption"),
}


@pytest.mark.parametrize("program", COMMANDS)
def test_help_needs_no_torch(program):
    """The half second of CPU of a start is nearly all torch's; one process asks for everything."""
    asked = [("--help",), ("--version",), ("--tyro-print-completion", "bash")]
    asked += [(command, "--help") for command in COMMANDS[program]]
    script = f"""
import contextlib, io, sys
from {program}.__main__ import main
for words in {asked}:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(words)
    assert out.getvalue(), words
assert not {{"torch", "matplotlib", "spacy", "timm"}} & set(sys.modules), "loaded"
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
