"""Training from pixels: the same bits with any number of workers, resumed, in two processes; bad photos in one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import call, draw, refused, works  # noqa: E402
from processes import train_in_ranks  # noqa: E402

from vse.configs import ImageConfig, PixelConfig, TrainConfig, ViewsConfig, VSEConfig  # noqa: E402
from vse.data.datasets import read_dataset  # noqa: E402
from vse.data.photos import BadPhoto  # noqa: E402
from vse.data.vocabulary import Vocabulary  # noqa: E402
from vse.encoders.text import TextConfig  # noqa: E402
from vse.evaluate import evaluate  # noqa: E402
from vse.features.pictures import PhotoFiles, read_pictures, training_picture, whole_picture  # noqa: E402
from vse.losses import LossConfig  # noqa: E402
from vse.pixel_batches import PixelSet  # noqa: E402
from vse.runs.checkpoint import load, load_resume  # noqa: E402
from vse.system.errors import InputError  # noqa: E402
from vse.train import train  # noqa: E402

TWO_CROPS = ViewsConfig(image_image=1.0)

pytest_plugins = ["coloured_shapes"]
PIXELS = PixelConfig(tower="vit", size=16, width=16, layers=1, patch=8, crop=0.8, jitter=0.1)
CONFIG = TrainConfig(
    model=VSEConfig(embed_dim=8, init_range=0.0, pixels=PIXELS, text=TextConfig(encoder="bow", word_dim=8)),
    loss=LossConfig(name="infonce"), epochs=3, batch_size=16, optimizer="adam", learning_rate=0.01,
)  # fmt: skip


@pytest.fixture
def shapes(world):
    dataset = read_dataset(world.csv)
    return dataset, PhotoFiles.of(dataset)


def pixel_set(dataset, workers=0, config=PIXELS):
    split = dataset.split("train")
    return PixelSet(split, config, Vocabulary.from_captions(split.captions), torch.device("cpu"), workers)


def test_crops_are_a_function_of_the_seed():
    photo = draw("red", "bar")
    first, again, other = (training_picture(photo, PIXELS, seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.shape == (16, 16, 3) and first.dtype == np.uint8
    before = torch.get_rng_state()
    training_picture(photo, PIXELS, 7)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_augmentation_a_training_picture_is_the_whole_square():
    photo = draw("red", "bar").resize((64, 64))
    plain = training_picture(photo, replace(PIXELS, crop=1.0, flip=False, jitter=0.0), 3).astype(int)
    assert np.abs(plain - whole_picture(photo, 16)).max() <= 2


def test_a_whole_picture_is_the_middle_square():
    photo = draw("red", "bar").resize((40, 40))
    wide = photo.copy().resize((80, 40))
    wide.paste((0, 0, 0), (0, 0, 80, 40))
    wide.paste(photo, (20, 0))
    inside = slice(2, -2)  # the cubic kernel looks over the edge where there is something
    assert np.array_equal(whole_picture(wide, 16)[:, inside], whole_picture(photo, 16)[:, inside])


def test_workers_change_no_bit(shapes):
    dataset, _ = shapes
    none, two = (list(pixel_set(dataset, workers).epoch(16, 1, 2)) for workers in (0, 2))
    assert len(none) == len(two) > 1
    for a, b in zip(none, two, strict=True):
        assert torch.equal(a.images[0], b.images[0]) and torch.equal(a.captions, b.captions)
        assert torch.equal(a.texts[0].tokens, b.texts[0].tokens) and a.images[0].dtype == torch.uint8
    assert sorted(int(c) for batch in none for c in batch.captions) == list(range(len(pixel_set(dataset))))
    other = next(iter(pixel_set(dataset).epoch(16, 1, 3)))
    assert not torch.equal(other.images[0], none[0].images[0])


def test_ranks_share_a_batch_and_two_crops_differ(shapes):
    dataset, _ = shapes
    data = pixel_set(dataset)
    whole = list(data.epoch(16, 0, 0, views=TWO_CROPS))
    shares = [list(data.epoch(16, 0, 0, rank, 2, views=TWO_CROPS)) for rank in (0, 1)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for crop in range(2):
            for rank, part in enumerate(parts):
                assert torch.equal(part.images[crop], batch.images[crop][rank::2])
                assert torch.equal(part.captions, batch.captions)
        assert not torch.equal(*batch.images)


@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_it_learns_colours_from_pixels(shapes, tmp_path, tower):
    """Chance on 5 dev photos is an rsum of about 400."""
    dataset, photos = shapes
    pixels = replace(PIXELS, tower=tower, size=32, width=16, crop=0.8)
    config = replace(CONFIG, model=replace(CONFIG.model, pixels=pixels), epochs=15)
    row = train(config, dataset, photos, tmp_path / "run", device="cpu")
    log = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert log[-1] < 0.6 * log[0] and row.rsum > 450
    assert evaluate([load(tmp_path / "run")], dataset.split("dev"), [photos]).rsum == row.rsum


def test_the_mean_of_the_weights_has_the_statistics_of_batch_norms(shapes, tmp_path):
    dataset, photos = shapes
    model = replace(CONFIG.model, pixels=replace(PIXELS, tower="resnet", size=32, width=16))
    train(replace(CONFIG, model=model, average=0.9), dataset, photos, tmp_path, device="cpu", stop_after=1)
    kept, _ = load_resume(tmp_path)
    statistics = [name.removeprefix("mean/") for name in kept if name.startswith("mean/") and "running_" in name]
    assert statistics and all(torch.equal(kept[f"mean/{name}"], kept[f"model/{name}"]) for name in statistics)


def test_resuming_equals_not_stopping_with_any_workers(shapes, tmp_path):
    dataset, photos = shapes
    config = replace(CONFIG, epochs=4, average=0.9)
    train(config, dataset, photos, tmp_path / "whole", device="cpu", stop_after=3)
    for epoch, workers in ((1, 2), (2, 0), (3, 1)):
        train(config, dataset, photos, tmp_path / "parts", device="cpu", stop_after=epoch, resume=True, workers=workers)
    (a, _), (b, _) = (load_resume(tmp_path / name) for name in ("whole", "parts"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_two_processes_equal_one(shapes, tmp_path):
    dataset, photos = shapes
    config = replace(CONFIG, batch_size=7, precision="float32", optimizer="sgd", learning_rate=0.5)
    train_in_ranks(tmp_path, 2, (config, dataset, photos, tmp_path / "two"), {"stop_after": 1})
    train(config, dataset, photos, tmp_path / "one", device="cpu", stop_after=1)
    (two, _), (one, _) = (load_resume(tmp_path / name) for name in ("two", "one"))
    assert two.keys() == one.keys() and all(torch.allclose(two[name], one[name], atol=1e-5) for name in one)


def test_a_photo_that_breaks_in_the_middle_is_named_and_the_run_goes_on(shapes, tmp_path, monkeypatch):
    dataset, photos = shapes
    train(CONFIG, dataset, photos, tmp_path / "run", device="cpu", stop_after=1)

    def broken(path, shortest=None):
        raise BadPhoto(path, "damaged")

    with monkeypatch.context() as patch:
        patch.setattr("vse.pixel_batches.read_photo", broken)
        for workers in (0, 1):
            with pytest.raises(InputError, match=r"\.png: damaged; mend or remove the photo.*--resume"):
                train(CONFIG, dataset, photos, tmp_path / "run", device="cpu", resume=True, workers=workers)
    train(CONFIG, dataset, photos, tmp_path / "run", device="cpu", resume=True)
    train(CONFIG, dataset, photos, tmp_path / "whole", device="cpu")
    a, b = (load(tmp_path / name).state_dict() for name in ("run", "whole"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_what_a_pixel_model_encodes(shapes, tmp_path):
    dataset, photos = shapes
    train(replace(CONFIG, epochs=1), dataset, photos, tmp_path / "run", device="cpu")
    model, names = load(tmp_path / "run"), dataset.images[:5]
    vectors = model.encode_images(photos.take(names))
    pictures = read_pictures(photos.take(names), 16)
    assert np.array_equal(model.encode_images(pictures), vectors) and model.from_pixels
    with pytest.raises(InputError, match="the model sees pixels"):
        model.encode_images(np.zeros((2, 12), np.float32))


def test_features_and_pixels_are_not_mixed_up(shapes, features, dataset, tmp_path):
    with pytest.raises(InputError, match="expected the files of photos"):
        train(CONFIG, dataset, features, tmp_path / "a", device="cpu")
    plain = replace(CONFIG, model=replace(CONFIG.model, pixels=PixelConfig(), image=ImageConfig()))
    with pytest.raises(InputError, match="expected features of a CNN"):
        train(plain, *shapes, tmp_path / "b", device="cpu")
    assert not (tmp_path / "a").exists() or not list((tmp_path / "a").glob("*.safetensors"))


def test_the_command_line(world, tmp_path):
    run = tmp_path / "run"
    tower = ("--model.pixels.tower", "vit", "--model.pixels.size", 16, "--model.pixels.width", 16,
             "--model.pixels.layers", 1, "--model.pixels.stages", 1, 1, 1, 1)  # fmt: skip
    small = ("--recipe", "clip", "--model.text.hidden", 16, "--model.text.heads", 2, "--model.text.merges", 40,
             "--batch-size", 16, "--epochs", 2, "--device", "cpu", "--workers", 1)  # fmt: skip
    command = ("train", world.csv, "--out", run, *tower, *small)
    refused(*command, "--features", world.matrix, says=("--features", "learns from pixels"), keeps=tmp_path)
    said = works(*command)
    assert f"next: vse evaluate {run} {world.csv}\n" in said
    row = tmp_path / "row.json"
    works("evaluate", run, world.csv, "--json", row)
    assert json.loads(row.read_text())["images"] == 5
    refused("evaluate", run, world.csv, "--features", world.matrix, says=("learned from pixels",))
    works("hubs", run, world.csv)
    works("page", run, world.csv, "--out", tmp_path / "page.html", "--queries", 2)
    assert call("search", run, "a red bar", "--images", world.photos, "--cache", tmp_path / "cache").status == 0
    assert "red" in works("classify", run, world.photos / world.names[0], "--labels", "red,blue")
