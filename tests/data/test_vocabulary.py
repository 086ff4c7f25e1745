"""Vocabulary: tokens as in the Flickr8K files, ids that do not depend on caption order, files people can read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vse.data import vocabulary as vocabulary_module
from vse.data.vocabulary import BOS_ID, EOS_ID, MOST_WORDS, PAD_ID, SPECIALS, UNK_ID, Vocabulary, cut_long, tokenize
from vse.system.errors import InputError


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("A child in a pink dress .", "a child in a pink dress"),
        ("The dog's ball, isn't it?!", "the dog 's ball isn 't it"),
        ("the dog 's ball", "the dog 's ball"),  # tokenised before: the same
        ("T-shirt; x-ray", "t shirt x ray"),
        ("Two  men\tin\n2 boats", "two men in 2 boats"),
        ("caf\u00e9 \ufb01sh", "caf\u00e9 fish"),
        ("the girl\u2019s hat", "the girl 's hat"),
        ("snake_case \u6c34", "snake case \u6c34"),
        ("... !?", ""),
        ("Cafe\u0301 q\u0303", "caf\u00e9 q\u0303"),
        ("2\ufe0f\u20e3 dogs \u2764\ufe0f", "2 dogs"),  # emoji are no words, nor is what shapes them
        ("", ""),
    ],
)
def test_tokens(text, tokens):
    assert tokenize(text) == tokens.split()


@pytest.mark.parametrize(
    "words",
    [
        "\u0915\u093e\u0932\u093e \u0915\u0941\u0924\u094d\u0924\u093e",  # Hindi: vowel signs, virama
        "\u0e17\u0e35\u0e48 \u0e19\u0e31\u0e48\u0e07",  # Thai: tone marks
        "\u0634\u064e\u062c\u064e\u0631\u064e\u0629",  # Arabic points
        "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",  # Hebrew points
        "\u0645\u06cc\u200c\u0631\u0648\u0645",  # Persian: a zero-width non-joiner
    ],
)
def test_words_of_other_scripts_stay_whole(words):
    assert tokenize(f"{words}, {words}!") == words.split() * 2


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_a_tokenised_text_stays_as_it_is(text):
    tokens = tokenize(text)
    assert tokenize(" ".join(tokens)) == tokens
    assert all(token and not token.isspace() and "\n" not in token for token in tokens)


def test_the_most_frequent_word_comes_first_and_ties_in_alphabetical_order():
    vocabulary = Vocabulary.from_captions(["b a c a", "c d"])
    assert vocabulary.tokens == (*SPECIALS, "a", "c", "b", "d")
    assert vocabulary.tokens == Vocabulary.from_captions(["d c", "a c a b"]).tokens
    assert (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)


def test_rare_words_are_unknown():
    vocabulary = Vocabulary.from_captions(["a dog", "a cat", "the dog"], min_count=2)
    assert vocabulary.tokens[4:] == ("a", "dog")
    assert vocabulary.encode("A cat, a DOG") == [4, UNK_ID, 4, 5]
    assert "dog" in vocabulary and "cat" not in vocabulary and len(vocabulary) == 6


@pytest.mark.parametrize("text", ["", "?!", "zebra"])
def test_a_text_without_a_known_word_is_one_unknown_word(text):
    assert Vocabulary.from_captions(["a dog"]).encode(text) == [UNK_ID]


def test_special_tokens_cannot_be_written_by_a_caption():
    vocabulary = Vocabulary.from_captions(["s pad unk"])
    assert vocabulary.encode("<pad> </s>") == [vocabulary.ids["pad"], vocabulary.ids["s"]]


@settings(max_examples=50, deadline=None)
@given(captions=st.lists(st.text(max_size=20), max_size=5))
def test_a_saved_vocabulary_is_read_back(captions, tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "vocabulary.txt"
    vocabulary = Vocabulary.from_captions(captions)
    vocabulary.save(path)
    assert Vocabulary.load(path).tokens == vocabulary.tokens
    assert path.read_text(encoding="utf-8").split("\n")[:-1] == list(vocabulary.tokens)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "starts with"),
        (b"dog\ncat\n", "starts with"),
        (b"<pad>\n<unk>\n<s>\n</s>\ndog\ndog\n", "'dog' twice"),
        (b"<pad>\n\xff\xfe", "not a vocabulary"),
        (b"<pad>\n<unk>\n<s>\n</s>\ndog\n\x1b]0;title\x07\n", "line 6"),
        (b"<pad>\n<unk>\n<s>\n</s>\ndog\n\xe2\x80\xaecat\n", "line 6"),
        (b"<pad>\n<unk>\n<s>\n</s>\n\ndog\n", "line 5"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_with_its_path(tmp_path, content, said):
    path = tmp_path / "vocabulary.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_vocabulary_saved_by_notepad_is_read(tmp_path):
    (tmp_path / "v.txt").write_bytes(b"\xef\xbb\xbf<pad>\r\n<unk>\r\n<s>\r\n</s>\r\ndog\r\n")
    assert Vocabulary.load(tmp_path / "v.txt").tokens == (*SPECIALS, "dog")


def test_long_captions_are_cut_and_told_once(capsys):
    vocabulary_module._say.cache_clear()  # another test of this process may have been told already
    vocabulary = Vocabulary.from_captions(["a dog"])
    endless = "a dog " * 5000
    for _ in range(2):
        ids = vocabulary.encode_all(["a dog", endless])
        assert [len(caption) for caption in ids] == [2, MOST_WORDS]
        assert ids[1] == vocabulary.encode(endless)[:MOST_WORDS]
    assert cut_long([["a"] * MOST_WORDS]) == [["a"] * MOST_WORDS]
    assert capsys.readouterr().err.count("more than 100 words: 1") == 1
