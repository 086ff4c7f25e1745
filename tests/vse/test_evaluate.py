"""vse.evaluate: a model and a split become the row that the metrics give; an ensemble is the mean of scores."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vse.data.vocabulary import Vocabulary
from vse.encoders.text import TextConfig
from vse.evaluate import HEADER, evaluate, row_of
from vse.features.store import Features
from vse.metrics import Cosines, Recall, bootstrap_rsum, i2t_ranks, t2i_ranks
from vse.model import VSE, VSEConfig
from vse.runs.log import RunLog
from vse.system.errors import InputError
from vse.system.files import parse_json


def make(dataset, seed, embed_dim=6, feature_dim=12):
    torch.manual_seed(seed)
    text = TextConfig(encoder="bow", word_dim=5)
    return VSE(VSEConfig(embed_dim=embed_dim, text=text), Vocabulary.from_captions(dataset.captions), feature_dim)


@pytest.fixture
def split(dataset):
    return dataset.split("train")


def by_hand(scores, split, row):
    i2t, t2i = i2t_ranks(scores, split.image_of_caption), t2i_ranks(scores, split.image_of_caption)
    assert row.i2t == Recall.of(i2t) and row.t2i == Recall.of(t2i)
    parts = (row.i2t.r1, row.i2t.r5, row.i2t.r10, row.t2i.r1, row.t2i.r5, row.t2i.r10)
    assert row.rsum == pytest.approx(sum(parts)) and row.rsum > 0
    assert row.interval == bootstrap_rsum(i2t, t2i, split.image_of_caption)
    assert (row.images, row.captions) == scores.shape


def test_the_row_of_one_model(split, features):
    model = make(split, 0)
    scores = model.encode_images(features.take(split.images)) @ model.encode_texts(split.captions).T
    by_hand(scores, split, evaluate([model], split, [features]))


def test_an_ensemble_is_the_mean_of_the_scores(split, features):
    """Also of models with other spaces and other features."""
    half = Features(features.array[..., :7], features.names)
    models, stores = [make(split, 0), make(split, 1, embed_dim=9, feature_dim=7)], [features, half]
    scores = [
        m.encode_images(f.take(split.images)) @ m.encode_texts(split.captions).T
        for m, f in zip(models, stores, strict=True)
    ]
    by_hand(np.mean(scores, axis=0), split, evaluate(models, split, stores))


def test_a_model_twice_is_the_model(split, features):
    model = make(split, 0)
    assert evaluate([model, model], split, [features] * 2) == evaluate([model], split, [features])


def test_perfect_embeddings_are_600(split):
    eye = np.eye(len(split.images), dtype=np.float32)
    row = row_of(Cosines(eye, eye[split.image_of_caption]), split)
    assert row.rsum == 600 and row.interval == (600, 600) and row.i2t.med_r == row.t2i.med_r == 1


def test_images_without_captions_compete_but_are_not_asked_for(split):
    kept = np.flatnonzero(split.image_of_caption != 3)
    fewer = replace(
        split,
        captions=tuple(split.captions[j] for j in kept),
        image_of_caption=split.image_of_caption[kept],
    )
    eye = np.eye(len(split.images), dtype=np.float32)
    row = row_of(Cosines(eye, eye[fewer.image_of_caption]), fewer)
    assert (row.rsum, row.interval, row.images) == (600, (600, 600), len(split.images))


def test_a_split_without_captions_is_a_users_mistake(split):
    bare = replace(split, captions=(), image_of_caption=np.zeros(0, np.int64))
    with pytest.raises(InputError, match="no captions"):
        row_of(Cosines(np.eye(3, dtype=np.float32), np.zeros((0, 3), np.float32)), bare)


def test_missing_features_are_named(split, features):
    with pytest.raises(InputError, match="missing"):
        evaluate([make(split, 0)], split, [Features(features.array[:5], features.names[:5])])


def test_a_row_prints_and_goes_into_json(split, features):
    row = evaluate([make(split, 0)], split, [features], bootstrap=50)
    assert len(row.cells()) == len(HEADER) - 1  # the first column is the row's name
    assert row.cells()[-1] == f"{row.rsum:.1f}" and row.cells()[3] == f"{row.i2t.med_r:.1f}"
    assert json.loads(json.dumps(row.as_dict()))["t2i"] == dataclasses.asdict(row.t2i)


def test_the_interval_is_left_out_when_not_asked_for(split, features):
    row = evaluate([make(split, 0)], split, [features], bootstrap=0)
    assert all(np.isnan(row.interval)) and row.as_dict()["interval"] is None
    assert json.loads(json.dumps(row.as_dict(), allow_nan=False))["rsum"] == row.rsum


def test_the_log_of_a_run_is_json(tmp_path):
    """Of every line, whatever was measured; a browser takes no NaN."""
    log, nan = RunLog(tmp_path), float("nan")
    for epoch in (1, 2, 2):  # the second is repeated after a kill
        log.epoch({"epoch": epoch, "loss": nan, "dev": {"rsum": float("inf"), "interval": (nan, nan)}})
    log.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    expected = {"loss": None, "dev": {"rsum": None, "interval": [None, None]}}
    assert [parse_json(line, "log") for line in lines] == [{"epoch": 1} | expected, {"epoch": 2} | expected]


def test_a_log_that_is_no_text_is_refused_in_one_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe{}\n")
    log = RunLog(tmp_path)
    with pytest.raises(InputError, match=r"metrics\.jsonl: not UTF-8"):
        log.epoch({"epoch": 2, "loss": 1.0, "dev": {}})
    log.close()
