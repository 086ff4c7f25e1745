"""vse.search.queries: right answers, an index that encodes only what changed, and nothing that stops a search.

The model is a stand-in whose space is colour: a photo is its mean colour, a sentence the sum
of its colour words.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vse.data.vocabulary import Vocabulary, tokenize
from vse.features.store import Features
from vse.search import kept_index
from vse.search.index import Index
from vse.search.queries import Hit, is_photo_query, search_captions, search_images, similar_photos
from vse.system.errors import InputError
from vse.system.files import digest_of_path

COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250), "grey": (120, 120, 120)}


class ColourModel:
    """Deterministic; counts what it encodes; refuses an unreadable photo as the real one does."""

    def __init__(self, fingerprint: str = "colours-1"):
        self.fingerprint = fingerprint
        self.vocabulary = Vocabulary.from_captions([" ".join(COLOURS)])
        self.images: list[str] = []
        self.texts: list[str] = []
        self.rows = 0

    def encode_images(self, paths) -> np.ndarray:
        if isinstance(paths, np.ndarray):  # features: the colour itself
            self.rows += len(paths)
            return self._unit(paths.reshape(len(paths), 3).astype(float))
        means = []
        for path in paths:
            try:
                means.append(np.asarray(Image.open(path).convert("RGB"), float).mean((0, 1)))
            except OSError as error:
                raise InputError(f"{path}: not a readable image\n({error})") from None
        self.images += [Path(path).name for path in paths]
        return self._unit(means)

    def encode_texts(self, texts) -> np.ndarray:
        self.texts += texts
        known = [[COLOURS[word] for word in tokenize(text) if word in COLOURS] for text in texts]
        return self._unit([np.sum(colours, axis=0) for colours in known])

    @staticmethod
    def _unit(rows) -> np.ndarray:
        rows = np.array(rows)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def paint(path: Path, colour: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), COLOURS[colour]).save(path)
    return path


@pytest.fixture
def album(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(kept_index, "user_cache", lambda program: tmp_path / "user cache" / program)
    folder = tmp_path / "album"
    paint(folder / "b.png", "blue")
    paint(folder / "a.PNG", "red")
    paint(folder / "2021" / "c d.png", "green")
    (folder / "notes.txt").write_text("not a photo")
    paint(folder / ".hidden" / "x.png", "red")
    return folder


def home_of(source: Path, fingerprint: str = "colours-1") -> Path:
    """Where the index of a folder or file is kept."""
    return kept_index.user_cache("vse") / digest_of_path(source) / fingerprint


def names(result) -> list[str]:
    return [hit.name for hit in result.hits]


def test_the_nearest_photo_comes_first(album):
    result = search_images(ColourModel(), album, "A red, red thing!", k=3)
    assert names(result)[0] == "a.PNG" and set(names(result)) == {"a.PNG", "b.png", "2021/c d.png"}
    assert [hit.rank for hit in result.hits] == [1, 2, 3]
    assert result.hits[0].score == pytest.approx(1, abs=1e-6)
    assert result.hits[1].score == result.hits[2].score < 0.2
    assert names(result)[1:] == ["2021/c d.png", "b.png"]  # of equals the first by name
    assert result.skipped == () and result.encoded == 3
    best = search_images(ColourModel(), album, "blue unicorn").hits[0]
    assert best == Hit("b.png", best.score, 1) and best.score == pytest.approx(1, abs=1e-6)


def test_k_cuts_and_a_small_folder_gives_all(album):
    assert len(search_images(ColourModel(), album, "red", k=2).hits) == 2
    assert len(search_images(ColourModel(), album, "red", k=50).hits) == 3
    for k in (0, -3):
        with pytest.raises(InputError, match=f"k = {k}"):
            search_images(ColourModel(), album, "red", k=k)


def test_only_new_and_changed_photos_are_encoded(album):
    model = ColourModel()
    first = search_images(model, album, "red")
    assert sorted(model.images) == ["a.PNG", "b.png", "c d.png"]
    model.images.clear()
    again = search_images(model, album, "red")
    assert (again.encoded, model.images, again.hits) == (0, [], first.hits)

    paint(album / "new.png", "red")
    paint(album / "b.png", "red")
    os.utime(album / "b.png", ns=(1, 1))  # same size, another time: changed
    (album / "a.PNG").unlink()
    result = search_images(model, album, "red")
    assert sorted(model.images) == ["b.png", "new.png"] and result.encoded == 2
    assert names(result) == ["b.png", "new.png", "2021/c d.png"]
    fresh = search_images(ColourModel(), album, "red", cache=album.parent / "elsewhere")
    assert fresh.hits == result.hits and fresh.encoded == 3


def test_a_vanished_photo_alone_leaves_the_index(album):
    model = ColourModel()
    search_images(model, album, "red")
    (album / "a.PNG").unlink()
    assert "a.PNG" not in names(search_images(model, album, "red"))
    assert Index.load(home_of(album)).names == ("2021/c d.png", "b.png")


def test_a_photo_whose_size_alone_changed_is_encoded(album):
    search_images(ColourModel(), album, "red")
    times = (album / "b.png").stat()
    Image.new("RGB", (80, 80), COLOURS["red"]).save(album / "b.png")
    os.utime(album / "b.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    result = search_images(ColourModel(), album, "red", k=2)
    assert result.encoded == 1 and names(result) == ["a.PNG", "b.png"]


def test_two_models_never_mix(album):
    search_images(ColourModel("one"), album, "red")
    assert search_images(ColourModel("two"), album, "red").encoded == 3
    assert search_images(ColourModel("one"), album, "red").encoded == 0
    assert sorted(p.name for p in home_of(album).parent.iterdir()) == ["one", "two"]


def test_a_model_without_a_fingerprint_keeps_no_index(album):
    for _ in range(2):
        assert search_images(ColourModel(""), album, "red").encoded == 3
    assert not home_of(album).parent.exists()


def test_unreadable_photos_are_named_and_do_not_stop_the_search(album, capsys):
    (album / "broken.jpg").write_bytes(b"")
    (album / "cut.png").write_bytes((album / "b.png").read_bytes()[:40])
    (album / "link.jpg").symlink_to(album / "nowhere.jpg")
    for encoded in (3, 0):  # asked again they are named again, and nothing else is encoded
        result = search_images(ColourModel(), album, "blue", k=9)
        assert result.skipped == ("broken.jpg", "cut.png", "link.jpg") and result.encoded == encoded
        assert names(result)[0] == "b.png" and len(result.hits) == 3
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped ")]
        assert [line.split()[1] for line in told] == ["broken.jpg:", "cut.png:", "link.jpg:"]
        assert "empty file" in told[0] and "no such file" in told[2]
    paint(album / "broken.jpg", "blue")  # mended: found the next time
    assert "broken.jpg" in names(search_images(ColourModel(), album, "blue"))


def test_what_is_wrong_with_the_model_is_not_blamed_on_photos(album):
    class WithoutWeights(ColourModel):
        def encode_images(self, paths):
            raise InputError("no weights of vgg19; see the README")

    with pytest.raises(InputError, match="^no weights of vgg19"):
        search_images(WithoutWeights(), album, "red")


def test_no_readable_photo_is_one_line(album, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.jpg").write_bytes(b"no")
    (tmp_path / "empty").mkdir()
    wrong = {"bad": "none of the 1 photos can be used; the first, x.jpg"}
    wrong |= {"empty": "no photo", "absent": "not a folder"}
    for folder, message in wrong.items():
        with pytest.raises(InputError, match=message) as caught:
            search_images(ColourModel(), tmp_path / folder, "red")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("query", "words"), [("A Purple cat", "a, purple, cat"), ("?!", "it has none")])
def test_a_query_without_a_known_word(album, query, words):
    model = ColourModel()
    with pytest.raises(InputError, match=words):
        search_images(model, album, query)
    assert model.images == []  # said before an hour of encoding, not after


def test_a_spoiled_index_is_made_anew(album):
    first = search_images(ColourModel(), album, "red")
    file = home_of(album) / "index.safetensors"
    whole = file.read_bytes()
    swapped = whole.replace(b"a.PNG", b"z.PNG").replace(b"b.png", b"a.PNG").replace(b"z.PNG", b"b.png")
    for spoiled in (whole[:-20], b"", b"null", swapped, whole[:-1] + b"x"):
        file.write_bytes(spoiled)
        result = search_images(ColourModel(), album, "red")
        assert result.encoded == 3 and result.hits == first.hits
        assert search_images(ColourModel(), album, "red").encoded == 0


def test_nothing_is_written_among_the_photos_and_nothing_there_is_read(album):
    """An index that comes with somebody's photos is somebody else's."""
    (album / ".vse-index" / "colours-1").mkdir(parents=True)
    Index(np.eye(3, dtype=np.float32), ["x", "y", "z"], ["", "", ""]).save(album / ".vse-index" / "colours-1")
    before = sorted(album.rglob("*"))
    assert search_images(ColourModel(), album, "red").encoded == 3
    assert sorted(album.rglob("*")) == before and home_of(album).is_dir()
    assert home_of(album).parent.stat().st_mode & 0o077 == 0  # names of photos are the user's own


def test_the_index_goes_where_it_is_told(album, tmp_path):
    cache = tmp_path / "my cache"
    assert search_images(ColourModel(), album, "red", cache=cache).encoded == 3
    assert search_images(ColourModel(), album, "red", cache=cache).encoded == 0
    assert not (album / ".vse-index").exists()
    other = shutil.copytree(album, tmp_path / "other")  # one cache for many folders
    assert search_images(ColourModel(), other, "red", cache=cache).encoded == 3


def test_no_place_to_write_is_told_and_answered(album, tmp_path, capsys):
    (tmp_path / "user cache").mkdir()
    (tmp_path / "user cache" / "vse").write_text("a file where the folder should be: mkdir fails, for root as well")
    for _ in range(2):
        result = search_images(ColourModel(), album, "red")
        assert names(result)[0] == "a.PNG" and result.encoded == 3
        assert capsys.readouterr().err.count("index not kept") == 1


def test_a_full_disk_costs_the_index_and_not_the_answer(album, monkeypatch, capsys):
    def full_disk(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_index, "_BATCH", 1)
    monkeypatch.setattr(kept_index, "_BATCHES_A_SAVE", 1)
    monkeypatch.setattr(Index, "save", full_disk)
    assert names(search_images(ColourModel(), album, "red"))[0] == "a.PNG"
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_a_killed_search_keeps_what_it_had(album, monkeypatch):
    monkeypatch.setattr(kept_index, "_BATCH", 1)
    monkeypatch.setattr(kept_index, "_BATCHES_A_SAVE", 1)

    class Killed(ColourModel):
        def encode_images(self, paths):
            if len(self.images) == 2:
                raise KeyboardInterrupt
            return super().encode_images(paths)

    with pytest.raises(KeyboardInterrupt):
        search_images(Killed(), album, "red")
    result = search_images(ColourModel(), album, "red")
    assert result.encoded == 1 and names(result)[0] == "a.PNG"


@pytest.fixture
def captions(album) -> Path:
    file = album.parent / "captions.txt"
    lines = ["\ufeffa red car", "", "  A blue sky ", "a green hill", "something purple", "a red car"]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_the_nearest_caption_comes_first(album, captions, capsys):
    result = search_captions(ColourModel(), captions, album / "b.png", k=9)
    assert names(result)[0] == "A blue sky" and len(result.hits) == 3  # the red car once
    assert result.encoded == 3 and result.skipped == ("something purple",)
    assert "skipped 'something purple': the model knows none" in capsys.readouterr().err
    assert (home_of(captions) / "index.safetensors").exists() and not (captions.parent / ".vse-index").exists()


def test_only_new_captions_are_encoded(album, captions):
    model = ColourModel()
    search_captions(model, captions, album / "b.png")
    model.texts.clear()
    assert search_captions(model, captions, album / "a.PNG").encoded == 0
    captions.write_text("a red car\na blue sea\n")
    result = search_captions(model, captions, album / "b.png")
    assert model.texts == ["a blue sea"] and names(result) == ["a blue sea", "a red car"]


def test_captions_of_a_csv(album, tmp_path):
    file = tmp_path / "list.csv"
    file.write_text('image,caption\n1.jpg,"a blue, blue sea"\n2.jpg,a red car\n3.jpg,\n4.jpg\n')
    assert names(search_captions(ColourModel(), file, album / "b.png")) == ["a blue, blue sea", "a red car"]
    file.write_text("image,text\n1.jpg,a red car\n")
    with pytest.raises(InputError, match="expected one called 'caption'"):
        search_captions(ColourModel(), file, album / "b.png")
    file.write_text('image,caption\n1.jpg,"a quote that never ends' + " red" * 40_000)
    with pytest.raises(InputError, match="not a CSV file"):
        search_captions(ColourModel(), file, album / "b.png")


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"caf\xe9 rouge\n", b"purple rain\n"])
def test_caption_files_that_cannot_be_used(album, tmp_path, content):
    file = tmp_path / "odd.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        search_captions(ColourModel(), file, album / "b.png")
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_photos_that_cannot_be_asked_about(album, captions):
    with pytest.raises(InputError, match="no such photo"):
        search_captions(ColourModel(), captions, album / "absent.png")
    with pytest.raises(InputError, match="not a readable image"):
        search_captions(ColourModel(), captions, album / "notes.txt")


# --- a photo that is asked for photos, features instead of the CNN --------------------------------------------------


def test_a_photo_finds_photos_like_it(album, tmp_path):
    asked = paint(tmp_path / "mine.png", "green")
    model = ColourModel()
    assert names(similar_photos(model, album, asked, k=1)) == ["2021/c d.png"]
    assert model.images.count("mine.png") == 1
    inside = similar_photos(ColourModel(), album, album / "b.png", k=1)  # itself, where it lies in the folder
    assert names(inside) == ["b.png"] and inside.hits[0].score == pytest.approx(1, abs=1e-6)
    (album / "bad.png").write_bytes(b"no")
    for photo, says in ((album / "bad.png", "bad.png: not an image"), (tmp_path / "no.png", "no such photo")):
        with pytest.raises(InputError, match=says):
            similar_photos(ColourModel("another"), album, photo)
    assert not home_of(album, "another").exists()  # said before anything is encoded


def test_which_queries_are_photos(album, tmp_path, monkeypatch):
    monkeypatch.chdir(album)
    assert is_photo_query("b.png") and is_photo_query("notes.txt") and is_photo_query("nowhere/typo.jpg")
    (album / "dog").write_text("")
    assert is_photo_query("./dog") and not is_photo_query("dog")  # a word, though there is such a file
    assert not is_photo_query("a red car") and not is_photo_query("what is in b.png") and not is_photo_query("x" * 5000)


def rows_of(colours: dict[str, str], info: dict | None = None) -> Features:
    array = np.array([COLOURS[colour] for colour in colours.values()], np.float16)[:, None, None]
    return Features(array, tuple(colours), info or {"encoder": "colours"})


def test_stored_features_spare_the_cnn(album, capsys):
    """Photos with a row do not go through the CNN; the others do, and that is said."""
    model = ColourModel()
    stored = rows_of({"a.PNG": "red", "2021/c d.png": "green", "other.png": "grey"})
    result = search_images(model, album, "red", features=stored)
    assert (names(result)[0], result.encoded, model.rows, model.images) == ("a.PNG", 3, 2, ["b.png"])
    assert "note: 1 of 3 photos are not in the features (first: b.png)" in capsys.readouterr().err
    assert search_images(ColourModel(), album, "red", features=stored).encoded == 0
    assert search_images(ColourModel(), album, "red").encoded == 2  # a row may be of another photo of that name
    with pytest.raises(InputError, match="none of the photos"):
        search_images(ColourModel(), album, "red", features=rows_of({"other.png": "grey"}))


def test_rows_of_a_users_own_matrix_are_told_apart(album):
    colours = {"a.PNG": "red", "b.png": "blue", "2021/c d.png": "green"}
    assert search_images(ColourModel(), album, "red", features=rows_of(colours, {"shape": [1, 1, 3]})).encoded == 3
    assert search_images(ColourModel(), album, "red", features=rows_of(colours, {"shape": [1, 1, 3]})).encoded == 0
    changed = rows_of(colours | {"b.png": "red"}, {"shape": [1, 1, 3]})
    assert search_images(ColourModel(), album, "red", features=changed).encoded == 1


# --- hub correction -------------------------------------------------------------------------------------------------


class RedIsPunished:
    """A correction that counts how often it is asked."""

    def __init__(self, fingerprint="red", weight=0.9):
        self.fingerprint, self.weight, self.calls = fingerprint, weight, 0

    def __call__(self, gallery):
        self.calls += 1
        return np.float32(self.weight) * gallery[:, 0]


def test_a_correction_is_taken_from_the_scores_and_kept(album):
    correction = RedIsPunished()
    plain = search_images(ColourModel(), album, "red grey", k=3)
    assert names(plain)[0] == "a.PNG"
    result = search_images(ColourModel(), album, "red grey", k=3, correction=correction)
    assert names(result)[0] != "a.PNG" and result.encoded == 0
    again = search_images(ColourModel(), album, "red grey", k=3, correction=correction)
    assert again.hits == result.hits and correction.calls == 1
    assert (
        search_images(ColourModel(), album, "red grey", k=3).hits == plain.hits
    )  # what is kept changes no plain search
    weaker = RedIsPunished("weaker", 0.0)
    assert search_images(ColourModel(), album, "red grey", k=3, correction=weaker).hits == plain.hits
    assert weaker.calls == 1
    paint(album / "new.png", "red")
    assert len(search_images(ColourModel(), album, "red", k=9, correction=weaker).hits) == 4 and weaker.calls == 2
    (home_of(album) / "penalties.safetensors").write_bytes(b"no")
    search_images(ColourModel(), album, "red", correction=weaker)
    assert weaker.calls == 3


def test_captions_are_corrected_too(album, tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text("red\nred grey\n")
    plain, corrected = (
        search_captions(ColourModel(), file, album / "a.PNG", correction=each) for each in (None, RedIsPunished())
    )
    assert names(plain) == ["red", "red grey"] and names(corrected) == ["red grey", "red"]
