"""What may reach a terminal: text without control characters, in any encoding, and one word at Ctrl-C or SIGTERM.

Captions, file names and vocabularies may hold anything; written as they are, they could move the cursor, set the
window's title or turn the line around. Knows no command and no file.
"""

import codecs
import contextlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

# C0, DEL and C1, line separators, and what turns the direction of writing.
_LINES = "\t\n"
_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_SHOWN = f"{_CONTROL}\u061c\udc80-\udc9f"  # a mark of direction that words may have, and C1 as bytes of a name
_UNSEEN, _UNSEEN_OR_LINES = re.compile(f"[{_SHOWN}]"), re.compile(f"[{_LINES}{_SHOWN}]")
_UNSTORABLE = re.compile(f"[{_LINES}{_CONTROL}\ud800-\udfff]")
_BAR = re.compile(r"(?:\n|\r|\x1b\[A)*")  # how a progress bar of tqdm goes to its line


def printable(text: str) -> str:
    """`text` in one line, each control character replaced by U+FFFD, so that a terminal only shows it."""
    return _UNSEEN_OR_LINES.sub("\ufffd", text)


def is_storable(text: str) -> bool:
    """True for a text that survives in a list of one text a line, UTF-8, and does nothing to a terminal."""
    return bool(text) and not _UNSTORABLE.search(text)


class Screen:
    """A text stream that lets no control character through but line ends and tabs; the rest is the stream's own.

    `bars`: the moves of progress bars may pass at the start of what is written.
    """

    def __init__(self, stream: Any, bars: bool = False):
        self._stream, self._bars = stream, bars

    def write(self, text: str) -> int:
        start = _BAR.match(text).end() if self._bars else 0
        end = len(text) - 1 if self._bars and text.endswith("\r") else len(text)
        self._stream.write(text[:start] + _UNSEEN.sub("\ufffd", text[start:end]) + text[max(start, end) :])
        return len(text)

    def isatty(self) -> bool:
        """False but for bars: who asks would write colors, whose escapes do not pass."""
        return self._bars and self._stream.isatty()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    """The byte of a name that is no text as it is on the disk; "?" for what the terminal's encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    return bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else "?", error.start + 1


codecs.register_error("vse-terminal", _replacement)


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """While it lasts, what is printed reaches the terminal without control characters, in whatever encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="vse-terminal")
    out, err = Screen(sys.stdout), Screen(sys.stderr, bars=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def is_first_process() -> bool:
    """True but in the second and later processes that `torchrun` started: they do the same, and the first one tells."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def caught_signals() -> Iterator[list[int]]:
    """The list of the signals that ended the work inside: SIGINT and SIGTERM raise KeyboardInterrupt there.

    Libraries that are interrupted while they are imported raise errors of their own instead: the list still tells.
    """
    received: list[int] = []
    owner = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a forked worker dies as it would have
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler not in (None, signal.SIG_IGN):  # not ours, or ignored as under nohup
            signal.signal(number, end)
    try:
        yield received
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
