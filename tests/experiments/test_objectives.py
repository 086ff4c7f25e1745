"""What the table of objectives says a training costs is what its products cost, whatever kernels compute them."""

import dataclasses

import pytest

from experiments.objectives import operations
from experiments.rows import EXPERIMENTS, OBJECTIVES
from experiments.trained import Scorer
from vse.configs import ImageConfig, TextConfig, TrainConfig, VSEConfig
from vse.data.vocabulary import Vocabulary
from vse.model import VSE


@pytest.mark.parametrize(("encoder", "squares"), [("lstm", 8), ("gru", 6), ("transformer", 14)])
def test_operations_are_six_times_weights_times_the_padded_words(dataset, features, encoder, squares):
    """`squares`: weights that every word meets, in squares of the width; of the last block keys and values alone."""
    text = TextConfig(encoder=encoder, word_dim=64, hidden=64, layers=2, heads=2)
    config = TrainConfig(VSEConfig(embed_dim=8, text=text), epochs=3, batch_size=1000)
    vocabulary = Vocabulary.from_captions(dataset.captions)
    model = VSE(config.model, vocabulary, features.array.shape[3])
    lengths = [len(ids) for ids in vocabulary.encode_all(dataset.split("train").captions)]
    longest, more = max(lengths), 0
    if encoder == "transformer":
        longest, more = longest + 2, 10  # start and end; the rest of the last block, at the end alone
    expected = 6 * 3 * len(lengths) * (longest * squares + more) * 64**2 / 1e12
    counted = operations(Scorer([model], [features], 0), config, dataset)
    assert expected * 0.8 < counted < expected * 1.2


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
