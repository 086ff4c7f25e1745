"""`download` against a server of our own on 127.0.0.1: whole, broken, refused and malicious transfers."""

import hashlib
import io
import json
import os
import re
import stat
import threading
import zipfile
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from vse.data import download as module
from vse.data.datasets import read_dataset
from vse.data.download import download
from vse.system.errors import InputError
from vse.system.files import locked


@dataclass
class Site:
    """What the server has and does; `ranges` is what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)  # so many answers for this file stop half way
    status: int = 200
    knows_range: bool = True
    sends_length: bool = True
    too_long: int = 0  # bytes that the promised length is more than what comes
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self):
        site, name = self.site, self.path.rsplit("/", 1)[-1]
        wanted = self.headers.get("Range", "")
        site.asked.append((name, wanted))
        if site.status != 200 or name not in site.files:
            return self.send_error(site.status if site.status != 200 else 404)
        body = site.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and site.knows_range else 0
        if start and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return None
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if site.sends_length:
            self.send_header("Content-Length", str(len(body) - start + site.too_long))
        self.end_headers()
        rest = body[start:]
        if site.breaks.get(name):
            site.breaks[name] -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)
        self.close_connection = True
        return None

    def log_message(self, *args):
        """Keeps the tests' output clean."""


@pytest.fixture
def site(monkeypatch):
    """A running server; `download` waits for nothing and expects 3 photos, 2 JSON images and no certain hash."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"site": site}))
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/copies"
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    for name, archives in module.SOURCES.items():
        archives = tuple(replace(archive, known_hash=None) for archive in archives)
        monkeypatch.setitem(module.SOURCES, name, archives)
    monkeypatch.setattr(module, "FLICKR8K_PHOTOS_EXPECTED", 3)
    monkeypatch.setattr(module, "FLICKR30K_IMAGES_EXPECTED", 2)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def zipped(files: dict[str, bytes | str]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


def flickr8k_files() -> dict[str, bytes]:
    """The two archives as they are passed around: texts without a folder, photos beside what a Mac adds."""
    big = np.random.default_rng(0).bytes(1_000_000)
    names = ("a.jpg", "b.jpg", "c.jpg")
    texts = {
        "Flickr8k.token.txt": "".join(f"{name}#0\tThe {name} .\n" for name in names),
        "Flickr_8k.trainImages.txt": "a.jpg\n",
        "Flickr_8k.devImages.txt": "b.jpg\n",
        "Flickr_8k.testImages.txt": "c.jpg\n",
        "readme.txt": "x",
        "__MACOSX/._readme.txt": "x",
    }
    photos = {"Flicker8k_Dataset/": b""} | {f"Flicker8k_Dataset/{name}": big for name in names}
    photos |= {"__MACOSX/Flicker8k_Dataset/._a.jpg": b"x", "Flicker8k_Dataset/Thumbs.db": b"x"}
    return {"Flickr8k_text.zip": zipped(texts), "Flickr8k_Dataset.zip": zipped(photos)}


def flickr30k_file(images: int = 2) -> bytes:
    sentences = [{"raw": "A man."}]
    entries = [{"filename": f"{i}.jpg", "split": "train", "sentences": sentences} for i in range(images)]
    content = json.dumps({"images": entries, "dataset": "flickr30k"})
    return zipped({"dataset_coco.json": "{}", "folder/dataset_flickr30k.json": content, "readme.txt": "x"})


def fails(*parts: str, name="flickr30k-captions", out: Path, mirror: str) -> str:
    with pytest.raises(InputError) as caught:
        download(name, out, mirror=mirror)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_flickr8k_whole_and_again(site, tmp_path, capsys):
    site.files = flickr8k_files()
    out = tmp_path / "new/flickr8k"
    assert download("flickr8k", out, mirror=site.url + "/") == out
    assert names_in(out) == ["Flicker8k_Dataset", "Flickr8k_text"]  # no archives, no scratch folders
    assert names_in(out / "Flicker8k_Dataset") == ["a.jpg", "b.jpg", "c.jpg"]
    assert "readme.txt" in names_in(out / "Flickr8k_text") and "._readme.txt" not in names_in(out / "Flickr8k_text")
    dataset = read_dataset(out)
    assert dataset.name == "flickr8k" and dataset.split("test").captions == ("The c.jpg .",) and not dataset.notes
    printed = capsys.readouterr().out
    for content in site.files.values():
        assert hashlib.sha256(content).hexdigest() in printed
    asked = len(site.asked)
    download("flickr8k", out, mirror=site.url)
    assert len(site.asked) == asked == 2
    assert "already there" in capsys.readouterr().out


def test_flickr30k_captions_and_where_the_photos_are(site, tmp_path, capsys):
    site.files = {"caption_datasets.zip": flickr30k_file()}
    download("flickr30k-captions", tmp_path, mirror=site.url)
    assert names_in(tmp_path) == ["dataset_flickr30k.json"]
    dataset = read_dataset(tmp_path)
    assert dataset.name == "flickr30k" and dataset.root is None and len(dataset.images) == 2
    assert "https://shannon.cs.illinois.edu/DenotationGraph/" in capsys.readouterr().out
    (tmp_path / "flickr30k-images").mkdir()
    for name in dataset.images:
        (tmp_path / "flickr30k-images" / name).touch()
    assert read_dataset(tmp_path).root == tmp_path / "flickr30k-images"  # the place that was named is found


def test_a_break_half_way_goes_on_where_it_stopped(site, tmp_path):
    site.files, site.breaks = flickr8k_files(), {"Flickr8k_Dataset.zip": 2}
    download("flickr8k", tmp_path, mirror=site.url)
    photos = [int(wanted[6:-1]) if wanted else 0 for name, wanted in site.asked if name == "Flickr8k_Dataset.zip"]
    assert len(photos) == 3 and photos[0] == 0 and 1_000_000 < photos[1] < photos[2] < 3_000_000
    big = np.random.default_rng(0).bytes(1_000_000)
    assert (tmp_path / "Flicker8k_Dataset/c.jpg").read_bytes() == big


def test_the_next_call_goes_on_too(site, tmp_path):
    site.files = flickr8k_files()
    (tmp_path / "Flickr8k_Dataset.zip.part").write_bytes(site.files["Flickr8k_Dataset.zip"][:1_234_567])
    download("flickr8k", tmp_path, mirror=site.url)
    assert ("Flickr8k_Dataset.zip", "bytes=1234567-") in site.asked
    assert len(read_dataset(tmp_path).images) == 3


@pytest.mark.parametrize("cut", [0, 10, None])
def test_a_part_that_is_already_whole_or_too_long(site, tmp_path, cut):
    content = flickr30k_file()
    site.files = {"caption_datasets.zip": content}
    (tmp_path / "caption_datasets.zip.part").write_bytes(
        content + b"more" if cut is None else content[: len(content) - cut]
    )
    download("flickr30k-captions", tmp_path, mirror=site.url)
    assert names_in(tmp_path) == ["dataset_flickr30k.json"]


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_server_without_range_starts_again(site, tmp_path, sends_length):
    site.files = {"caption_datasets.zip": flickr30k_file()}
    site.knows_range, site.sends_length = False, sends_length
    (tmp_path / "caption_datasets.zip.part").write_bytes(b"the start of something else")
    download("flickr30k-captions", tmp_path, mirror=site.url)
    assert len(read_dataset(tmp_path).images) == 2


def test_a_transfer_that_always_breaks_keeps_its_part(site, tmp_path):
    site.files = {"caption_datasets.zip": np.random.default_rng(0).bytes(1_000_000)}
    site.breaks = {"caption_datasets.zip": 100}
    fails("broke off", "caption_datasets.zip.part keeps", "run again", out=tmp_path, mirror=site.url)
    assert names_in(tmp_path) == ["caption_datasets.zip.part"]
    assert len(site.asked) == module.ATTEMPTS


def test_a_wrong_size_is_no_success(site, tmp_path):
    site.files, site.too_long = {"caption_datasets.zip": flickr30k_file()}, 7
    fails(site.url, "broke off", out=tmp_path, mirror=site.url)
    assert not (tmp_path / "dataset_flickr30k.json").exists()


def test_two_calls_do_not_write_into_one_folder(site, tmp_path):
    site.files = {"caption_datasets.zip": flickr30k_file()}
    with locked(tmp_path):
        fails(str(os.getpid()), "is writing there", out=tmp_path, mirror=site.url)
    assert not site.asked
    download("flickr30k-captions", tmp_path, mirror=site.url)
    with locked(tmp_path):  # nothing is written where all is there
        download("flickr30k-captions", tmp_path, mirror=site.url)


def test_what_killed_calls_left_is_removed(site, tmp_path):
    site.files = {"caption_datasets.zip": flickr30k_file()}
    for folder in (".caption_datasets.zip.fetching", ".dataset_flickr30k.json.unpacking"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tmpabc").write_bytes(b"x")
    download("flickr30k-captions", tmp_path, mirror=site.url)
    assert names_in(tmp_path) == ["dataset_flickr30k.json"]


@pytest.mark.parametrize("content", ["[" * 5000, '{"images": ' + "9" * 5000 + "}", '{"images": NaN}', "[1]"])
def test_a_list_that_breaks_readers_is_fetched_again(site, tmp_path, content):
    (tmp_path / "dataset_flickr30k.json").write_text(content)
    site.files = {"caption_datasets.zip": flickr30k_file()}
    download("flickr30k-captions", tmp_path, mirror=site.url)
    assert len(read_dataset(tmp_path).images) == 2


def test_not_found(site, tmp_path):
    message = fails(f"{site.url}/caption_datasets.zip", "404", "by hand", out=tmp_path, mirror=site.url)
    assert f"put it in {tmp_path} as caption_datasets.zip" in message
    assert len(site.asked) == 1 and names_in(tmp_path) == []


def test_an_ill_server_is_asked_again(site, tmp_path):
    site.status = 503
    fails("503", "by hand", out=tmp_path, mirror=site.url)
    assert len(site.asked) == module.ATTEMPTS


def test_server_down_and_no_url(site, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    fails(f"{closed}/caption_datasets.zip", "cannot be reached", "by hand", out=tmp_path, mirror=closed)
    fails("copies/caption_datasets.zip", "by hand", out=tmp_path, mirror="copies")


def test_an_archive_put_there_by_hand_is_used_and_kept(tmp_path, site, capsys):
    (tmp_path / "caption_datasets.zip").write_bytes(flickr30k_file())
    download("flickr30k-captions", tmp_path, mirror=site.url)
    assert site.asked == [] and names_in(tmp_path) == ["caption_datasets.zip", "dataset_flickr30k.json"]
    assert hashlib.sha256(flickr30k_file()).hexdigest() in capsys.readouterr().out


@pytest.mark.parametrize(
    "evil", ["../evil.jpg", "Flicker8k_Dataset/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "C:\\e.jpg"]
)
def test_a_zip_that_leads_out_of_the_folder_is_refused(site, tmp_path, evil):
    site.files = flickr8k_files()
    site.files["Flickr8k_Dataset.zip"] = zipped({f"{i}.jpg": b"x" for i in range(3)} | {evil: b"x"})
    fails("leads out", "do not trust", name="flickr8k", out=tmp_path / "out", mirror=site.url)
    assert names_in(tmp_path) == ["out"] and names_in(tmp_path / "out") == [
        "Flickr8k_Dataset.zip",
        "Flickr8k_text",
    ]


def test_a_zip_with_a_link_is_refused(site, tmp_path):
    link = zipfile.ZipInfo("a.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr(link, "/etc/hostname")
    site.files = flickr8k_files() | {"Flickr8k_Dataset.zip": memory.getvalue()}
    fails("has a link", "a.jpg", name="flickr8k", out=tmp_path, mirror=site.url)


def test_archives_that_are_not_what_they_should_be(site, tmp_path):
    content = bytearray(flickr30k_file())
    content[content.index(b"A man")] ^= 1  # one bit: the CRC of the zip sees it
    wrong = {
        "not a whole zip": [b"<html>Sign in to go on</html>", b"", flickr30k_file()[:-30], bytes(content)],
        "has 5 images in dataset_flickr30k.json, expected 2": [flickr30k_file(5)],
        "has no dataset_flickr30k.json": [zipped({"readme.txt": "x"})],
        "that is not whole": [zipped({"dataset_flickr30k.json": '{"images": [1,'})],
    }
    for part, contents in wrong.items():
        for content in contents:
            site.files = {"caption_datasets.zip": bytes(content)}
            (tmp_path / "caption_datasets.zip").unlink(missing_ok=True)
            fails(part, "delete it and run again", out=tmp_path, mirror=site.url)
            assert names_in(tmp_path) == ["caption_datasets.zip"]


def test_too_few_photos_are_not_taken_for_the_data_set(site, tmp_path):
    site.files = flickr8k_files() | {"Flickr8k_Dataset.zip": zipped({"a.jpg": b"x", "b.jpg": b"x"})}
    fails("has 2 photos, expected 3", name="flickr8k", out=tmp_path, mirror=site.url)
    assert not (tmp_path / "Flicker8k_Dataset").exists()


def test_an_incomplete_folder_is_filled_and_keeps_what_it_has(site, tmp_path):
    site.files = flickr8k_files()
    (tmp_path / "Flicker8k_Dataset").mkdir()
    (tmp_path / "Flicker8k_Dataset/mine.txt").write_text("mine")
    download("flickr8k", tmp_path, mirror=site.url)
    assert names_in(tmp_path / "Flicker8k_Dataset") == ["a.jpg", "b.jpg", "c.jpg", "mine.txt"]


def test_a_known_checksum_is_checked(site, tmp_path, monkeypatch):
    site.files = {"caption_datasets.zip": flickr30k_file()}
    (archive,) = module.SOURCES["flickr30k-captions"]
    right = hashlib.sha256(flickr30k_file()).hexdigest()
    monkeypatch.setitem(module.SOURCES, "flickr30k-captions", (replace(archive, known_hash="0" * 64),))
    fails("hash", right, "by hand", out=tmp_path, mirror=site.url)
    assert names_in(tmp_path) == []
    monkeypatch.setitem(module.SOURCES, "flickr30k-captions", (replace(archive, known_hash=right),))
    download("flickr30k-captions", tmp_path, mirror=site.url)
    assert names_in(tmp_path) == ["dataset_flickr30k.json"]


def test_no_room_and_no_such_data_set(site, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="flickr8k, flickr30k-captions"):
        download("coco", tmp_path)
    (tmp_path / "file").write_text("x")
    fails("cannot be written", out=tmp_path / "file", mirror=site.url)
    site.files = {"caption_datasets.zip": flickr30k_file()}
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    fails("10 are free", out=tmp_path, mirror=site.url)


def test_the_addresses_are_those_of_the_public_copies_and_their_hashes_are_pinned():
    urls = [archive.url for archives in module.SOURCES.values() for archive in archives]
    assert all(archive.known_hash for archives in module.SOURCES.values() for archive in archives)
    assert urls == [
        "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/Flickr8k_text.zip",
        "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/Flickr8k_Dataset.zip",
        "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
    ]
