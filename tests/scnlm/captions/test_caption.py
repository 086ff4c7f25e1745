"""From an image to captions: the bank of sentences, bags of concepts, candidates, their score, and how it is tuned."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from scnlm.captions.assemble import references_of
from scnlm.captions.captioner import CaptionConfig, Captioner
from scnlm.captions.describe import nearest_sentences
from scnlm.captions.page import Described, caption_page
from scnlm.language_model import LanguageModel
from scnlm.models import LMConfig
from scnlm.rerank.concepts import CONTENTS, NEAREST, NEIGHBOURS, Concepts, SentenceBank
from scnlm.rerank.score import Candidate, Weights, score, stopwords
from scnlm.rerank.trigram import Trigram, estimate
from scnlm.rerank.vote import ranked
from scnlm.structure import StructureBank, TagVocabulary
from vse.configs import FusionConfig
from vse.data.vocabulary import EOS, EOS_ID, SPECIALS, Vocabulary
from vse.encoders.text import TextConfig
from vse.fusion import Fusion
from vse.model import VSE, VSEConfig
from vse.system.errors import InputError
from vse.system.settings import config_from_dict

DIM = 8
WORDS = ("a", "ball", "big", "dog", "girl", "house", "is", "on", "red", "runs", "the", "white")
BANK = [("DET", "NOUN", "VERB", "ADP"), ("DET", "ADJ", "NOUN", "VERB", "ADP"), ("NOUN",) * 4, ("ADJ", "NOUN") * 3]
FEW = CaptionConfig(candidates=60)


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def unit_vectors(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, dim)))


@pytest.fixture(scope="module")
def encoder() -> VSE:
    """Sums of random words, and no image encoder worth the name: images come as points."""
    torch.manual_seed(0)
    config = VSEConfig(DIM, text=TextConfig(encoder="bow", word_dim=DIM), init_range=1.0)
    model = VSE(config, Vocabulary((*SPECIALS, *WORDS)), 3)
    model.fingerprint = "0123456789abcdef"
    return model


@pytest.fixture(scope="module")
def lm(encoder) -> LanguageModel:
    """A language model of random numbers."""
    made = LanguageModel.make(
        LMConfig(word_dim=6, num_factors=8, context=3, gate_dim=10, tag_context=2, tag_dim=3), encoder.vocabulary,
        StructureBank.from_tags(BANK, tag_set="coarse", spacy_model="m"), TagVocabulary.from_tags(BANK, "coarse"),
        DIM, encoder.fingerprint,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    for parameter in made.model.eval().parameters():
        torch.nn.init.uniform_(parameter, -1.0, 1.0, generator=draw)
    return made


@pytest.fixture(scope="module")
def captioner(encoder, lm, tmp_path_factory) -> Captioner:
    arpa, draw = tmp_path_factory.mktemp("trigram") / "t.arpa", np.random.default_rng(0)
    estimate([list(draw.choice(WORDS[2:], 5)) for _ in range(60)], discount_fallback=[0.5, 1.0, 1.5]).write_arpa(arpa)
    bank = SentenceBank.from_embeddings(unit_vectors(90, seed=2))
    weights = Weights(1.0, 0.7, 0.6, 0.02, 0.1, 0.05, 0.03)
    return Captioner(encoder, lm, bank, Trigram(arpa), weights)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return unit_vectors(4, seed=1)


# --- The bank of sentences -------------------------------------------------------------------------------------------


def test_sentences_of_few_directions_keep_their_place():
    """300 dimensions, of which 40 matter as in a trained space: 128 bytes a sentence lose next to nothing."""
    draw = np.random.default_rng(0)
    low = draw.standard_normal((500, 40)) * np.geomspace(1, 0.1, 40) @ draw.standard_normal((40, 300))
    exact = unit(low + 0.2 * draw.standard_normal((500, 300)) + 1.0)
    bank = SentenceBank.from_embeddings(exact)
    assert (bank.codes.dtype, bank.codes.shape, bank.components.shape) == (np.int8, (500, 128), (128, 300))
    cosines = (bank.embeddings() * exact).sum(1)
    assert cosines.min() > 0.95 and cosines.mean() > 0.99


@pytest.mark.parametrize(("count", "dim"), [(300, 40), (200, 128), (7, 300), (NEAREST, 16)])
def test_up_to_128_directions_only_rounding_is_lost(count, dim):
    """Along each component at most half a step, of 254 between the outermost sentences."""
    exact = unit_vectors(count, dim)
    bank = SentenceBank.from_embeddings(exact)
    kept = bank.codes * bank.scale @ bank.components + bank.mean
    along = (exact - kept) @ bank.components.T
    assert np.all(np.abs(along) <= 0.5 * bank.scale + 1e-6)
    assert exact - kept == pytest.approx(along @ bank.components, abs=1e-5)  # nothing is lost beside the components
    steps = 127 * bank.scale
    assert steps == pytest.approx(np.abs((exact - bank.mean) @ bank.components.T).max(0), abs=1e-5)
    assert bank.embeddings() == pytest.approx(unit(kept), abs=1e-6)


def test_sentences_that_are_all_the_same():
    one = unit_vectors(1)
    bank = SentenceBank.from_embeddings(one.repeat(6, 0))
    assert bank.embeddings() == pytest.approx(one.repeat(6, 0), abs=1e-6)


def test_a_bank_is_read_as_it_was_written(tmp_path):
    bank = SentenceBank.from_embeddings(unit_vectors(30, 16))
    bank.save(tmp_path / "bank")
    again = SentenceBank.load(tmp_path / "bank")
    assert all(np.array_equal(getattr(again, f.name), getattr(bank, f.name)) for f in dataclasses.fields(bank))
    assert again.codes.dtype == np.int8 and np.array_equal(again.embeddings(), bank.embeddings())
    assert [p.name for p in tmp_path.iterdir()] == ["bank"]


@pytest.mark.parametrize("count", range(NEAREST))
def test_fewer_sentences_than_a_bag_has_are_refused(count):
    with pytest.raises(InputError, match=f"{count} training sentences.* {NEAREST} or more"):
        SentenceBank.from_embeddings(unit_vectors(count))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "head": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "text": lambda path: path.write_text("a bank"),
    "other": lambda path: save_file({"codes": np.zeros(3, np.float32)}, path),
    "codes": lambda path: save_file(spoilt(path, codes=lambda x: x[:, :-1]), path),
    "components": lambda path: save_file(spoilt(path, components=lambda x: x[:, 1:]), path),
    "few": lambda path: save_file(spoilt(path, codes=lambda x: x[:4]), path),
}


def spoilt(path, **changes):
    tensors = load_file(path)
    return tensors | {key: np.ascontiguousarray(change(tensors[key])) for key, change in changes.items()}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_bank_is_refused_in_one_line(damage, tmp_path):
    path = tmp_path / "bank"
    SentenceBank.from_embeddings(unit_vectors(30, 16)).save(path)
    DAMAGE[damage](path)
    with pytest.raises(InputError, match="scnlm assemble") as error:
        SentenceBank.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(InputError, match=f"{path}: no such file; make it with `scnlm assemble`"):
        SentenceBank.load(path)


# --- Bags of concepts ------------------------------------------------------------------------------------------------


def bag(image: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    """The mean of the nearest points, one at a time."""
    nearest = sorted(range(len(points)), key=lambda i: -float(image @ points[i]))[:count]
    return unit(sum(points[i] for i in nearest) / len(nearest))


def test_contents_are_the_image_and_the_means_of_what_is_near(encoder, captioner, images):
    made = captioner.concepts.contents(images)
    points = {"sentences": captioner.bank.embeddings(), "words": encoder.encode_texts(list(WORDS))}
    assert made.shape == (len(images), 3, DIM) and np.array_equal(made[:, 0], images)
    for i, image in enumerate(images):
        for kind, content in zip(CONTENTS[1:], made[i, 1:], strict=True):
            assert content == pytest.approx(bag(image, points[kind], NEAREST), abs=1e-5)
    assert np.linalg.norm(made, axis=2) == pytest.approx(1, abs=1e-5)
    for kinds in (("words",), ("sentences", "image")):
        expected = made[:, [CONTENTS.index(kind) for kind in kinds]]
        assert captioner.concepts.contents(images, kinds) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("count", [NEAREST, NEIGHBOURS - 1, NEIGHBOURS, NEIGHBOURS + 30])
def test_a_caption_is_compared_with_the_mean_of_sixty_or_of_all_there_are(encoder, images, count):
    bank = SentenceBank.from_embeddings(unit_vectors(count, seed=3))
    bags = Concepts(encoder, bank).bags(images)
    expected = [bag(image, bank.embeddings(), NEIGHBOURS) for image in images]
    assert bags == pytest.approx(np.stack(expected), abs=1e-5) and bags.dtype == np.float32
    assert (bags.std(0).max() < 1e-6) == (count <= NEIGHBOURS)  # all of them are the same for each image


def test_no_images_have_no_contents(captioner):
    none = np.empty((0, DIM), np.float32)
    assert captioner.concepts.contents(none).shape == (0, 3, DIM) and captioner.captions(none) == []


def test_a_bank_of_another_space_is_refused(encoder):
    with pytest.raises(InputError, match="a bank of 5 dimensions, the encoder has 8.*scnlm assemble"):
        Concepts(encoder, SentenceBank.from_embeddings(unit_vectors(20, 5)))


# --- Candidates and captions -----------------------------------------------------------------------------------------


def same(found: list[Candidate], expected: list[Candidate]) -> None:
    """The same sentences in the same order, and the same numbers but for rounding."""
    assert [c.tokens for c in found] == [c.tokens for c in expected]
    for a, b in zip(found, expected, strict=True):
        assert (a.content, a.structure, a.draw, a.repeats) == (b.content, b.structure, b.draw, b.repeats)
        for name in ("decoder", "translation", "concepts", "trigram", "score"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), abs=1e-4), name


def test_captions_are_a_function_of_image_and_seed(captioner, images):
    first = captioner.captions(images, FEW, seed=3)
    assert captioner.captions(images, FEW, seed=3) == first
    others = captioner.captions(images, FEW, seed=4)
    assert [[c.draw for c in own] for own in others] != [[c.draw for c in own] for own in first]
    state = torch.random.get_rng_state()
    drawn = captioner.captions(images, dataclasses.replace(FEW, structured=False), seed=3)
    assert captioner.captions(images, dataclasses.replace(FEW, structured=False), seed=3) == drawn
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("config", [FEW, dataclasses.replace(FEW, structured=False), dataclasses.replace(FEW, beam=2)])
def test_an_images_captions_do_not_depend_on_the_others(captioner, images, config):
    together = captioner.captions(images, config)
    for i in range(len(images)):
        same(captioner.captions(images[i : i + 1], config)[0], together[i])
    for own, expected in zip(captioner.captions(images[::-1], config), together[::-1], strict=True):
        same(own, expected)


@pytest.mark.parametrize("structured", [True, False])
def test_captions_are_different_sentences_of_words_best_first(captioner, images, structured):
    config = dataclasses.replace(FEW, structured=structured, contents=CONTENTS, vote=0.0)
    for everything, best in zip(captioner.candidates(images, config), captioner.captions(images, config), strict=True):
        assert len({c.tokens for c in everything}) == len(everything) > config.kept == len(best)
        assert all(c.structure in BANK and len(c.tokens) == len(c.structure) for c in everything)
        assert {word for c in everything for word in c.tokens} <= set(WORDS)
        assert {c.content for c in everything} == set(CONTENTS)
        scores = sorted((by_hand(c, captioner.weights) for c in everything), reverse=True)
        assert [c.score for c in best] == pytest.approx(scores[: config.kept]) and len(set(scores)) > 3
        assert {dataclasses.replace(c, score=0.0) for c in best} <= set(everything)
    voted = captioner.captions(images, dataclasses.replace(config, vote=0.3))
    for everything, best in zip(captioner.candidates(images, config), voted, strict=True):
        assert best == ranked(everything, captioner.weights, 0.3)[: config.kept]


def by_hand(c: Candidate, w: Weights) -> float:
    cosines = w.translation * c.translation + w.concepts * c.concepts
    cosines -= abs(cosines) * (1 - w.repetition**c.repeats)
    fluent = w.trigram * c.trigram + w.length * len(c.tokens)
    return cosines + fluent + w.decoder * c.decoder + w.structure * c.log_share


@pytest.mark.parametrize("structured", [True, False])
def test_every_part_of_a_candidate_is_what_its_name_says(encoder, lm, captioner, images, structured):
    config = dataclasses.replace(FEW, candidates=25, structured=structured, contents=CONTENTS)
    contents, bags = captioner.concepts.contents(images), captioner.concepts.bags(images)
    for i, candidates in enumerate(captioner.candidates(images, config)):
        for c in candidates:
            ids, tags = [lm.vocabulary.ids[w] for w in c.tokens] + [EOS_ID], lm.tags.ids([*c.structure, EOS])
            u = torch.from_numpy(contents[i, CONTENTS.index(c.content)])[None]
            with torch.inference_mode():
                log_p = lm.model(torch.tensor([ids]), torch.tensor([tags]), u)[0]
            assert c.decoder == pytest.approx(log_p[range(len(ids)), ids].sum().item(), abs=1e-4)
            (point,) = encoder.encode_texts([c.text])
            assert c.translation == pytest.approx(point @ images[i], abs=0.02)  # bfloat16
            assert c.concepts == pytest.approx(point @ bags[i], abs=0.02)
            assert c.trigram == pytest.approx(captioner.trigram.log_prob(c.tokens))
            of_bank = dict(zip(lm.structures.sequences, lm.structures.counts, strict=True))
            assert c.log_share == pytest.approx(math.log(of_bank[c.structure] / sum(of_bank.values())))
            words = [w for w in c.tokens if w not in stopwords()]
            assert c.repeats == sum(w in words[:k] for k, w in enumerate(words))


def test_a_candidate_is_numbered_by_its_first_draw_and_told_by_its_most_probable(lm, captioner, images, monkeypatch):
    """Those with `draw` below n are what the first n draws give: fewer candidates of the same kind."""
    config, image = dataclasses.replace(FEW, candidates=200), images[:1]
    real, noise = captioner.decoder.most_probable, np.random.default_rng(0).uniform(-9, -1, 200).astype(np.float32)
    monkeypatch.setattr(captioner.decoder, "most_probable", lambda *asked: (real(*asked)[0], noise))
    (candidates,) = captioner.candidates(image, config, seed=5)
    draw = np.random.default_rng(5)
    structures = lm.structures.sample(200, draw)
    content_of = draw.integers(2, size=200)
    contents = captioner.concepts.contents(image, config.contents)[0]
    sentences, nats = captioner.decoder.most_probable(contents, content_of, structures)
    assert nats is noise and len(candidates) < 200  # some came more than once
    for n in (1, 2, 17, 199, 200):
        assert {c.tokens for c in candidates if c.draw < n} == {tuple(words) for words in sentences[:n]}
    for c in candidates:
        again = [i for i, words in enumerate(sentences) if tuple(words) == c.tokens]
        best = max(again, key=lambda i: nats[i] + lm.structures.log_shares[structures[i]])
        assert (c.draw, c.decoder) == (again[0], pytest.approx(nats[best]))
        assert (c.content, c.structure) == (config.contents[content_of[best]], structures[best])


def test_fewer_captions_than_asked_for_where_there_are_no_more(captioner, images):
    (two,) = captioner.captions(images[:1], dataclasses.replace(FEW, kept=2))
    (all_,) = captioner.captions(images[:1], dataclasses.replace(FEW, kept=1000))
    assert all_[:2] == two and len(all_) == len(captioner.candidates(images[:1], FEW)[0])
    (single,) = captioner.captions(images[:1], dataclasses.replace(FEW, candidates=1))
    assert len(single) == 1 and single[0].draw == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"candidates": 0}, "1 or more"), ({"beam": 0}, "1 or more"), ({"kept": -1}, "1 or more"),
        ({"contents": []}, "expected some of image, sentences, words"), ({"contents": ["image", "dog"]}, "dog"),
        ({"beam": 2, "structured": False}, "expected beam 1"),
        ({"vote": -0.1}, "vote = -0.1"), ({"vote": math.nan}, "vote = nan"),
    ],
)  # fmt: skip
def test_settings_without_sense_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        config_from_dict(CaptionConfig, wrong, "captions")


def test_a_language_model_of_another_encoder_is_refused(encoder, lm, captioner):
    other = VSE(encoder.config, encoder.vocabulary, 3)
    other.fingerprint = "fedcba9876543210"
    with pytest.raises(InputError, match="fedcba9876543210.* 0123456789abcdef"):
        Captioner(other, lm, captioner.bank, captioner.trigram, captioner.weights)
    wide = VSE(VSEConfig(DIM + 1, text=TextConfig(word_dim=4, hidden=4)), encoder.vocabulary, 3)
    with pytest.raises(InputError, match="an encoder of 9 dimensions.* one of 8"):
        Captioner(wide, lm, captioner.bank, captioner.trigram, captioner.weights)


def test_the_nearest_sentence_is_that_of_the_loop(encoder, captioner, images):
    captions = [" ".join(words) for words in itertools.product(WORDS[:6], WORDS[6:], WORDS[3:5])]
    points = encoder.encode_texts(captions)
    expected = [int(np.argmax(points @ image)) for image in images]
    assert nearest_sentences(captioner, captions, images) == expected
    filler = [captions[(points @ images[0]).argmin()]] * 5000  # a block of its own
    assert nearest_sentences(captioner, [*captions, *filler, *captions], images) == expected  # of equals the first
    assert nearest_sentences(captioner, [*filler, *captions], images) == [5000 + i for i in expected]


def test_references_are_an_images_own_captions(dataset):
    split = dataset.split("dev")
    references = references_of(split)
    assert len(references) == 8 and sum(map(len, references)) == len(split.captions)
    for caption, image in zip(split.captions, split.image_of_caption.tolist(), strict=True):
        assert caption.split() in references[image]


def test_text_on_the_page_is_text(tmp_path):
    best = Candidate(("a", "<b>", "&"), "image", ("X",), -3.0, translation=0.5, trigram=-7.25, repeats=2, score=1.5)
    shown = Described(tmp_path / "gone.jpg", (best,), ("people <i>wrote</i>",), "near <u>it</u>")
    text = caption_page(tmp_path / "page.html", [shown]).read_text()
    for part in ("a &lt;b&gt; &amp;", "people &lt;i&gt;", "near &lt;u&gt;", "cosine 0.50", "repeats 2", "trigram -7.2"):
        assert part in text
    assert "gone.jpg cannot be read" in text
    bare = caption_page(tmp_path / "page.html", [dataclasses.replace(shown, people=(), nearest=None)]).read_text()
    assert "What people wrote" not in bare and "Nearest training sentence" not in bare


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_refused(wrong):
    for name in ("translation", "length", "decoder"):
        with pytest.raises(InputError, match="finite"):
            Weights(**{name: wrong})


# --- A model that reads photo and sentence together ------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(encoder) -> Fusion:
    torch.manual_seed(0)
    made = Fusion(
        FusionConfig(width=8, layers=1, heads=2), encoder.vocabulary, 3, {"encoder": "tiny", "feature_dim": 3}
    )
    torch.nn.init.normal_(made.match_head.weight)
    return made.eval()


def test_a_readers_logit_is_a_part_of_the_score(captioner, reader, images):
    seen = np.random.default_rng(5).standard_normal((len(images), 1, 4, 3)).astype(np.float32)
    weights = dataclasses.replace(captioner.weights, matching=0.5)
    reading = Captioner(captioner.encoder, captioner.lm, captioner.bank, captioner.trigram, weights, reader)
    plain, read = captioner.candidates(images, FEW), reading.candidates(images, FEW, seen=seen)
    for i, (own, others) in enumerate(zip(plain, read, strict=True)):
        probabilities = reader.match(seen[i : i + 1], [c.text for c in others])[0]
        logits = np.log(probabilities) - np.log1p(-probabilities)
        assert [c.matching for c in others] == pytest.approx(logits.tolist(), abs=1e-4)
        assert np.ptp(logits) > 0.01
        assert [dataclasses.replace(c, matching=0.0) for c in others] == own
        assert score(others, weights) == pytest.approx(score(own, captioner.weights) + 0.5 * logits, abs=1e-4)
    assert reading.captions(images, FEW, seen=seen) != captioner.captions(images, FEW)


def test_a_reader_needs_photos_and_a_weight_needs_a_reader(captioner, reader, images):
    parts = captioner.encoder, captioner.lm, captioner.bank, captioner.trigram
    with pytest.raises(InputError, match="give `seen`"):
        Captioner(*parts, captioner.weights, reader).captions(images, FEW)
    with pytest.raises(InputError, match="matching is 0.5, but there is no fusion/"):
        Captioner(*parts, dataclasses.replace(captioner.weights, matching=0.5))
