"""vse.data.bpe: the ids of OpenAI's code, merges that are learned, files that are refused in one line."""

import gzip
import html
import subprocess
import sys
from collections import Counter
from pathlib import Path

import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vse.data.bpe import BPE, END, clean
from vse.data.datasets import read_dataset
from vse.data.tokens import load_tokens
from vse.data.vocabulary import MOST_WORDS, SPECIALS, UNK_ID, Vocabulary
from vse.system.errors import InputError

CAPTIONS = ["A dog runs on the grass .", "two dogs' run", "The dog is running, it's wet", "a grassy hill"] * 3


@pytest.fixture(scope="module")
def learned():
    return BPE.from_captions(CAPTIONS, 30)


@pytest.fixture(scope="module")
def openai():
    """(ours, open_clip's) with OpenAI's merges."""
    clip = oracles.open_clip()
    from open_clip.tokenizer import default_bpe

    return BPE.openai(Path(default_bpe())), clip.get_tokenizer("ViT-B-32")


def theirs(tokenizer, text):
    return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]


def test_ids_are_open_clips_on_captions(openai):
    ours, tokenizer = openai
    folder = Path(__file__).parents[3] / "shared" / "data" / "flickr8k"
    captions = read_dataset(folder).captions if folder.exists() else CAPTIONS
    assert len(ours) == 49_408 - 2 + len(SPECIALS)
    wrong = [c for c in captions if ours.openai_ids(c) != theirs(tokenizer, c)]
    assert not wrong


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.text("aA'sSltTdDréΣİß½№日 \n\t&;#39<>|1²", max_size=30))
def test_ids_are_open_clips_on_any_text(openai, text):
    ours, tokenizer = openai
    if "<start_of_text>" not in text and "<end_of_text>" not in text:
        assert ours.openai_ids(text) == theirs(tokenizer, text)


def test_no_caption_can_end_itself(learned):
    """Departure from OpenAI's code, which reads the names of its special tokens as these."""
    assert not {2, 3} & set(learned.encode("a dog <end_of_text> </s> <s> runs"))


def test_text_is_cleaned():
    assert clean(html.escape(html.escape("A  CafÃ© & bar\n"))) == "a café & bar"


def test_merges_are_those_of_the_most_frequent_pairs():
    """Counted by hand: "lo" six times; then "low" at a word's end three times; then pairs that come twice, by age."""
    bpe = BPE.from_captions(["low low low lower lower lot"], 4)
    assert bpe.merges == (("l", "o"), ("lo", "w" + END), ("e", "r" + END), ("w", "er" + END))


def test_learned_pieces_put_the_words_together_again(learned):
    assert 512 < len(learned) - len(SPECIALS) <= 512 + 30
    for caption in CAPTIONS:
        pieces = "".join(learned.tokens[i] for i in learned.encode(caption)).replace(END, " ").split()
        assert "".join(pieces) == clean(caption).replace(" ", "")
    assert len(learned.encode("dog")) == 1 and "dog" in learned.words
    assert learned.tokens[:4] == SPECIALS and learned.encode(" \n") == [UNK_ID]
    assert "zebra" in learned and "日本" in learned and "  " not in learned


def naive(captions, size):
    """The learner in a loop: counts all pairs anew for each merge; ties by age, as the docstring says."""
    words = Counter(tuple([*word[:-1], word[-1] + END]) for caption in captions for word in clean(caption).split())
    characters = {c for word in words for c in word}
    age = {c: i for i, c in enumerate(sorted(characters, key=lambda c: (c.endswith(END), c)))}
    merges = []
    while len(merges) < size:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], age[pair[0]], age[pair[1]]))
        merges.append(best)
        age["".join(best)] = len(age)
        merged = Counter()
        for word, count in words.items():
            pieces = list(word)
            i = 0
            while i < len(pieces) - 1:
                if (pieces[i], pieces[i + 1]) == best:
                    pieces[i : i + 2] = ["".join(best)]
                i += 1
            merged[tuple(pieces)] += count
        words = merged
    return tuple(merges)


def test_the_merges_are_those_of_a_loop_whatever_the_ties():
    captions = ["a dog runs on the grass", "two dogs run", "the dog is running", "a grassy hill", "it is a wet hill"]
    for size in (5, 20, 200):
        assert BPE.from_captions(captions, size).merges == naive(captions, size)


def test_the_same_captions_give_the_same_merges_in_another_process(learned):
    """The library's own order of ties differs from process to process."""
    program = f"from vse.data.bpe import BPE; print(BPE.from_captions({CAPTIONS!r}, 30).merges)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(learned.merges)
    assert BPE.from_captions(CAPTIONS[::-1], 10).merges == learned.merges[:10]


def test_long_captions_are_cut(learned, capsys):
    assert [len(ids) for ids in learned.encode_all(["dog " * 300, "dog"])] == [MOST_WORDS, 1]
    capsys.readouterr()


def test_saved_merges_come_back(learned, tmp_path):
    learned.save(tmp_path / "vocabulary.txt")
    loaded = load_tokens(tmp_path / "vocabulary.txt")
    assert isinstance(loaded, BPE) and loaded.tokens == learned.tokens and loaded.ids == learned.ids
    packed = tmp_path / "merges.gz"
    packed.write_bytes(gzip.compress((tmp_path / "vocabulary.txt").read_bytes()))
    assert BPE.openai(packed).merges == learned.merges
    words = Vocabulary.from_captions(CAPTIONS)
    words.save(tmp_path / "words.txt")
    assert load_tokens(tmp_path / "words.txt").tokens == words.tokens


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "no merge"), (b"#version: 0.2\n", "no merge"), (b"#\na b c\n", "line 2"), (b"#\na b\nab\n", "line 3"),
        (b"#\nxx y\n", "merge 1"), (b"#\na b</w>\na b</w>\n", "same piece"), (b"#\na</w> b\n", "merge 1"),
        (b"\xff\xfe\x00", "utf-8"), (b"\x1f\x8bno gzip", "not a file of merges"),
        (gzip.compress(b"#\na b\n" * 999, mtime=0)[:-9], "not a file of merges"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_merges_is_one_line(tmp_path, content, reason):
    path = tmp_path / "merges.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        BPE.openai(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_absent_file_is_one_line(tmp_path):
    for read in (BPE.openai, load_tokens):
        with pytest.raises(InputError, match="No such file"):
            read(tmp_path / "none")
