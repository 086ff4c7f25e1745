"""vse.tags: no photo's own captions make its tags, ImageNet's are the whole network's, and a file is read strictly."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_world import THINGS

from vse.features.build import extract_features
from vse.features.networks import load_cnn, published_lite
from vse.features.side_by_side import combine_features
from vse.features.store import open_features
from vse.features.weights import read_weights
from vse.system.errors import InputError
from vse.tags import imagenet, nouns
from vse.tags.imagenet import class_names, imagenet_tags
from vse.tags.nouns import FOLDS, fit, folds, mean_features, noun_tags
from vse.tags.sentences import read_tags, sentences_of, tag_sentence, write_tags

# --- nouns -----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def tagged_by_a_list(monkeypatch):
    """The things of the tiny world are its nouns, and so is what a test makes up."""
    monkeypatch.setattr(
        nouns, "tag_captions",
        lambda sentences, *_, **__: [tuple("NOUN" if w in (*THINGS, "secret") else "X" for w in s) for s in sentences],
    )  # fmt: skip


def renamed(dataset, photos, word):
    """The data set with every caption of these training photos a word that no other has."""
    names = {dataset.split("train").images[i] for i in photos}
    captions = tuple(
        word if dataset.images[i] in names else text
        for text, i in zip(dataset.captions, dataset.image_of_caption.tolist(), strict=True)
    )
    return dataclasses.replace(dataset, captions=captions)


def test_tags_are_what_is_in_the_photo(dataset, features):
    tags = noun_tags(dataset, features)
    assert tuple(tags) == dataset.images
    right = [image.removesuffix(".jpg").split("_")[1] in tags[image] for image in dataset.images]
    assert np.mean(right) > 0.7  # from photos of the other folds alone
    assert max(map(len, tags.values())) <= nouns.MOST and min(map(len, tags.values())) >= 1


@pytest.mark.parametrize("k", range(FOLDS))
def test_a_folds_own_captions_never_make_its_tags(dataset, features, k):
    """Not even by the list of nouns: the made-up word comes in enough of them to be one."""
    images = dataset.split("train").images
    held = np.flatnonzero(folds(len(images)) == k)
    before, after = noun_tags(dataset, features), noun_tags(renamed(dataset, held, "secret"), features)
    assert all(before[images[i]] == after[images[i]] for i in held)
    assert any("secret" in names for names in after.values()) and before != after  # other folds have seen it


def test_tags_of_dev_and_test_come_from_the_training_photos_alone(dataset, features):
    others = [i for i, split in enumerate(dataset.split_of_image) if split != "train"]
    captions = tuple(
        "secret" if i in others else text
        for text, i in zip(dataset.captions, dataset.image_of_caption.tolist(), strict=True)
    )
    changed = noun_tags(dataclasses.replace(dataset, captions=captions), features)
    assert changed == noun_tags(dataset, features)
    alone = noun_tags(dataset.split("train"), features)
    assert all(alone[image] == changed[image] for image in alone)  # what `vse train` needs is the same


def test_folds_are_equal_and_everyone_is_in_one():
    sizes = np.bincount(folds(36))
    assert sizes.tolist() == [8, 7, 7, 7, 7] and folds(36, 1).tolist() != folds(36).tolist()


def test_a_score_is_the_share_of_captions_that_name_the_noun(dataset, features):
    """The regression solves its normal equations, and its mean is right by construction."""
    train = dataset.split("train")
    x = mean_features(features, train.images)
    tagger = fit(train, nouns.nouns_of(train), x, np.arange(len(x)))
    y = np.zeros((len(x), len(tagger.nouns)))
    for i, text in zip(train.image_of_caption.tolist(), train.captions, strict=True):
        y[i] += [noun in text.split() for noun in tagger.nouns]
    y /= np.bincount(train.image_of_caption)[:, None]
    centered = x - x.mean(0)
    gradient = centered.T @ (centered @ tagger.weights - (y - y.mean(0)))
    penalty = nouns.PENALTY * np.trace(centered.T @ centered) / x.shape[1]
    assert gradient == pytest.approx(-penalty * tagger.weights, abs=1e-8)
    assert tagger.shares(x).mean(0) == pytest.approx(y.mean(0))


def test_captions_without_a_noun_that_comes_often_are_said(dataset, features):
    bare = dataclasses.replace(dataset, captions=("red",) * len(dataset.captions))
    with pytest.raises(InputError, match="no noun.*--tags"):
        noun_tags(bare, features)


# --- the classes of ImageNet -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twenty pictures of discs and stripes."""
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    y, x = np.mgrid[0:90, 0:120]
    for i in range(20):
        stripes = (np.sin((x * draw.integers(1, 9) + y * draw.integers(1, 9)) / 9) > 0)[..., None]
        disc = ((x - 60) ** 2 + (y - 45) ** 2 < draw.integers(200, 2000))[..., None]
        pixels = np.where(disc, draw.integers(256, size=3), np.where(stripes, draw.integers(256, size=3), 90))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def extracted(photos, tmp_path_factory):
    """Features of Lite2 in 3 x 3 regions, mirrored first, beside those of Lite0."""
    out, names = tmp_path_factory.mktemp("features"), [path.name for path in photos]
    for encoder in ("efficientnet-lite0", "efficientnet-lite2"):
        extract_features(
            photos, names, encoder, out / encoder, views=("full-flip", "full"), grid=3, precision="float32"
        )
    return combine_features([open_features(out / name) for name in ("efficientnet-lite0", "efficientnet-lite2")])


def test_the_classes_are_those_of_the_whole_network(photos, extracted):
    cnn = load_cnn("efficientnet-lite2")
    network = cnn.net.trunk  # the head is loaded apart: features need none
    network.load_state_dict(read_weights(published_lite("efficientnet-lite2")))
    network.eval()
    size = cnn.preprocessing.size
    tags = imagenet_tags(extracted, [path.name for path in photos])
    seen = set()
    for path in photos:
        pixels = np.asarray(Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            probability = network((x - 127) / 128).softmax(1)[0]
        order = probability.argsort(descending=True)[: imagenet.MOST].tolist()
        clear = [c for c in order if abs(probability[c] - imagenet.LEAST) > 1e-3]
        assert tags[path.name][0] == class_names()[order[0]]
        expected = {class_names()[c] for c in clear if probability[c] > imagenet.LEAST}
        unclear = {class_names()[c] for c in order if c not in clear}
        assert expected <= set(tags[path.name]) and set(tags[path.name]) - expected - unclear <= {
            class_names()[order[0]]
        }
        seen.add(tags[path.name])
    assert len(seen) > 5


def test_there_are_a_thousand_readable_names():
    assert len(class_names()) == 1000 and class_names()[207] == "golden retriever"


def test_features_of_another_cnn_have_no_classes(features):
    with pytest.raises(InputError, match="a user matrix: expected efficientnet-lite2"):
        imagenet_tags(features, features.names[:1])


# --- sentences and files ---------------------------------------------------------------------------------------------


def test_a_file_comes_back_as_it_was_written(tmp_path):
    tags = {"a.jpg": ("golden retriever", "ball"), "b c.jpg": ("château",)}
    write_tags(tmp_path / "new" / "tags.txt", tags)
    assert read_tags(tmp_path / "new" / "tags.txt", tags) == tags
    assert sentences_of(tags, ["b c.jpg", "a.jpg"]) == [tag_sentence(tags[name]) for name in ("b c.jpg", "a.jpg")]
    assert tag_sentence(("dog", "ball")) == "this picture contains dog, ball"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.jpg dog\n", "line 1: 'a.jpg dog': expected NAME<tab>tag"),
        ("a.jpg\tdog\n\nz.jpg\tcat\n", "line 3: 'z.jpg' is no photo"),
        ("a.jpg\tdog\na.jpg\tcat\n", "line 2: a.jpg comes twice"),
        ("a.jpg\t , \n", "line 1: a.jpg has no tags"),
        ("a.jpg\tdog, !!\n", "'!!' has no word"),
        ("\n", "empty"),
        (None, "no such file"),
    ],
)
def test_a_file_that_is_none_is_said_in_one_line(tmp_path, text, says):
    path = tmp_path / "tags.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as error:
        read_tags(path, ["a.jpg", "b.jpg"])
    assert says in str(error.value) and "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_photo_without_tags_is_named():
    with pytest.raises(InputError, match=r"b\.jpg: has no tags, as 1 of 2 photos"):
        sentences_of({"a.jpg": ("dog",)}, ["a.jpg", "b.jpg"])
