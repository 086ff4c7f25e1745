"""vse.hubs: the correction is its formula, changes nothing at weight 0, and is the run's own."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from vse.data.vocabulary import Vocabulary
from vse.encoders.text import TextConfig
from vse.evaluate import evaluate, row_of
from vse.hubs import FILE, KS, Corrected, Correction, Hubs, Joined, choose, hubness, load_hubs, make_banks, save_hubs
from vse.metrics import Cosines, block_ranks, i2t_ranks, t2i_ranks
from vse.model import VSE, VSEConfig, side_by_side
from vse.search.points import Points
from vse.system.errors import InputError


class Exact:
    """A bank that rounds nothing."""

    def __init__(self, vectors):
        self.vectors = vectors

    def embeddings(self):
        return self.vectors


def units(count, dim=7, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make(dataset, seed=0, embed_dim=6):
    torch.manual_seed(seed)
    text = TextConfig(encoder="bow", word_dim=5)
    model = VSE(VSEConfig(embed_dim=embed_dim, text=text), Vocabulary.from_captions(dataset.captions), 12)
    model.fingerprint = f"weights-{seed}"
    return model


def by_hand(gallery, queries, k):
    """NNN's equation, item by item, in float64."""
    means = []
    for item in gallery.astype(np.float64):
        scores = sorted(
            (sum(a * b for a, b in zip(item, query, strict=True)) for query in queries.tolist()), reverse=True
        )
        means.append(sum(scores[:k]) / len(scores[:k]))
    return means


@pytest.mark.parametrize("k", [1, 3, 20, 500])
def test_hubness_is_the_mean_of_the_k_highest_scores(k):
    gallery, queries = units(9), units(20, seed=1)
    assert hubness(gallery, queries, [k])[0] == pytest.approx(by_hand(gallery, queries, k), abs=1e-6)


def test_the_order_of_the_bank_and_the_batch_do_not_matter(monkeypatch):
    gallery, queries = units(40), units(60, seed=1)
    expected = hubness(gallery, queries, [4, 9])
    shuffled = np.random.default_rng(2).permutation(60)
    assert hubness(gallery, queries[shuffled], [4, 9]) == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr("vse.hubs._BLOCK", 7)
    assert hubness(gallery, queries, [4, 9]) == pytest.approx(expected, abs=1e-6)
    assert hubness(gallery[5:6], queries, [4, 9])[:, 0] == pytest.approx(expected[:, 5], abs=1e-6)


@pytest.mark.parametrize("k, queries", [(0, 3), (-1, 3), (2, 0)])
def test_no_k_and_no_queries_are_refused(k, queries):
    with pytest.raises(InputError, match=rf"k = {k}, {queries} training queries"):
        hubness(units(2), units(3, seed=1)[:queries], [k])


def test_both_ways_rank_as_the_formula_says():
    """One matrix serves both ways, in blocks as whole."""
    images, captions, owner = units(12), units(36, seed=1), np.repeat(np.arange(12), 3)
    hubs = Hubs(Correction(Exact(units(50, seed=2)), 5, 0.7), Correction(Exact(units(30, seed=3)), 2, 0.4))
    scores = images.astype(np.float64) @ captions.T
    photo_terms = 0.7 * np.array(by_hand(images, hubs.photos.bank.embeddings(), 5))
    caption_terms = 0.4 * np.array(by_hand(captions, hubs.captions.bank.embeddings(), 2))
    corrected = hubs.correct(Cosines(images, captions), images, captions)
    for block_mb in (512, 0):
        i2t, t2i = block_ranks(corrected, owner, block_mb)
        assert i2t.tolist() == i2t_ranks(scores - caption_terms, owner).tolist()
        assert t2i.tolist() == t2i_ranks(scores - photo_terms[:, None], owner).tolist()
    assert i2t.tolist() != i2t_ranks(scores, owner).tolist()  # it does something


def test_weight_0_is_the_plain_score():
    images, captions = units(5), units(8, seed=1)
    plain, everything = Cosines(images, captions), slice(None)
    none = Correction(Exact(units(50, seed=2)), 5, 0.0)
    corrected = Hubs(none, none).correct(plain, images, captions)
    assert np.array_equal(corrected(everything, everything), plain(everything, everything))


def test_a_gallery_of_one_always_answers_with_it():
    image, captions = units(1), units(4, seed=1)
    way = Correction(Exact(units(50, seed=2)), 5, 0.9)
    i2t, t2i = block_ranks(Hubs(way, way).correct(Cosines(image, captions), image, captions), np.zeros(4, np.int64))
    assert i2t.tolist() == [1] and t2i.tolist() == [1] * 4


def test_a_hub_is_pushed_down():
    """A photo in the middle of everything wins every query; corrected, each query finds its own."""
    photos = np.eye(4, dtype=np.float32)[:3] * 0.8 + np.float32(0.1)
    photos = np.vstack([photos, np.full(4, 1.0, np.float32)])
    photos /= np.linalg.norm(photos, axis=1, keepdims=True)
    queries = np.eye(4, dtype=np.float32)[:3] * 0.3 + np.float32(0.5)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    scorer = Cosines(photos, queries)
    assert np.argmax(scorer(slice(None), slice(None)), axis=0).tolist() == [3, 3, 3]
    way = Correction(Exact(queries), 3, 1.0)
    corrected = Corrected(scorer, way(photos), np.zeros(3, np.float32))
    assert np.argmax(corrected(slice(None), slice(None)), axis=0).tolist() == [0, 1, 2]


def test_joined_banks_score_as_the_mean_of_the_models(dataset, features):
    models = [make(dataset), make(dataset, 1, embed_dim=9)]
    train, dev = dataset.split("train"), dataset.split("dev")
    banks = [make_banks(model, train, features)[0] for model in models]
    images, _ = side_by_side(models, dev, [features] * 2)
    separate = [model.encode_images(features.take(dev.images)) for model in models]
    scores = [vectors @ bank.embeddings().T for vectors, bank in zip(separate, banks, strict=True)]
    assert images @ Joined(banks).embeddings().T == pytest.approx(np.mean(scores, axis=0), abs=1e-6)


def test_what_dev_chooses_is_never_below_the_plain_row_there(dataset, features):
    model = make(dataset)
    dev = dataset.split("dev")
    hubs = choose(*make_banks(model, dataset.split("train"), features), [model], dev, [features])
    assert hubs.photos.k in KS and hubs.captions.k in KS
    plain, corrected = (evaluate([model], dev, [features], hubs=each).rsum for each in (None, hubs))
    assert corrected >= plain


def test_a_split_without_captions_is_a_users_mistake(dataset, features):
    bare = dataclasses.replace(dataset.split("dev"), captions=(), image_of_caption=np.zeros(0, np.int64))
    model = make(dataset)
    with pytest.raises(InputError, match="no training captions"):
        make_banks(model, bare, features)
    with pytest.raises(InputError, match="no dev captions"):
        choose(*make_banks(model, dataset.split("train"), features), [model], bare, [features])


@pytest.fixture
def run(tmp_path, dataset, features):
    """A folder with the hubs of a model, and the two."""
    model = make(dataset)
    captions, photos = make_banks(model, dataset.split("train"), features)
    hubs = Hubs(Correction(captions, 4, 0.6), Correction(photos, 2, 0.3))
    save_hubs(tmp_path, hubs, model)
    return tmp_path, model, hubs


def test_saved_hubs_come_back(run, dataset, features):
    folder, model, hubs = run
    loaded, test = load_hubs(folder, model), dataset.split("test")
    assert evaluate([model], test, [features], hubs=loaded) == evaluate([model], test, [features], hubs=hubs)
    assert loaded.photos.fingerprint and loaded.photos.fingerprint != loaded.captions.fingerprint
    assert row_of(Cosines(*side_by_side([model], test, [features])), test) == evaluate([model], test, [features])


def with_header(folder, change):
    with safe_open(folder / FILE, "np") as file:
        header = json.loads(file.metadata()["hubs"])
    change(header)
    save_file(load_file(folder / FILE), folder / FILE, {"hubs": json.dumps(header)})


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: (f / FILE).unlink(), "no such file"),
        (lambda f: (f / FILE).write_bytes(b"x" * 40), "not the hubs of a run"),
        (lambda f: save_file({}, f / FILE), "not the hubs of a run"),
        (lambda f: save_file({}, f / FILE, {"hubs": "[]"}), "version"),
        (lambda f: with_header(f, lambda h: h.update(version=2)), "version"),
        (lambda f: with_header(f, lambda h: h.update(model="others")), "other weights"),
        (lambda f: with_header(f, lambda h: h["photos"].update(k=0)), "k = 0"),
        (lambda f: with_header(f, lambda h: h["photos"].update(k=True)), "k = True"),
        (lambda f: with_header(f, lambda h: h["captions"].update(weight="1")), "weight = 1 of captions"),
        (lambda f: with_header(f, lambda h: h["captions"].update(weight=99)), "weight = 99"),
        (lambda f: with_header(f, lambda h: h.update(captions=[1])), "k = None"),
    ],
)
def test_a_damaged_file_is_one_line_with_the_way_out(run, damage, message):
    folder, model, _ = run
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_hubs(folder, model)
    assert "vse hubs" in str(caught.value) and "\n" not in str(caught.value)


def test_hubs_of_another_dimension_are_refused(run, dataset):
    folder, model, hubs = run
    other = make(dataset, embed_dim=9)
    with pytest.raises(InputError, match="6 dimensions, the model has 9"):
        load_hubs(folder, other)


def test_points_are_near_the_vectors():
    vectors = units(300, dim=40)
    near = Points.from_embeddings(vectors).embeddings()
    assert (near * vectors).sum(1).min() > 0.999 and np.linalg.norm(near, axis=1) == pytest.approx(1, abs=1e-6)
