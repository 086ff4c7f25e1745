"""vse.system.files: whole files with the umask's mode, strict JSON, one writer a folder, caches without a home."""

import json
import os
import socket
import stat
import subprocess
import sys

import pytest

from vse.system import files
from vse.system.errors import InputError
from vse.system.files import LOCK, clean_temporaries, json_text, locked, parse_json, read_json, user_cache, write_text

GONE = 2**22 + 1  # no process has this number: Linux counts to 2^22


# --- Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_the_umask_decides_who_may_read(mask, tmp_path):
    before = os.umask(mask)
    try:
        files.write_atomically(tmp_path / "f", lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o666 & ~mask


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "f", "old")

    def fails(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        files.write_atomically(tmp_path / "f", fails)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("f", "old")]


def test_what_killed_writers_left_is_cleared_away_but_not_what_is_being_written(tmp_path):
    names = [f".f.{GONE}.tmp", f".f.{os.getpid()}.tmp", ".f.tmp", "f.1.tmp", ".hidden"]
    for name in names:
        (tmp_path / name).touch()
    clean_temporaries(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(names[1:])


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{", "", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', '{"a": ' + "9" * 5000 + "}",
        '{"a": ' + "[" * 200 + "]" * 200 + "}", "[" * 100_000, '{"a": ' * 50_000,
    ],
)  # fmt: skip
def test_what_is_no_strict_json_is_one_line(text, tmp_path):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(InputError, match="f.json: not valid JSON") as refused:
        read_json(tmp_path / "f.json")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_json_that_is_no_text_no_object_or_no_file(tmp_path):
    (tmp_path / "f.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "f.json")
    (tmp_path / "f.json").write_text("[1]")
    with pytest.raises(InputError, match="expected a JSON object, found list"):
        read_json(tmp_path / "f.json")
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")


def test_json_as_it_should_be_is_read(tmp_path):
    value = {"a": [1, 2.5, -(2**70), None, True, "ä"], "b": {"c": {}}}
    (tmp_path / "f.json").write_text("\ufeff" + json.dumps(value), encoding="utf-8")
    assert read_json(tmp_path / "f.json") == value
    assert parse_json("[" * 90 + "]" * 90, "here")


def test_numbers_that_are_not_finite_become_null():
    text = json_text({"a": [float("nan"), 1.5, (float("inf"),)]})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, 1.5, [None]]}


# --- One writer a folder ---------------------------------------------------------------------------------------------


def test_one_writer_at_a_time(tmp_path):
    with locked(tmp_path / "out"):
        with pytest.raises(InputError, match=f"process {os.getpid()} on .* is writing there"), locked(tmp_path / "out"):
            pass
        assert (tmp_path / "out" / LOCK).exists()  # still the first one's
    assert not (tmp_path / "out" / LOCK).exists()


def test_another_living_process_holds_its_lock(tmp_path):
    script = (
        "import sys; from pathlib import Path; from vse.system.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"process {other.pid} on"), locked(tmp_path):
            pass
        other.kill()
    with locked(tmp_path):  # it was killed: its lock is taken over
        assert (tmp_path / LOCK).read_text().startswith(f"{os.getpid()} ")


@pytest.mark.parametrize(
    ("pid", "started", "host", "held"),
    [
        (GONE, "-", "here", False),
        ("mine", "1", "here", False),  # the number was used again, as in containers at once
        ("mine", "-", "here", True),
        (1, "-", "elsewhere", True),  # a living process there cannot be asked
    ],
)
def test_locks_that_are_found(pid, started, host, held, tmp_path):
    pid = os.getpid() if pid == "mine" else pid  # workers of one test run must name their tests alike
    (tmp_path / LOCK).write_text(f"{pid} {started} {socket.gethostname() if host == 'here' else host}")
    if held:
        with pytest.raises(InputError, match="if it is gone, delete"), locked(tmp_path):
            pass
    else:
        with locked(tmp_path):
            pass


def test_old_locks_of_another_host_and_torn_ones_are_taken_over(tmp_path):
    for content in ("1 - elsewhere", "", "torn"):
        (tmp_path / LOCK).write_text(content)
        os.utime(tmp_path / LOCK, (0, 0))
        with locked(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_a_lock_goes_when_the_work_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


# --- Caches ----------------------------------------------------------------------------------------------------------


def test_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert user_cache("vse") == tmp_path / "cache" / "vse" and not (tmp_path / "cache").exists()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache("vse") == tmp_path / ".cache" / "vse"


def test_no_home_or_one_that_may_not_be_written(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    tmp_path.chmod(0o555)
    monkeypatch.setenv("HOME", str(tmp_path))
    elsewhere = user_cache("vse")
    assert tmp_path not in elsewhere.parents and elsewhere.name.startswith("vse-cache-")
    monkeypatch.setattr(files.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert user_cache("vse") == elsewhere
    tmp_path.chmod(0o755)
