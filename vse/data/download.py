"""Public copies of Flickr8K and of Flickr30K's captions (section 5), fetched with pooch for `read_dataset`.

A transfer that breaks goes on where it stopped, now or in the next call, and what came is compared with a pinned
checksum; an archive that the user put into the folder by hand is used as it is, its content counted.
"""

import os
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import pooch
import requests
from tqdm import tqdm

from vse.data.formats import SPLIT_FILES, TOKEN_FILE
from vse.data.photo_files import is_photo
from vse.system.errors import InputError
from vse.system.files import locked, read_json

FLICKR30K_FORM = "https://shannon.cs.illinois.edu/DenotationGraph/"
FLICKR8K_PHOTOS_EXPECTED = 8091
FLICKR30K_IMAGES_EXPECTED = 31014
TIMEOUT_S = (10, 60)  # to connect; between two pieces
ATTEMPTS = 3  # a call; each goes on where the last one broke
WAIT_S = 1.0  # before the second attempt, twice that before the third
PIECE = 1 << 16  # bytes


@dataclass(frozen=True)
class Archive:
    """A zip file to fetch, the part of it that is kept, and where that goes."""

    url: str
    keep: Callable[[str], bool]  # by the bare file name
    target: str  # in the data folder: a folder for the kept files, or the one kept file
    problem: Callable[[Path], str]  # what is wrong with a target ("" = nothing)
    known_hash: str | None  # as pooch writes it

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    @property
    def is_folder(self) -> bool:
        return not PurePosixPath(self.target).suffix


def _photos_problem(folder: Path) -> str:
    photos = sum(map(is_photo, os.listdir(folder))) if folder.is_dir() else 0
    expected = FLICKR8K_PHOTOS_EXPECTED
    return "" if photos >= expected else f"has {photos} photos, expected {expected}"


def _texts_problem(folder: Path) -> str:
    missing = [file for file in (TOKEN_FILE, *SPLIT_FILES.values()) if not (folder / file).is_file()]
    return f"has no {', '.join(missing)}" if missing else ""


def _karpathy_problem(path: Path) -> str:
    if not path.is_file():
        return f"has no {path.name}"
    try:
        images = len(read_json(path)["images"])
    except (ValueError, KeyError, TypeError) as error:  # an InputError is a ValueError
        return f"has a {path.name} that is not whole ({type(error).__name__})"
    expected = FLICKR30K_IMAGES_EXPECTED
    return "" if images == expected else f"has {images} images in {path.name}, expected {expected}"


_FLICKR8K = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
_KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent"
# Nobody publishes a SHA-256 of these copies; the MD5 are those that torchvision for R checks.
SOURCES = {
    "flickr8k": (
        Archive(
            f"{_FLICKR8K}/Flickr8k_text.zip", lambda f: f.endswith(".txt"), "Flickr8k_text", _texts_problem,
            "md5:bf6c1abcb8e4a833b7f922104de18627",
        ),
        Archive(
            f"{_FLICKR8K}/Flickr8k_Dataset.zip", is_photo, "Flicker8k_Dataset", _photos_problem,
            "md5:f18a1e2920de5bd84dae7cf08ec78978",
        ),
    ),
    "flickr30k-captions": (
        Archive(
            f"{_KARPATHY}/caption_datasets.zip", lambda f: f == "dataset_flickr30k.json", "dataset_flickr30k.json",
            _karpathy_problem, "md5:4fa8c08369d22fe16e41dc124bd1adc2",
        ),
    ),
}  # fmt: skip


def download(name: str, out: Path, *, mirror: str | None = None) -> Path:
    """The folder `out` with the data set `name` in it, ready for `read_dataset`; what is there already stays.

    `name`: flickr8k (photos and captions, 1.1 GB) or flickr30k-captions (Karpathy's splits). `mirror`: the
    address of another folder with the same zip files. Prints what it got with its SHA-256. Raises InputError
    for a host that is down, a missing or cut file and a zip file that is not what it should be.
    """
    if name not in SOURCES:
        raise InputError(f"{name}: not a data set that can be fetched; expected one of {', '.join(SOURCES)}")
    out = Path(out)
    try:
        lacking = any(archive.problem(out / archive.target) for archive in SOURCES[name])
        with locked(out) if lacking else nullcontext():  # two calls would write into one .part
            for archive in SOURCES[name]:
                _fetch_and_unpack(archive, out, mirror)
    except OSError as error:  # a full disk, a folder that may not be written
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); free it or give another") from None
    if name == "flickr30k-captions":
        print(f"The photos of Flickr30K are given out after a form: {FLICKR30K_FORM}")
        print(f"Put them into {out / 'flickr30k-images'}; without them {out} has captions only.")
    return out


def _fetch_and_unpack(archive: Archive, out: Path, mirror: str | None) -> None:
    target = out / archive.target
    if not archive.problem(target):
        print(f"{target}: already there")
        return
    url = f"{mirror.rstrip('/')}/{archive.file}" if mirror else archive.url
    path = out / archive.file
    by_hand = path.exists()
    if not by_hand:
        _fetch(url, path, archive.known_hash)
    print(f"{path}: {path.stat().st_size} bytes, sha256 {pooch.file_hash(str(path), 'sha256')}")
    _unpack(archive, path, target, url)
    if by_hand:
        print(f"{target}: ready ({path.name} stays, it was there before)")
    else:
        path.unlink()
        print(f"{target}: ready")


def _fetch(url: str, path: Path, known_hash: str | None) -> None:
    """Brings `url` to `path` through pooch, which puts the file there only when it is whole."""
    pooch.get_logger().setLevel("WARNING")  # its notice on the hash is ours to print
    scratch = path.parent / f".{path.name}.fetching"  # pooch's temporary files outlive a call that is killed
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        pooch.retrieve(url, known_hash, path.name, scratch, downloader=ResumingDownloader(path))
        os.replace(scratch / path.name, path)
    except InputError:
        raise
    except ValueError as error:  # pooch: the hash is another one
        raise InputError(f"{url}: {error}; {_by_hand(path)}".replace("\n", " ")) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _by_hand(path: Path) -> str:
    return f"fetch it by hand, put it in {path.parent} as {path.name}, run again (or give a mirror)"


class ResumingDownloader(pooch.HTTPDownloader):
    """pooch's downloader, which keeps what has come in `<file>.part` and asks for the rest (Range)."""

    def __init__(self, path: Path):
        """`path`: where the file will be; messages and the .part file are named after it."""
        super().__init__(progressbar=True, chunk_size=PIECE)
        self.path = path
        self.part = path.with_name(path.name + ".part")

    def __call__(self, url: str, output_file: str, _pooch: object = None, check_only: bool = False) -> None:
        """Brings `url` to `output_file`. Raises InputError when the last of the `ATTEMPTS` fails."""
        for attempt in range(ATTEMPTS):
            time.sleep(WAIT_S * attempt)
            try:
                self._go_on(url)
                os.replace(self.part, output_file)
                return
            except requests.RequestException as error:
                reason = _reason(error)
                status = error.response.status_code if error.response is not None else 0
                if isinstance(error, ValueError) or (400 <= status < 500 and status != 416):
                    break  # no URL, no such file: asking again will not help
        if not (size := self.part.stat().st_size):
            self.part.unlink()
        progress = f" ({self.part.name} keeps the first {size} bytes, run again to go on there)" if size else ""
        raise InputError(f"{url}: {reason}{progress}; {_by_hand(self.path)}")

    def _go_on(self, url: str) -> None:
        """Adds to the .part file what is still missing of it."""
        with open(self.part, "ab") as file:
            have = file.tell()
            byte_range = {"Range": f"bytes={have}-"} if have else {}
            self.kwargs = {"headers": {"Accept-Encoding": "identity"} | byte_range, "timeout": TIMEOUT_S}
            self.kwargs["hooks"] = {"response": partial(self._fit, have)}
            try:
                super().__call__(url, file, None)
            except requests.HTTPError as error:
                if error.response.status_code != 416 or not self.part.stat().st_size:  # 416: nothing comes after it
                    raise

    def _fit(self, have: int, response: requests.Response, **_: object) -> None:
        """Empties the .part file where what is sent does not go on after its `have` bytes: no Range there, too long."""
        told = response.headers.get("Content-Range", "")  # "bytes 100-199/200", "bytes */200"
        fits = told.startswith(f"bytes {have}-") or told == f"bytes */{have}"
        if response.status_code in (200, 206, 416) and not fits:
            os.truncate(self.part, 0)


def _reason(error: requests.RequestException) -> str:
    """A few words on why a transfer failed: the exceptions of requests quote each other at length."""
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"the host did not answer within {max(TIMEOUT_S)} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer broke off"
    if isinstance(error, requests.ConnectionError):
        return "the host cannot be reached or broke off"
    return f"{type(error).__name__}: {error}".replace("\n", " ")


def _unpack(archive: Archive, path: Path, target: Path, url: str) -> None:
    """Puts the kept files of the zip file `path` at `target`: all of them or, if one is wrong, none."""
    delete = f"delete it and run again, or {_by_hand(path)} (it is at {url})"
    scratch = path.parent / f".{target.name}.unpacking"
    shutil.rmtree(scratch, ignore_errors=True)  # of a call that was killed
    scratch.mkdir()
    new = scratch / target.name
    try:
        try:
            with zipfile.ZipFile(path) as source:
                members = _members(archive, path, source, shutil.disk_usage(scratch).free)
                if archive.is_folder:
                    new.mkdir()
                for member in tqdm(members, desc=f"unpacking {path.name}", unit="file"):
                    file = new / PurePosixPath(member.filename).name if archive.is_folder else new
                    with source.open(member) as packed, open(file, "wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked, PIECE)  # the CRC is checked at its end
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{path}: not a whole zip file ({error}); {delete}") from None
        if problem := archive.problem(new):
            raise InputError(f"{path}: {problem}; {delete}")
        if target.is_dir():  # an incomplete one: what it has beside goes on living there
            for file in new.iterdir():
                os.replace(file, target / file.name)
        else:
            os.replace(new, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _members(archive: Archive, path: Path, source: zipfile.ZipFile, free: int) -> list[zipfile.ZipInfo]:
    """The members to unpack. Raises InputError for names that lead out of the folder, links, a full disk."""
    members = []
    for member in source.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
            raise InputError(f"{path}: has {member.filename!r}, which leads out of the folder; do not trust this file")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{path}: has a link, {member.filename!r}; do not trust this file")
        if not member.is_dir() and "__MACOSX" not in name.parts and archive.keep(name.name):
            members.append(member)
    size = sum(member.file_size for member in members)
    if size > free:
        raise InputError(f"{path}: {size} bytes when unpacked, {free} are free; make room and run again")
    return members
