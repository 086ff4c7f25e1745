"""vse.data.word_vectors: the three file forms, wanted words only, and a truncated file is never half a success."""

import gzip

import numpy as np
import pytest

from vse.data.word_vectors import read_word_vectors
from vse.system.errors import InputError

VECTORS = {
    "</s>": [0.5, 0.25, -1.0],
    "dog": [1.0, 2.0, 3.0],
    "caf\u00e9": [-1.5, 0.0, 0.125],
    "cat": [4.0, 5.0, 6.5],
}
WANTED = {"dog", "cat", "caf\u00e9", "unicorn"}


def text_lines():
    return "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in VECTORS.items())


def write(folder, form):
    path = folder / {"binary": "v.bin", "newlines": "n.bin", "text": "v.txt", "glove": "glove.txt"}[form]
    header = f"{len(VECTORS)} 3\n"
    if form in ("binary", "newlines"):  # word2vec's own writer puts a newline behind each vector, others do not
        end = b"\n" if form == "newlines" else b""
        rows = [w.encode() + b" " + np.array(v, "<f4").tobytes() + end for w, v in VECTORS.items()]
        path.write_bytes(header.encode() + b"".join(rows))
    else:
        path.write_text((header if form == "text" else "") + text_lines(), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["binary", "newlines", "text", "glove"])
def test_wanted_words_are_read_from_every_form(tmp_path, form):
    vectors = read_word_vectors(write(tmp_path, form), WANTED)
    assert set(vectors) == {"dog", "cat", "caf\u00e9"}
    for word, vector in vectors.items():
        assert vector.dtype == np.float32 and vector.tolist() == VECTORS[word]
        assert vector.flags.writeable


@pytest.mark.parametrize("form", ["binary", "newlines", "text"])
@pytest.mark.parametrize("cut", [1, 5, 9, 20, 30, 40])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, form, cut):
    path = write(tmp_path, form)
    whole = path.read_bytes()
    missing = cut + (form == "newlines")  # the very last newline carries nothing
    path.write_bytes(whole[:-missing] if form != "text" else whole[: -missing - len("6.5\n")])
    with pytest.raises(InputError, match="not a whole") as error:
        read_word_vectors(path, WANTED)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_last_line_needs_no_end(tmp_path):
    (tmp_path / "v.txt").write_text("1 3\ndog 0.5 0.25 1.0")
    assert read_word_vectors(tmp_path / "v.txt", WANTED)["dog"].tolist() == [0.5, 0.25, 1.0]


def test_a_word2vec_text_cut_between_two_lines_is_refused(tmp_path):
    path = write(tmp_path, "text")
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(InputError, match="3 of 4"):
        read_word_vectors(path, WANTED)


def test_a_glove_file_cut_within_a_line_is_refused(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(text_lines()[:-9], encoding="utf-8")
    with pytest.raises(InputError, match="not a whole"):
        read_word_vectors(path, WANTED)


def test_glove_words_with_a_space_in_them_do_not_stop_the_reading(tmp_path):
    """glove.840B.300d has ". . ." and "at name@domain.com"."""
    path = tmp_path / "glove.txt"
    path.write_text("a 1 2 3\n. . . 4 5 6\ndog 7 8 9\n", encoding="utf-8")
    assert read_word_vectors(path, {"dog"})["dog"].tolist() == [7, 8, 9]


def test_the_first_of_equal_words_counts(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("dog 1 2 3\ndog 4 5 6\n")
    assert read_word_vectors(path, {"dog"})["dog"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"dog\ncat\n", b"\x00\xff\xfe\n\x01", b"dog 1 2 three\n", b"3 0\n", b'{"dog": 1}\n']
)
@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
def test_a_file_of_another_form_is_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_word_vectors(path, WANTED)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="GoogleNews.bin"):
        read_word_vectors(tmp_path / "GoogleNews.bin", WANTED)


@pytest.mark.parametrize("form", ["binary", "newlines", "text", "glove"])
@pytest.mark.parametrize("name", ["v.bin", "v.txt", "GoogleNews.model", "v", "v.gz"])
def test_the_content_decides_not_the_suffix(tmp_path, form, name):
    content = write(tmp_path, form).read_bytes()
    (tmp_path / "other").mkdir()
    path = tmp_path / "other" / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    vectors = read_word_vectors(path, WANTED)
    expected = {word: VECTORS[word] for word in WANTED & VECTORS.keys()}
    assert {word: vector.tolist() for word, vector in vectors.items()} == expected


def test_a_cut_gz_is_refused(tmp_path):
    packed = gzip.compress(write(tmp_path, "glove").read_bytes())
    (tmp_path / "v.gz").write_bytes(packed[:-12])
    with pytest.raises(InputError, match="not a whole"):
        read_word_vectors(tmp_path / "v.gz", WANTED)


def test_a_text_with_a_header_and_cut_is_never_read_as_numbers(tmp_path):
    (tmp_path / "v.bin").write_text("3 300\ndog " + "0.1234 " * 200)
    with pytest.raises(InputError, match="not a whole"):
        read_word_vectors(tmp_path / "v.bin", WANTED)


def test_a_words_own_spelling_counts_first_then_conceptnets_then_capitals(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("7 2\nDOG 1 1\n/c/de/cat 9 9\n/c/en/dog 2 2\nCat 4 4\ndog 3 3\nDog 5 5\n/c/en/cat 6 6\n")
    vectors = read_word_vectors(path, {"dog", "cat"})
    assert vectors["dog"].tolist() == [3, 3] and vectors["cat"].tolist() == [6, 6]


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, form, number):
    path = tmp_path / "v"
    if form == "text":
        path.write_text(f"2 3\ncow {number} 1 2\ndog 1 {number} 2\n")
    else:
        rows = [word + b" " + np.array([1, float(number), 2], "<f4").tobytes() for word in (b"cow", b"dog")]
        path.write_bytes(b"2 3\n" + b"".join(rows))
    with pytest.raises(InputError, match="'dog' has a number that is not finite"):
        read_word_vectors(path, WANTED)
    assert read_word_vectors(path, {"cat"}) == {}  # nobody asked for them
