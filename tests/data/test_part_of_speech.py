"""A tag for each word, as spaCy itself gives it, and a cache that spares spaCy."""

import functools
import gzip
import json
import os
import sys
import time
from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

import vse.data.part_of_speech
from experiments import find_data
from scnlm.structure import StructureBank, TagVocabulary
from vse.data.datasets import read_dataset
from vse.data.part_of_speech import SPACY_MODEL, TAG_SETS, tag_cache, tag_captions
from vse.data.vocabulary import tokenize
from vse.system.errors import InputError

CAPTIONS = (
    "A dog runs in the grass .",
    "The man's two black dogs are playing quickly in Washington DC",
    "dog",
    "...",
    "He didn't jump over the T-shirt , but they've jumped .",
    "A dog runs in the grass !",
)
SENTENCES = [tokenize(caption) for caption in CAPTIONS]


@functools.cache
def shared_model(spacy_model: str):
    return load(spacy_model)


load = vse.data.part_of_speech._load


@pytest.fixture(autouse=True)
def load_once(monkeypatch, tmp_path):
    """The default model is loaded once for all tests; no test writes into the user's cache folder."""
    monkeypatch.setattr(
        "vse.data.part_of_speech._load", lambda name: (shared_model if name == SPACY_MODEL else load)(name)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def tagged_texts(monkeypatch) -> list[str]:
    """Every text that is given to spaCy, in order."""
    seen, tag = [], vse.data.part_of_speech._tag

    def record(texts, spacy_model, progress):
        seen.extend(texts)
        return tag(texts, spacy_model, progress)

    monkeypatch.setattr("vse.data.part_of_speech._tag", record)
    return seen


def without_spacy(monkeypatch):
    """From here on `import spacy` fails."""
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.setitem(sys.modules, "spacy.tokens", None)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


# --- The tagger ------------------------------------------------------------------------------------------------------


def test_universal_and_penn_tags_of_a_plain_caption():
    coarse, fine = (tag_captions(SENTENCES[:1], tag_set)[0] for tag_set in TAG_SETS)
    assert coarse == ("DET", "NOUN", "VERB", "ADP", "DET", "NOUN")
    assert fine == ("DT", "NN", "VBZ", "IN", "DT", "NN")


@pytest.mark.parametrize(("tag_set", "attribute"), [("coarse", "pos_"), ("fine", "tag_")])
def test_tags_are_those_of_the_whole_pipeline_on_one_sentence_at_a_time(tag_set, attribute):
    nlp = spacy.load(SPACY_MODEL)
    tags = tag_captions(SENTENCES, tag_set)
    assert tags == [
        tuple(getattr(token, attribute) for token in nlp(Doc(nlp.vocab, words=tokens))) if tokens else ()
        for tokens in SENTENCES
    ]
    assert tags[3] == () and tags[0] == tags[5]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_text_gets_one_tag_a_token(texts):
    sentences = [tokenize(text) for text in texts]
    for tag_set in TAG_SETS:
        tags = tag_captions(sentences, tag_set, progress=False)
        assert [len(t) for t in tags] == [len(tokens) for tokens in sentences]
        assert all(tag.split() == [tag] for t in tags for tag in t)


def test_captions_of_ten_thousand_characters_are_tagged():
    sentences = [["x" * 10_000], tokenize("a dog " * 1667), ["dog"]]
    assert [len(tags) for tags in tag_captions(sentences, progress=False)] == [1, 3334, 1]


def test_each_sentence_is_tagged_once(tagged_texts):
    tags = tag_captions([*SENTENCES, *SENTENCES[::-1]])
    assert tagged_texts == [" ".join(tokens) for tokens in (SENTENCES[i] for i in (0, 1, 2, 4))]
    assert tags[: len(SENTENCES)] == tags[len(SENTENCES) :][::-1]
    assert tag_captions([]) == [] and tag_captions([[]], "fine") == [()]


def test_a_bar_shows_the_progress_on_a_terminal(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tag_captions(SENTENCES, cache=tmp_path)
    shown = capsys.readouterr()
    assert "tags" in shown.err and "4/4" in shown.err and shown.out == ""
    tag_captions(SENTENCES, cache=tmp_path)
    tag_captions(SENTENCES, progress=False)
    assert capsys.readouterr() == ("", "")


# --- What is refused -------------------------------------------------------------------------------------------------


def model_folder(path: Path, **changes) -> Path:
    """A spaCy model that does not tag, with changes of its description."""
    spacy.blank("en").to_disk(path)
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps(meta | changes))
    return path


def refused(*args, **options) -> str:
    with pytest.raises(InputError) as error:
        tag_captions(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["en_core_web_sm", "", "blank:en", "../no", "a b", "no\0such", "é"])
def test_a_model_that_is_not_installed_is_named_and_another_offered(name, monkeypatch):
    without_spacy(monkeypatch)  # nor is spaCy loaded to find out
    said = refused(SENTENCES, spacy_model=name)
    assert f"spaCy model {name!r} is not installed" in said and SPACY_MODEL in said


def test_what_is_no_model_or_a_damaged_one_is_refused(tmp_path):
    assert "'numpy' cannot be loaded as a spaCy model" in refused(SENTENCES, spacy_model="numpy")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "meta.json").write_text('{"lang": "en"}')
    assert "half' cannot be loaded" in refused(SENTENCES, spacy_model=str(tmp_path / "half"))
    (tmp_path / "half" / "meta.json").write_text("{")
    assert "half' cannot be loaded" in refused(SENTENCES, spacy_model=str(tmp_path / "half"))


def test_a_model_without_a_tagger_is_refused_also_from_the_cache(tmp_path, monkeypatch):
    name = str(model_folder(tmp_path / "model"))
    assert "gives no coarse tags" in refused(SENTENCES, spacy_model=name, cache=tmp_path / "cache")
    without_spacy(monkeypatch)
    assert "gives no fine tags" in refused(SENTENCES, "fine", spacy_model=name, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("sentences", "says"),
    [
        (["a dog"], "'a dog' is a text"),
        ([["a"], ["a dog"]], "the token 'a dog'"),
        ([["a", ""]], "the token ''"),
        ([["a", "b\u2028"]], r"the token 'b\u2028'"),
        ([["a\tb"]], r"the token 'a\tb'"),
    ],
)
def test_what_is_no_list_of_tokens_is_refused(sentences, says):
    assert says in refused(sentences)


def test_an_unknown_tag_set_is_refused_everywhere(tmp_path):
    assert "tag set 'penn': expected coarse" in refused(SENTENCES, "penn")
    with pytest.raises(InputError, match="'penn'"):
        TagVocabulary.from_tags([("NN",)], "penn")
    with pytest.raises(InputError, match="'penn'"):
        StructureBank.from_tags([("NN",) * 5], tag_set="penn", spacy_model="m")


# --- The cache -------------------------------------------------------------------------------------------------------


def test_a_cached_call_needs_no_spacy_in_either_tag_set(tmp_path, monkeypatch):
    first = {tag_set: tag_captions(SENTENCES, tag_set) for tag_set in TAG_SETS}
    assert tag_captions(SENTENCES, "fine", cache=tmp_path / "new" / "cache") == first["fine"]
    without_spacy(monkeypatch)
    for tag_set in TAG_SETS:
        assert tag_captions(SENTENCES[::-1], tag_set, cache=tmp_path / "new" / "cache") == first[tag_set][::-1]
    with pytest.raises(ImportError):  # so the test is one
        tag_captions([["cat"]], cache=tmp_path / "new" / "cache")


def test_only_what_is_new_is_tagged_and_nothing_is_forgotten(tmp_path, tagged_texts):
    tag_captions(SENTENCES[:2], cache=tmp_path)
    tag_captions(SENTENCES[2:], cache=tmp_path)
    assert tagged_texts == [" ".join(SENTENCES[i]) for i in (0, 1, 2, 4)]
    assert tag_captions(SENTENCES, cache=tmp_path) == tag_captions(SENTENCES) and len(tagged_texts) == 8


def test_the_file_is_text_for_people(tmp_path):
    tag_captions(SENTENCES[:1], cache=tmp_path)
    header, line, end = gzip.decompress(only_file(tmp_path).read_bytes()).decode().split("\n")
    assert SPACY_MODEL in header and header.startswith("#") and end == ""
    assert line == "a dog runs in the grass\tDET NOUN VERB ADP DET NOUN\tDT NN VBZ IN DT NN"


def edited(change):
    """Damage to the text in the file, compressed again as it should be."""
    return lambda content: gzip.compress(change(gzip.decompress(content).decode()).encode())


DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-1],
    "text": lambda content: b"DET NOUN",
    "a bit": lambda content: content[:60] + bytes([content[60] ^ 4]) + content[61:],
    "not UTF-8": lambda content: gzip.compress(b"\xff\xfe"),
    "no header": edited(lambda text: text.split("\n", 1)[1]),
    "another header": edited(lambda text: text.replace("format 1", "format 0")),
    "a line cut": edited(lambda text: text[:-5]),
    "a column less": edited(lambda text: text.replace("\tDT NN VBZ IN DT NN", "")),
    "a tag less": edited(lambda text: text.replace("DT NN VBZ IN DT NN", "DT NN VBZ IN DT")),
    "a word more": edited(lambda text: text.replace("a dog", "a big dog")),
    "an empty line": edited(lambda text: text + "\n"),
    "no sentence": edited(lambda text: text + "\t\t\n"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_told_and_made_again(damage, tmp_path, capsys, tagged_texts):
    tags = tag_captions(SENTENCES, cache=tmp_path, progress=False)
    file = only_file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert tag_captions(SENTENCES, cache=tmp_path, progress=False) == tags
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{file}: cannot be used (") and len(tagged_texts) == 8
    assert only_file(tmp_path).read_bytes() == whole


def test_models_and_their_versions_have_their_own_files(tmp_path, monkeypatch):
    tag_captions(SENTENCES, cache=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda name: "99")
        tag_captions(SENTENCES, cache=tmp_path / "cache")
    for version in ("1.0", "1.1"):
        name = str(model_folder(tmp_path / "model", version=version))
        refused(SENTENCES, spacy_model=name, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 4
    assert tag_captions(SENTENCES, cache=tmp_path / "cache") == tag_captions(SENTENCES)


def test_a_strangers_cache_fills_no_memory_and_brings_no_escapes(tmp_path, capsys):
    expected = tag_captions(SENTENCES, cache=tmp_path, progress=False)
    file = only_file(tmp_path)
    whole = gzip.decompress(file.read_bytes()).decode()
    header = whole.split("\n", 1)[0]
    for content in (f"{header}\n" + "a" * 30_000_000, f"{header}\ncat\t\x1b[2J\tNN\n"):
        file.write_bytes(gzip.compress(content.encode()))
        assert tag_captions(SENTENCES, cache=tmp_path, progress=False) == expected
        assert "tagged anew" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_costs_no_tags(tmp_path, capsys, monkeypatch):
    expected = tag_captions(SENTENCES, progress=False)
    (tmp_path / "file").write_text("")
    assert tag_captions(SENTENCES, cache=tmp_path / "file" / "cache", progress=False) == expected
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("tags not kept, the next call starts anew:")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    assert tag_captions(SENTENCES, cache=tmp_path / "full", progress=False) == expected
    assert "no space left" in capsys.readouterr().err and not list((tmp_path / "full").iterdir())


def test_the_cache_is_beside_the_data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "captions.csv").write_text("image,caption\n")
    for data in (tmp_path / "data", tmp_path / "data" / "captions.csv", str(tmp_path / "data")):
        assert tag_cache(data) == tmp_path / "data" / ".scnlm-tags"
    assert len(list((tmp_path / "data").iterdir())) == 1  # nothing is made by asking


def test_the_cache_is_the_users_where_the_data_are_read_only(tmp_path, monkeypatch):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o555)  # binding also for the superuser, whom the system lets write there
    absent = tmp_path / "scenes"
    places = {tag_cache(path) for path in (*folders, absent)}
    assert len(places) == 3 and {place.parent for place in places} == {tmp_path / "user" / "scnlm"}
    assert not absent.exists() and tag_cache(folders[0]) == tag_cache(tmp_path / "b" / ".." / "a")
    tag_captions(SENTENCES, cache=tag_cache(folders[0]))
    assert only_file(tag_cache(folders[0])).name.endswith(".tsv.gz") and not list(folders[0].iterdir())
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tag_cache(folders[0]).parent == tmp_path / "home" / ".cache" / "scnlm"
    for folder in folders:
        folder.chmod(0o755)
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folders[1])  # a read-only file system
    assert tag_cache(folders[1]).parent == tmp_path / "home" / ".cache" / "scnlm"
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    (folders[0] / ".scnlm-tags").mkdir(mode=0o555)
    assert tag_cache(folders[0]).parent == tmp_path / "home" / ".cache" / "scnlm"
    assert tag_cache(folders[1]) == folders[1] / ".scnlm-tags"


# --- Flickr8K --------------------------------------------------------------------------------------------------------


def test_thirty_thousand_captions_would_take_less_than_a_minute():
    try:
        data = find_data("flickr8k")
    except InputError as absent:
        pytest.skip(str(absent))
    captions = [tokenize(caption) for caption in read_dataset(data).split("train").captions]
    captions = captions[:: len(captions) // 1500][:1500]
    shared_model(SPACY_MODEL)
    start = time.process_time()  # of this process alone: others share the processor
    tags = tag_captions(captions)
    assert time.process_time() - start < 60 * 1500 / 30_000
    assert [len(t) for t in tags] == [len(tokens) for tokens in captions]
    made = StructureBank.from_tags(tags, tag_set="coarse", spacy_model="m 1")
    assert made.sequences[0] == ("DET", "NOUN", "VERB", "ADP", "DET", "NOUN")
    assert 0.6 < made.total / len(captions) < 0.8
    assert all(TagVocabulary.from_tags(tags, "coarse").ids(s) for s in made.sequences)
    if not os.stat(data).st_mode & 0o222:
        assert data not in tag_cache(data).parents  # the shared data stay as they are
