"""What the table of objectives says a training costs is what its products cost, whatever kernels compute them."""

import dataclasses

import pytest

from experiments.objectives import operations
from experiments.rows import EXPERIMENTS, OBJECTIVES
from experiments.trained import Scorer
from vse.configs import ImageConfig, TextConfig, TrainConfig, VSEConfig
from vse.data.vocabulary import Vocabulary
from vse.model import VSE


@pytest.mark.parametrize(("encoder", "hidden", "times"), [("lstm", 64, 4), ("gru", 64, 3), ("transformer", 128, 12)])
def test_operations_are_six_times_weights_times_the_padded_words(dataset, features, encoder, hidden, times):
    text = TextConfig(encoder=encoder, word_dim=hidden, hidden=hidden, layers=1, heads=2)
    config = TrainConfig(VSEConfig(embed_dim=8, text=text), epochs=3, batch_size=1000)
    vocabulary = Vocabulary.from_captions(dataset.captions)
    model = VSE(config.model, vocabulary, features.array.shape[3])
    train = dataset.split("train")
    lengths = [len(ids) for ids in vocabulary.encode_all(train.captions)]
    longest = max(lengths) + 2 * (encoder == "transformer")  # its start and end
    inputs = {"lstm": 2, "gru": 2, "transformer": 1}[encoder]  # of what the weights of a word multiply
    expected = 6 * 3 * len(lengths) * longest * times * inputs * hidden**2 / 1e12
    counted = operations(Scorer([model], [features], 0), dataclasses.replace(config), dataset)
    assert expected * 0.8 < counted < expected * 1.3


def test_photos_that_come_once_a_batch_are_counted_once(dataset, features):
    image = ImageConfig(hidden=2048)
    config = TrainConfig(VSEConfig(embed_dim=8, image=image, text=TextConfig(encoder="bow", word_dim=8)), batch_size=30)
    model = VSE(config.model, Vocabulary.from_captions(dataset.captions), features.array.shape[3])
    scorer = Scorer([model], [features], 0)
    alone = operations(scorer, config, dataset)
    together = operations(scorer, dataclasses.replace(config, by_photo=True), dataset)
    train = dataset.split("train")
    assert together / alone == pytest.approx(len(train.images) / len(train.captions), rel=0.2)


def test_every_row_of_the_table_reads_test_and_stands_alone():
    assert all(EXPERIMENTS[name].test and not EXPERIMENTS[name].members for name in OBJECTIVES)
