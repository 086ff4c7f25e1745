"""The tag vocabulary, and a bank that samples what was counted."""

import dataclasses
import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from scnlm.structure import END_ID, NONE_ID, StructureBank, TagVocabulary
from vse.data.part_of_speech import tag_captions
from vse.data.vocabulary import tokenize
from vse.runs.checkpoint import config_from_dict
from vse.system.errors import InputError

# --- The tag vocabulary ----------------------------------------------------------------------------------------------


def test_ids_are_by_name_after_the_two_of_the_boundaries():
    vocabulary = TagVocabulary.from_tags([("VERB", "DET"), (), ("NOUN", "DET")], "coarse")
    assert vocabulary.tags == ("<none>", "</s>", "DET", "NOUN", "VERB") and len(vocabulary) == 5
    assert (NONE_ID, END_ID) == (0, 1) == tuple(vocabulary.ids(("<none>", "</s>")))
    assert vocabulary.ids(["VERB", "DET", "DET"]) == [4, 2, 2] and vocabulary.ids([]) == []


def test_a_tag_of_another_set_is_named():
    vocabulary = TagVocabulary.from_tags([("DET", "NOUN")], "coarse")
    with pytest.raises(InputError, match=r"tag 'NN' is none of the coarse tags DET NOUN;"):
        vocabulary.ids(("DET", "NN"))
    assert vocabulary.ids(("DET", "NN"), unseen=NONE_ID) == [2, 0]


def test_a_tag_vocabulary_is_part_of_a_json_file():
    sentences = [tokenize("A dog runs in the grass ."), tokenize("The man's two black dogs are playing")]
    vocabulary = TagVocabulary.from_tags(tag_captions(sentences, "fine"), "fine")
    stored = json.loads(json.dumps(dataclasses.asdict(vocabulary)))
    assert config_from_dict(TagVocabulary, stored) == vocabulary
    for tags in (["DET"], ["<none>", "</s>", "B", "A"], ["<none>", "</s>", "A", "A"], ["<none>", "</s>", "</s>"]):
        with pytest.raises(InputError, match="a tag vocabulary is <none>, </s>"):
            config_from_dict(TagVocabulary, {"tags": tags, "tag_set": "fine"})


# --- The bank --------------------------------------------------------------------------------------------------------


def bank(tags, **bounds) -> StructureBank:
    return StructureBank.from_tags(tags, tag_set="coarse", spacy_model="m 1", **bounds)


def small_bank() -> StructureBank:
    """Counts 1, 2, 5 and 12 of 20."""
    shapes = {("A",) * 4: 5, ("A",) * 12: 12, ("B", "A", "A", "B"): 1, ("A", "B", "A", "B", "A"): 2}
    return bank([shape for shape, n in shapes.items() for _ in range(n)])


def test_sequences_of_four_to_twelve_tags_are_counted():
    tags = [("N",) * n for n in range(16)] + [("N",) * 5, ("A", "B", "C", "D"), ("A", "B", "C", "A")]
    made = bank(tags)
    assert made.sequences[0] == ("N",) * 5 and made.counts[0] == 2 and set(made.counts[1:]) == {1}
    assert made.sequences[1:] == tuple(sorted(made.sequences[1:])) and made.sequences[1] == ("A", "B", "C", "A")
    assert sorted({len(s) for s in made.sequences}) == list(range(4, 13))
    assert (len(made), made.total) == (11, 12)
    assert bank(tags, shortest=1, longest=1).sequences == (("N",),)


@given(st.lists(st.lists(st.sampled_from("AB"), max_size=6).map(tuple), max_size=30), st.integers(1, 3))
def test_counts_are_those_of_the_text(tags, shortest):
    expected = Counter(t for t in tags if shortest <= len(t) <= 4)
    if not expected:
        with pytest.raises(InputError, match=f"no training sentence has {shortest} to 4 words"):
            bank(tags, shortest=shortest, longest=4)
        return
    made = bank(tags, shortest=shortest, longest=4)
    assert dict(zip(made.sequences, made.counts, strict=True)) == expected and made.total == expected.total()
    assert sorted(zip(made.counts, made.sequences, strict=True), key=lambda x: (-x[0], x[1])) == [
        *zip(made.counts, made.sequences, strict=True)
    ]


@pytest.mark.parametrize("bounds", [(0, 4), (5, 4), (-1, -1)])
def test_bounds_that_hold_no_length_are_refused(bounds):
    with pytest.raises(InputError, match=f"structures of {bounds[0]} to {bounds[1]} tags"):
        bank([("A",) * 4], shortest=bounds[0], longest=bounds[1])


def test_an_empty_corpus_is_refused():
    for tags in ([], [()], [("A",) * 3, ("A",) * 13]):
        with pytest.raises(InputError, match="no training sentence has 4 to 12 words"):
            bank(tags)


def test_samples_are_as_frequent_as_in_the_text():
    made = small_bank()
    drawn = made.sample(20_000, np.random.default_rng(0))
    found = [Counter(drawn)[sequence] for sequence in made.sequences]
    assert sum(found) == 20_000 and made.counts == (12, 5, 2, 1)
    assert chisquare(found, np.array(made.counts) / 20 * 20_000).pvalue > 0.01
    assert chisquare(found, np.array((11, 5, 2, 2)) / 20 * 20_000).pvalue < 1e-6  # so one count in 20 is noticed
    # Drawn independently: a sequence follows itself no more often than it occurs.
    again = np.mean([a == b for a, b in zip(drawn, drawn[1:], strict=False)])
    assert again == pytest.approx(sum((n / 20) ** 2 for n in made.counts), abs=0.02)


def test_samples_depend_on_the_generator_alone():
    made = small_bank()
    first = made.sample(50, np.random.default_rng(3))
    assert first == made.sample(50, np.random.default_rng(3)) != made.sample(50, np.random.default_rng(4))
    assert made.sample(0, np.random.default_rng(3)) == []
    generator = np.random.default_rng(3)
    assert made.sample(50, generator) != made.sample(50, generator)


def test_a_bank_is_read_as_it_was_written(tmp_path):
    made, path = small_bank(), tmp_path / "new" / "bank.json"
    made.save(path)
    for tag_set in (None, "coarse"):
        assert StructureBank.load(path, tag_set) == made
    lines = [line.strip(" ,") for line in path.read_text().splitlines()]
    assert lines[5:9] == [f'"{" ".join("A" * 12)}": 12', '"A A A A": 5', '"A B A B A": 2', '"B A A B": 1']
    value = json.loads(path.read_text())
    value["sequences"] = dict(reversed(value["sequences"].items()))
    path.write_text(json.dumps(value))
    assert StructureBank.load(path) == made  # whatever their order in the file
    assert [p.name for p in path.parent.iterdir()] == ["bank.json"]


def test_a_bank_of_another_tag_set_is_refused(tmp_path):
    small_bank().save(tmp_path / "bank.json")
    with pytest.raises(InputError, match=r"bank\.json: a bank of coarse tags, expected fine ones"):
        StructureBank.load(tmp_path / "bank.json", "fine")


BAD = [
    {"version": 2},
    {"version": None},
    {"tag_set": 3},
    {"tag_set": "penn"},
    {"spacy_model": None},
    {"sequences": {}},
    {"sequences": [["A A A A", 1]]},
    *({"sequences": {"A A A A": n}} for n in (0, -1, 1.0, True, "1", None)),
    *({"sequences": {"A A A A": 1, s: 1}} for s in ("", " ", "A  B C D", "A B C D ")),
]


@pytest.mark.parametrize("change", BAD, ids=str)
def test_a_damaged_bank_is_refused(change, tmp_path):
    path = tmp_path / "bank.json"
    small_bank().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"version|damaged") as error:
        StructureBank.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_bank_that_is_cut_or_absent_is_refused(tmp_path):
    path = tmp_path / "bank.json"
    small_bank().save(path)
    whole = path.read_bytes().rstrip()
    for end in range(0, len(whole), 5):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=re.escape(str(path))):
            StructureBank.load(path)
    for content in ("[]", "{}", '"a"'):
        path.write_text(content)
        with pytest.raises(InputError, match=re.escape(str(path))):
            StructureBank.load(path)
    with pytest.raises(InputError, match="no such file"):
        StructureBank.load(tmp_path / "none.json")
