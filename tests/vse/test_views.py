"""Several views of a pair (ERNIE-ViL 2.0): the sum of losses, which views meet, and the coin between kinds of text."""

import dataclasses
import json

import numpy as np
import oracles
import pytest
import reference
import torch

from vse.batches import TrainingSet
from vse.configs import LossConfig, TextConfig, TrainConfig, ViewsConfig, VSEConfig
from vse.data.vocabulary import Vocabulary
from vse.features.store import Features
from vse.losses import MultiViewLoss, make_objective
from vse.model import VSE
from vse.runs.checkpoint import PARTS, load
from vse.runs.loop import Run
from vse.system import manifest
from vse.system.errors import InputError
from vse.train import train

OWNER = [0, 1, 2, 0, 3, 1, 0]
ALL = ViewsConfig(image_image=0.1, text_text=0.3, image_text=1.0, second_image_text=0.7)
CPU = torch.device("cpu")


def unit(rows, dim=5, seed=0):
    vectors = torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def objective(views, name="infonce", temperature=0.2):
    config = LossConfig(name=name, temperature=temperature)
    return MultiViewLoss(views, lambda: make_objective(config)).double()


def views_of_a_batch(owner=OWNER):
    """(images, texts, same_image), two of each, all different."""
    owner = torch.tensor(owner)
    rows = [unit(len(owner), seed=seed) for seed in range(4)]
    return rows[:2], rows[2:], owner[:, None] == owner[None, :]


@pytest.mark.parametrize("name", ["ranking", "hardest", "infonce"])
def test_the_first_photo_and_sentence_alone_are_the_plain_objective_to_the_bit(name):
    images, texts, same = views_of_a_batch()
    plain = make_objective(LossConfig(name=name, temperature=0.2)).double()(images[0], texts[0], same)
    assert torch.equal(objective(ViewsConfig(), name)(images, texts, same), plain)
    assert torch.equal(objective(ViewsConfig(), name)(images[:1], texts[:1], same), plain)


@pytest.mark.parametrize("negatives", ["other", "both"])
@pytest.mark.parametrize("owner", [OWNER, list(range(6))])
def test_the_sum_equals_the_loops(owner, negatives):
    images, texts, same = views_of_a_batch(owner)
    (i1, i2), (t1, t2) = ([rows.numpy() for rows in views] for views in (images, texts))
    within = reference.info_nce if negatives == "other" else reference.nt_xent
    expected = (
        0.1 * within(i1, i2, owner, 0.2) + 0.3 * within(t1, t2, owner, 0.2)
        + 1.0 * reference.info_nce(i1, t1, owner, 0.2) + 0.7 * reference.info_nce(i2, t2, owner, 0.2)
    )  # fmt: skip
    views = dataclasses.replace(ALL, negatives=negatives)
    assert objective(views)(images, texts, same).item() == pytest.approx(expected, rel=1e-6)


def test_each_pair_of_views_equals_the_outside_implementations():
    """Of photos that come once: theirs know no image that comes twice."""
    (i1, i2), _, same = views_of_a_batch(range(7))
    other = oracles.info_nce().InfoNCE(temperature=0.2)
    alone = ViewsConfig(image_image=1.0, image_text=0.0)
    expected = (other(i1, i2) + other(i2, i1)) / 2
    assert objective(alone)([i1, i2], [i1], same).item() == pytest.approx(expected.item(), rel=1e-6)
    theirs = oracles.metric_learning_losses().NTXentLoss(temperature=0.2)
    labels = torch.arange(7).repeat(2)
    ours = objective(dataclasses.replace(alone, negatives="both"))([i1, i2], [i1], same)
    assert ours.item() == pytest.approx(theirs(torch.cat([i1, i2]), labels).item(), rel=1e-6)


@pytest.mark.parametrize("negatives", ["other", "both"])
def test_gradients_equal_finite_differences(negatives):
    images, texts, same = views_of_a_batch()
    loss = objective(dataclasses.replace(ALL, negatives=negatives))
    rows = [row.requires_grad_() for row in (*images, *texts)]
    torch.autograd.gradcheck(lambda *rows: loss(rows[:2], rows[2:], same), rows)


def test_each_kind_of_pair_has_a_temperature_of_its_own_where_it_is_asked_for():
    images, texts, same = views_of_a_batch()
    one, own = (objective(dataclasses.replace(ALL, temperatures=kind)) for kind in ("one", "own"))
    assert [len(list(loss.parameters())) for loss in (one, own)] == [1, 3]
    assert torch.equal(one(images, texts, same), own(images, texts, same))
    own(images, texts, same).backward()
    gradients = [float(p.grad) for p in own.parameters()]
    one(images, texts, same).backward()
    assert sum(gradients) == pytest.approx(float(one.image_text.log_scale.grad)) and len(set(gradients)) == 3
    with torch.no_grad():
        for parameter in own.parameters():
            parameter += 100
    own.clamp_()
    assert all(parameter.exp().item() == pytest.approx(100) for parameter in own.parameters())


def test_sentences_without_a_photo_are_the_pair_that_they_are():
    _, texts, same = views_of_a_batch()
    plain = make_objective(LossConfig(name="infonce", temperature=0.2)).double()(*texts, same)
    for views in (ViewsConfig(), ALL):
        assert torch.equal(objective(views)((), texts, same), plain)


@pytest.mark.parametrize("owner", [[2, 2, 2], OWNER])
def test_what_is_alike_is_no_negative(owner):
    """A score between rows of one image changes nothing, in either form of the loss."""
    for negatives in ("other", "both"):
        images, texts, same = views_of_a_batch(owner)
        loss = objective(ViewsConfig(image_image=1.0, image_text=0.0, negatives=negatives))
        rows = [row.clone().requires_grad_() for row in images]
        value = loss(rows, texts, same)
        value.backward()
        assert torch.isfinite(value) and all(torch.isfinite(row.grad).all() for row in rows)
        if len(set(owner)) == 1:
            assert value.item() == pytest.approx(0, abs=1e-12)


# --- the views of a batch --------------------------------------------------------------------------------------------


def tags_of(images, kinds=4):
    return {image: (f"tag{i % kinds}",) for i, image in enumerate(images)}


@pytest.fixture
def six_views(features):
    array = np.concatenate([features.array + np.float16(i) for i in range(3)], 1)
    return Features(array, features.names)


def sentences(images, kinds=4):
    return [f"this picture contains tag{i % kinds}" for i in range(len(images))]


@pytest.fixture
def data(dataset, six_views):
    split = dataset.split("train")
    said = sentences(split.images)
    words = Vocabulary.from_captions((*split.captions, *said))
    return TrainingSet(split, six_views, words, CPU, said)


def test_two_crops_of_a_photo_are_never_the_same_stored_view_and_each_other_one_has_its_turn(data):
    met = set()
    for epoch in range(8):
        for batch in data.epoch(16, 0, epoch, views=ViewsConfig(image_image=1.0)):
            stored = data.features[batch.image_ids].float()
            numbers = [(stored == crops[:, None]).flatten(2).all(2).int().argmax(1).tolist() for crops in batch.images]
            met |= set(zip(*numbers, strict=True))
    assert met == {(a, b) for a in range(6) for b in range(6) if a != b}


def test_the_first_crop_and_caption_are_those_of_a_batch_of_one_view(data):
    for one, two in zip(data.epoch(16, 3, 1), data.epoch(16, 3, 1, views=ALL), strict=True):
        assert torch.equal(one.images[0], two.images[0]) and torch.equal(one.captions, two.captions)
        assert len(two.images) == len(two.texts) == 2 and torch.equal(two.texts[0].tokens, two.texts[1].tokens)


@pytest.mark.parametrize("coin", ["step", "pair"])
def test_the_coin_says_which_sentence_is_read(data, coin):
    views = ViewsConfig(tags=0.5, coin=coin)
    shares, tag = [], data.tokens.shape[0] - 36
    for epoch in range(30):
        for batch in data.epoch(12, 0, epoch, views=views):
            tagged = batch.tag_sentences >= 0
            rows = torch.where(tagged, tag + batch.image_ids, batch.captions)
            width = batch.texts[0].tokens.shape[1]
            assert torch.equal(batch.texts[0].tokens, data.tokens[rows, :width])
            assert torch.equal(batch.texts[0].lengths, data.lengths[rows])
            assert coin == "pair" or tagged.all() or not tagged.any()
            shares.append(tagged.float().mean().item())
            both = tagged[:, None] & tagged[None, :]
            same_tag = batch.image_ids[:, None] % 4 == batch.image_ids[None, :] % 4
            assert torch.equal(batch.alike, batch.same_image | (both & same_tag))
    assert 0.35 < np.mean(shares) < 0.65 and (np.std(shares) > 0.3) == (coin == "step")


def test_the_coin_is_of_seed_and_epoch_alone(data):
    views = ViewsConfig(tags=0.5, coin="pair")
    tosses = [data.coins(views, 8, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert tosses[0] == tosses[1] and len({tuple(toss) for toss in tosses}) == 3
    assert not data.coins(ViewsConfig(), 8, 0, 0).any() and data.coins(ViewsConfig(tags=1.0), 8, 0, 0).all()


# --- training --------------------------------------------------------------------------------------------------------

CONFIG = TrainConfig(
    model=VSEConfig(embed_dim=8, init_range=0.0, text=TextConfig(encoder="gru", word_dim=8, hidden=8, dropout=0.2)),
    loss=LossConfig(name="infonce", temperature=0.1), views=dataclasses.replace(ALL, tags=0.5, temperatures="own"),
    epochs=4, batch_size=16, optimizer="adam", learning_rate=0.02, precision="float32",
)  # fmt: skip


def losses_of(config, dataset, features, out, monkeypatch, **more):
    """The loss of each step of an epoch."""
    seen, step = [], Run.step

    def record(self, loss, *rest):
        seen.append(loss.detach().item())
        step(self, loss, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "step", record)
        train(config, dataset, features, out, device="cpu", stop_after=1, **more)
    return seen


def test_two_passes_differ_by_dropout_alone(dataset):
    for dropout in (0.0, 0.5):
        model = VSE(
            VSEConfig(embed_dim=8, text=TextConfig(encoder="gru", word_dim=8, hidden=8, dropout=dropout)),
            Vocabulary.from_captions(dataset.captions), 12,
        ).train()  # fmt: skip
        tokens, lengths = torch.tensor([[4, 5, 6]]), torch.tensor([3])
        first, second = (model.encode_text(tokens, lengths) for _ in range(2))
        assert torch.equal(first, second) == (dropout == 0)
        model.eval()
        assert torch.equal(model.encode_text(tokens, lengths), model.encode_text(tokens, lengths))


def test_text_pairs_of_an_epoch_are_those_of_two_identical_views_where_nothing_is_dropped(
    dataset, features, tmp_path, monkeypatch
):
    """The config refuses it; the training itself would give the loss of identical views."""
    text = dataclasses.replace(CONFIG.model.text, dropout=0.0)
    bare = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, text=text), views=ViewsConfig())
    object.__setattr__(bare, "views", ViewsConfig(text_text=1.0, image_text=0.0))
    seen = losses_of(bare, dataset, features, tmp_path / "run", monkeypatch)
    torch.manual_seed(0)
    split = dataset.split("train")
    words = Vocabulary.from_captions(split.captions)
    model = VSE(bare.model, words, 12)
    batch = next(TrainingSet(split, features, words, CPU).epoch(16, 0, 0))
    vectors = model.encode_text(*batch.texts[0])
    expected = make_objective(bare.loss)(vectors, vectors, batch.same_image)
    assert seen[0] == pytest.approx(expected.item(), rel=1e-5)


def test_a_killed_run_of_all_views_goes_on_to_the_bit(dataset, features, tmp_path):
    tags = tags_of(dataset.images)
    train(CONFIG, dataset, features, tmp_path / "whole", device="cpu", tags=tags)
    for epoch in (1, 3, None):
        more = {"stop_after": epoch} if epoch else {}
        train(CONFIG, dataset, features, tmp_path / "parts", device="cpu", tags=tags, resume=True, **more)
    a, b = (load(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert "tag3" in load(tmp_path / "whole").vocabulary


@pytest.mark.parametrize("chunk", [0, 5])
def test_all_views_are_learned_from(dataset, features, tmp_path, chunk):
    row = train(
        dataclasses.replace(CONFIG, epochs=24, chunk_size=chunk), dataset, features, tmp_path / "run", device="cpu",
        tags={image: image.removesuffix(".jpg").split("_") for image in dataset.images},
    )  # fmt: skip
    assert row.rsum >= 450


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (lambda: ViewsConfig(image_text=0.0), "all weights are 0"),
        (lambda: ViewsConfig(tags=1.5), r"views.tags = 1.5: expected a number in \[0, 1\]"),
        (lambda: TrainConfig(views=ALL), "two passes .* without dropout"),
        (lambda: TrainConfig(views=ViewsConfig(image_image=1.0, negatives="both")), "infonce"),
        (lambda: dataclasses.replace(CONFIG, loss=LossConfig(name="infonce", distill=0.5)), "distill.*views.tags"),
    ],
)
def test_settings_that_make_no_sense_are_said(settings, says):
    with pytest.raises(InputError, match=says) as error:
        settings()
    assert "\n" not in str(error.value)


def test_what_does_not_go_with_the_views_is_said_in_one_line(dataset, features, tmp_path):
    one = Features(features.array[:, :1], features.names)
    tags = tags_of(dataset.images)
    fewer = {image: tags[image] for image in dataset.images[:-20]}
    quiet = dataclasses.replace(CONFIG, views=ALL)
    for config, seen, given, says in (
        (CONFIG, one, tags, "two crops .* one view.*--views"), (CONFIG, features, None, "given no tags.*--tags"),
        (CONFIG, features, fewer, r"\.jpg: has no tags, as \d+ of 36 photos"),
        (quiet, features, tags, "views.tags = 0, given tags"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says) as error:
            train(config, dataset, seen, tmp_path / "run", device="cpu", tags=given)
        assert "\n" not in str(error.value)


def test_a_run_of_before_there_were_views_goes_on_and_one_with_views_is_another(dataset, features, tmp_path):
    """Its config.json lacks the setting, which then was its default."""
    plain, out = dataclasses.replace(CONFIG, views=ViewsConfig()), tmp_path / "run"
    train(plain, dataset, features, out, device="cpu")
    config = json.loads((out / "config.json").read_text())
    del config["train"]["views"]
    (out / "config.json").write_text(json.dumps(config))
    manifest.bind(out, PARTS)
    train(plain, dataset, features, out, device="cpu", resume=True)
    changed = dataclasses.replace(CONFIG, views=ALL)
    with pytest.raises(InputError, match=r"begun with --views\.image-image 0\.0, now it is 0\.1"):
        train(changed, dataset, features, out, device="cpu", resume=True)
