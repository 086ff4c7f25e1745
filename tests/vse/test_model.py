"""vse.model: vectors for photos, features and sentences, whatever their form or order; pretrained words."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vse.data.vocabulary import EOS_ID, PAD_ID, SPECIALS, UNK_ID, Vocabulary
from vse.encoders.image import ImageConfig
from vse.encoders.text import TextConfig
from vse.model import VSE, VSEConfig, _alike
from vse.system.errors import InputError

TEXTS = ["a red dog", "dog", "a blue house on a long road", "", "zebra", "the white boat", "a dog on a boat"]


def make(encoder="lstm", seed=0, feature_dim=8, **settings):
    torch.manual_seed(seed)
    text = TextConfig(encoder=encoder, word_dim=6, hidden=5)
    vocabulary = Vocabulary.from_captions([t for t in TEXTS if t != "zebra"])
    return VSE(VSEConfig(embed_dim=7, text=text, **settings), vocabulary, feature_dim)


def features(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(5, 8), (5, 3, 8), (5, 2, 3, 8), (0, 8)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_of_every_shape_become_float32_unit_vectors(shape, dtype):
    vectors = make().encode_images(features(*shape).astype(dtype))
    assert vectors.shape == (shape[0], 7) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_one_region_and_one_view_are_no_region_and_no_view():
    model, flat = make(), features(5, 8)
    expected = model.encode_images(flat)
    assert np.array_equal(model.encode_images(flat[:, None]), expected)
    assert np.array_equal(model.encode_images(flat[:, None, None]), expected)


def test_several_views_become_the_direction_of_their_mean_vector():
    model, array = make(), features(5, 4, 3, 8)
    views = np.stack([model.encode_images(array[:, v]) for v in range(4)]).mean(0)
    assert np.allclose(model.encode_images(array), views / np.linalg.norm(views, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_images_do_not_depend_on_their_batch(pooling):
    model, array = make(image=ImageConfig(pooling=pooling)), features(9, 2, 3, 8)
    assert np.allclose(model.encode_images(array), model.encode_images(array, batch_size=2), atol=1e-6)


@given(st.lists(st.integers(0, 40_000), max_size=60), st.integers(1, 20))
def test_batches_are_of_like_length_and_bounded(lengths, batch_size):
    batches = list(_alike(lengths, batch_size))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    in_order = [lengths[i] for batch in batches for i in batch]
    assert in_order == sorted(in_order)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 32_768


@pytest.mark.parametrize("encoder", ["lstm", "peephole", "gru", "conv", "bow"])
def test_texts_do_not_depend_on_their_batch_or_order(encoder):
    model = make(encoder)
    vectors = model.encode_texts(TEXTS)
    assert vectors.shape == (7, 7) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(vectors, model.encode_texts(TEXTS, batch_size=2), atol=1e-6)
    assert np.allclose(vectors[::-1], model.encode_texts(TEXTS[::-1]), atol=1e-6)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert np.allclose(model.encode_texts([text])[0], vector, atol=1e-6)


def test_no_texts_are_no_vectors():
    assert make().encode_texts([]).shape == (0, 7)


def test_encoding_is_in_evaluation_mode_and_leaves_no_gradient():
    model = make(image=ImageConfig(dropout=0.5)).train()
    array = features(5, 8)
    assert np.array_equal(model.encode_images(array), model.encode_images(array))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "array, said",
    [
        (features(5, 9), "9 dimensions, the model was trained on 8"),
        (features(8), r"shape \(8,\)"),
        (features(1, 1, 1, 1, 8), "shape"),
    ],
)
def test_other_features_are_refused_in_one_line(array, said):
    with pytest.raises(InputError, match=said) as error:
        make().encode_images(array)
    assert "\n" not in str(error.value)


def test_one_string_is_not_a_list_of_letters():
    model = make()
    with pytest.raises(InputError, match="list"):
        model.encode_texts("a red dog")
    with pytest.raises(InputError, match="list"):
        model.encode_images("photo.jpg")


def test_photos_go_through_the_extractor_that_made_the_features(monkeypatch, tmp_path):
    """The extractor's own tests see to pixels; here: the right settings, made once, and the right rows."""
    made = []

    class Extractor:
        @classmethod
        def from_info(cls, info, device):
            made.append((info, device))
            return cls()

        def extract_files(self, paths):
            return np.stack([np.asarray(Image.open(p), np.float32).ravel()[:8] for p in paths])[:, None, None]

    monkeypatch.setattr("vse.features.given.FeatureExtractor", Extractor)
    model = make()
    model.feature_info = {"encoder": "tiny"}
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (3, 3), np.uint8)).save(path)
    vectors = model.encode_images(paths)
    assert np.allclose(model.encode_images([str(p) for p in paths[::-1]]), vectors[::-1], atol=1e-6)
    assert made == [({"encoder": "tiny"}, "cpu")]


def test_weights_start_within_the_papers_range():
    model = make("peephole")
    bias = model.text_encoder.readers[0].bias_ih_l0
    i, f, g, o = bias.detach().chunk(4)
    assert (f == 1).all()  # so that first words reach the last state
    for parameter in (*(p for p in model.parameters() if p is not bias), i, g, o):
        assert parameter.abs().max() <= 0.08
    assert model.image_encoder.W_I.weight.abs().max() > 0.06
    assert not model.text_encoder.words.vectors.weight[PAD_ID].any()
    assert not make(init_range=0.0).text_encoder.words.vectors.weight[PAD_ID].any()


def test_word_vectors_are_set_in_proportion_and_at_the_scale_of_the_start():
    model = make()
    before = model.text_encoder.words.vectors.weight.detach().clone()
    given = {"dog": features(6, seed=1), "boat": 50 * features(6, seed=2), "unicorn": features(6, seed=3)}
    assert model.set_word_vectors(given) == 2
    after = model.text_encoder.words.vectors.weight.detach()
    ids = [model.vocabulary.ids[word] for word in ("dog", "boat")]
    pretrained = np.stack([given["dog"], given["boat"]])
    ratio = after[ids].numpy() / pretrained
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-4)  # one factor for all: lengths keep their proportion
    assert after[ids].square().mean().sqrt() == pytest.approx(
        before[EOS_ID + 1 :].square().mean().sqrt().item(), rel=1e-4
    )
    others = [i for i in range(len(model.vocabulary)) if i not in (*ids, UNK_ID)]
    assert torch.equal(after[others], before[others])
    assert torch.allclose(after[UNK_ID], after[UNK_ID + 1 :].mean(0))  # an unknown word is the mean word


def test_the_transformer_gets_word_vectors_that_adam_does_not_forget():
    """Its random start has a root mean square of 0.02, of which a step at a learning rate of 1e-3 is a 20th.

    Words without a vector are as large: a block's norm would blow up what is small.
    """
    model = make("transformer", init_range=0.0)
    assert model.set_word_vectors({"dog": features(6, seed=1), "boat": features(6, seed=2)}) == 2
    weight = model.text_encoder.words.vectors.weight.detach()
    given = [model.vocabulary.ids[word] for word in ("dog", "boat")]
    assert weight[given].square().mean().sqrt() == pytest.approx(1.0, rel=1e-4)
    others = [i for i in range(UNK_ID + 1, len(weight)) if i not in given]
    assert weight[others].square().mean().sqrt() == pytest.approx(1.0, rel=0.3)  # few are left


def test_no_known_word_changes_nothing():
    model = make()
    before = model.text_encoder.words.vectors.weight.detach().clone()
    assert model.set_word_vectors({"unicorn": features(6)}) == 0
    assert torch.equal(model.text_encoder.words.vectors.weight, before)


def test_padding_stays_zero_whatever_the_file_has():
    model = make("bow")
    assert model.set_word_vectors({"<pad>": features(6), "dog": features(6)}) == 1
    assert not model.text_encoder.words.vectors.weight[PAD_ID].any()


@pytest.mark.parametrize("vector", [features(300), np.full(6, np.nan, np.float32), np.zeros(6, np.float32)])
def test_word_vectors_that_cannot_be_used_are_refused_in_one_line(vector):
    with pytest.raises(InputError, match="word vectors") as error:
        make().set_word_vectors({"dog": vector})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"embed_dim": 0}, {"init_range": -0.1}])
def test_settings_without_sense_are_refused(wrong):
    with pytest.raises(InputError, match=r"model\."):
        VSEConfig(**wrong)


@pytest.mark.parametrize(
    ("info", "shape", "says"),
    [
        ({"grid": 3, "views": ["full"]}, (2, 1, 12), "1 regions, the model was trained on 9"),
        ({"grid": 1, "views": ["full"]}, (2, 2, 1, 12), "2 views, the model was trained on 1"),
        ({"shape": [1, 3, 12]}, (2, 9, 12), "9 regions, the model was trained on 3"),
        ({"sources": [{"grid": 3}, {"grid": 1}], "scales": [1.0, 1.0]}, (2, 4, 12), "4 regions"),
    ],
)
def test_features_of_other_regions_or_more_views_are_refused(info, shape, says):
    model = VSE(VSEConfig(embed_dim=4), Vocabulary((*SPECIALS, "dog")), 12, info)
    with pytest.raises(InputError, match=says):
        model.encode_images(np.ones(shape, np.float32))


def test_fewer_views_and_features_of_nobody_knows_what_are_taken():
    vocabulary, array = Vocabulary((*SPECIALS, "dog")), np.ones((2, 1, 9, 12), np.float32)
    for info in ({"grid": 3, "views": ["full", "full-flip"]}, {}):
        assert VSE(VSEConfig(embed_dim=4), vocabulary, 12, info).encode_images(array).shape == (2, 4)
