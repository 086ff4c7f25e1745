"""vse.data.questions: what a file says, and what is wrong with one in one line."""

import pytest

from vse.data.questions import Questions, answer_list, percent_right, read_questions, write_questions
from vse.system.errors import InputError

IMAGES = ("a.jpg", "b.jpg")


def write(tmp_path, *lines):
    path = tmp_path / "questions.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_lines_of_three_to_five_columns(tmp_path):
    found = read_questions(write(tmp_path, "a.jpg\twhat is it?\tdog", "", "b.jpg\twhich color?\tred\tcolor"), IMAGES)
    assert found == Questions(IMAGES, ("what is it?", "which color?"), ("dog", "red"), ("", "color"))
    assert found.groups() == [("what is it?",), ("which color?",)]
    beside = read_questions(write(tmp_path, "a.jpg\twhat is it?\tdog\t\ta dog runs"), IMAGES)
    assert beside.groups() == [("what is it?", "a dog runs")]


def test_those_about_some_photos_and_their_fingerprint(tmp_path):
    found = read_questions(write(tmp_path, "a.jpg\twhat?\tdog", "b.jpg\twho?\tman", "a.jpg\twhy?\tplay"), IMAGES)
    of_a = found.of({"a.jpg"})
    assert of_a.texts == ("what?", "why?") and of_a.answers == ("dog", "play") and len(of_a) == 2
    assert of_a.fingerprint() != found.fingerprint() == found.of(set(IMAGES)).fingerprint()


def test_the_list_of_answers_is_by_frequency():
    assert answer_list(["no", "yes", "yes", "blue", "no", "red"]) == ("no", "yes", "blue", "red")
    assert answer_list(["no", "yes", "yes"], 2) == ("yes",)
    with pytest.raises(InputError, match="min_count = 3"):
        answer_list(["no", "yes"], 3)


@pytest.mark.parametrize(
    "lines, says",
    [
        (["a.jpg\twhat?"], "line 1.*NAME<tab>question<tab>answer"),
        (["a.jpg\twhat?\tdog\tx\ty\tz"], "line 1"),
        (["c.jpg\twhat?\tdog"], r"line 1: 'c.jpg' is no photo"),
        (["a.jpg\twhat?\tdog", "a.jpg\t?!\tdog"], r"line 2: the question '\?!' has no word"),
        (["a.jpg\twhat?\t "], "line 1: the answer is empty"),
        (["a.jpg\twhat?\tdog\tk\ta dog", "a.jpg\twhat?\tdog"], "line 2: 3 columns, the first line has 5"),
        (["a.jpg\twhat?\tdog\tall"], "line 1: a kind 'all'"),
        (["a.jpg\twhat?\tdog\tk\t"], "line 1: the sentence '' has no word"),
        ([""], "empty"),
    ],
)
def test_mistakes(tmp_path, lines, says):
    with pytest.raises(InputError, match=says):
        read_questions(write(tmp_path, *lines), IMAGES)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_questions(tmp_path / "none.tsv", IMAGES)


@pytest.mark.parametrize("kinds, beside", [(("", ""), ()), (("x", ""), ()), (("", ""), ("a dog", "a cat"))])
def test_what_is_written_is_read_as_it_was(tmp_path, kinds, beside):
    written = Questions(IMAGES, ("what?", "who?"), ("dog", "man"), kinds, beside)
    write_questions(tmp_path / "q.tsv", written)
    assert read_questions(tmp_path / "q.tsv", IMAGES) == written


def test_percent_right_is_of_all_and_of_each_kind():
    asked = Questions(
        ("a", "b", "b"), ("what color?", "is it?", "so?"), ("blue", "no", "no"), ("color", "truth", "truth")
    )
    assert percent_right(asked, ["blue", "yes", "no"]) == pytest.approx({"all": 200 / 3, "color": 100.0, "truth": 50.0})
    assert percent_right(asked.of({"a"}), ["red"]) == {"all": 0.0, "color": 0.0}
