"""What reaches a terminal, and how a program ends: no control characters, any encoding, one word at a signal."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from vse.search.queries import Hit
from vse.system.command_line import hit_line, run
from vse.system.terminal import Screen, is_first_process, printable

ROOT = Path(__file__).resolve().parents[2]
EVIL = "a\x1b]0;title\x07b\x1b[2Jc\x9bd\u202ee\u2066f\x7fg\rh\x00"


@given(st.text())
def test_printable_text_moves_no_cursor(text):
    shown = printable(text)
    assert len(shown) == len(text) and len(shown.splitlines()) <= 1
    assert all(ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in shown)
    assert printable(shown) == shown and all(a == b or b == "\ufffd" for a, b in zip(text, shown, strict=True))


def test_words_of_the_world_stay_as_they_are():
    hindi, hebrew = "\u0915\u0941\u0924\u094d\u0924\u093e", "\u05e9\u05dc\u05d5\u05dd"
    for text in ("a dog \U0001f415 runs", "caf\u00e9", hindi, hebrew, "\u200d"):
        assert printable(text) == text


def test_a_screen_lets_lines_and_bars_through_and_nothing_else():
    plain, errors = io.StringIO(), io.StringIO()
    print(EVIL, "x\ty", file=Screen(plain))
    assert plain.getvalue().endswith("x\ty\n") and not {"\x1b", "\x9b", "\r", "\u202e"} & set(plain.getvalue())
    screen = Screen(errors, bars=True)
    print(EVIL, file=screen)
    assert "\x1b" not in errors.getvalue()
    with tqdm(total=2, file=screen, ascii=True) as bar:
        bar.update()
        bar.clear()
    assert "\r" in errors.getvalue() and "50%" in errors.getvalue()


def test_help_on_a_terminal_is_text():
    """Who asks whether the screen is a terminal would color the help, and colors are escapes."""
    ours, theirs = os.openpty()
    call = [sys.executable, "-m", "vse", "search", "--help"]
    process = subprocess.Popen(call, stdout=theirs, cwd=ROOT, env=os.environ | {"TERM": "xterm-256color"})
    os.close(theirs)
    printed = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # nobody writes any more
            break
        if not piece:
            break
        printed += piece
    os.close(ours)
    text = printed.decode()
    assert process.wait() == 0 and "usage: vse search" in text and not set("\ufffd\x1b") & set(text)


def test_a_name_in_a_list_of_answers():
    hit = Hit(f"folder/{EVIL}.jpg", 0.5, 1)
    assert len(hit_line(hit).splitlines()) == 1 and "\x1b" not in hit_line(hit)
    told = json.loads(hit_line(hit, Path("photos"), as_json=True))
    assert told == {"rank": 1, "score": 0.5, "name": hit.name, "path": f"photos/{hit.name}"}
    assert json.loads(hit_line(Hit("x", float("nan"), 1), as_json=True))["score"] is None


def program(script: str, *argv: str, **environment: str) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", script, *argv]

    def hears_ctrl_c() -> None:  # what runs in the background of a shell has been told to ignore it, and so would this
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=env, preexec_fn=hears_ctrl_c, **pipes)


SAY = """
import os, sys
from vse.system.command_line import run
def say(): print("dog \\U0001f415", os.fsdecode(b'caf\\xe9.jpg'))
sys.exit(run('vse', {'say': say, 'x': say}, ['say'], '1'))
"""


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("utf-8:strict", "dog \U0001f415 ".encode() + b"caf\xe9.jpg\n"), ("cp1252", b"dog ? caf\xe9.jpg\n"),
     ("ascii", b"dog ? caf\xe9.jpg\n")],
)  # fmt: skip
def test_any_terminal_prints_any_name(encoding, printed):
    out, err = program(SAY, PYTHONIOENCODING=encoding).communicate()
    assert out == printed and not err


WAIT = """
import sys, time
from vse.system.command_line import run
def wait():
    print("ready", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        if "wrapped" in sys.argv:
            raise ImportError("numpy was interrupted while it was imported")
        raise
sys.exit(run('vse', {'wait': wait, 'x': wait}, ['wait'], '1'))
"""


@pytest.mark.parametrize("argv", [(), ("wrapped",)])
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_ends_with_one_word(number, word, argv):
    with program(WAIT, *argv) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err.decode() == f"vse: {word}; the same command (train: with --resume) goes on\n"


@pytest.mark.parametrize("module", ["vse", "scnlm"])
def test_ctrl_c_while_the_program_starts(module):
    """At any moment from its first line of ours on: no traceback."""
    for wait in (0.03, 0.06, 0.1, 0.15):
        with program(f"import runpy, sys; sys.argv = ['x', 'data', '/nowhere']; print('ready', flush=True); "
                     f"runpy.run_module('{module}', run_name='__main__')") as process:  # fmt: skip
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        begun = b"_run_module_code" in err  # a slow machine may not have come to our first line yet
        assert b"Traceback" not in err or not begun, err.decode()


def test_signals_are_ours_only_while_a_command_runs():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []
    assert run("vse", {"x": lambda: seen.append(signal.getsignal(signal.SIGTERM)), "y": print}, ["x"], "1") == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before and seen != before[1:]


def test_of_several_processes_the_first_one_tells(monkeypatch):
    for environment, first in (({}, True), ({"RANK": "3"}, True), ({"RANK": "0", "WORLD_SIZE": "2"}, True),
                               ({"RANK": "1", "WORLD_SIZE": "2"}, False)):  # fmt: skip
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert is_first_process() == first
