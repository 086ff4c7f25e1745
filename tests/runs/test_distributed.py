"""vse.runs.distributed: several gloo processes make the steps that one process makes on the same batches."""

import pytest
import torch
from processes import train_in_ranks

from vse.configs import TrainConfig, ViewsConfig
from vse.encoders.image import ImageConfig
from vse.encoders.text import TextConfig
from vse.losses import LossConfig
from vse.model import VSEConfig
from vse.runs import distributed
from vse.runs.checkpoint import load_resume
from vse.system.errors import InputError
from vse.train import train


def config(loss, **changes):
    """72 training captions in batches of 7: unequal shares, and a last batch of 2, fewer than three ranks."""
    text = TextConfig(encoder="lstm", word_dim=5, hidden=5, bidirectional=True, length_groups=2)
    model = VSEConfig(embed_dim=6, init_range=0.0, text=text, image=ImageConfig(pooling="attention", heads=2))
    changes = {"model": model, "epochs": 3, "batch_size": 7, "learning_rate": 0.5, "precision": "float32"} | changes
    return TrainConfig(loss=loss, **changes)


CLIP = VSEConfig(
    embed_dim=6, init_range=0.0, image=ImageConfig(pooling="qkv", heads=2, width=8),
    text=TextConfig(encoder="transformer", tokens="bpe", merges=20, word_dim=8, hidden=8, layers=1, heads=2),
)  # fmt: skip


# Without two passes of a sentence: their dropout is each rank's own.
VIEWS = ViewsConfig(image_image=0.5, tags=0.5, coin="pair", negatives="both", temperatures="own")


@pytest.mark.parametrize(
    "ranks, settings",
    [
        (2, config(LossConfig(name="infonce", temperature=0.3), extra_pairs=3)),
        (3, config(LossConfig(num_contrastive=2), average=0.9, gradient_norm=0.3, extra_pairs=2)),
        (2, config(LossConfig(name="infonce", temperature=0.3), model=CLIP, chunk_size=2, learning_rate=0.1)),
        (2, config(LossConfig(name="infonce", temperature=0.3), by_photo=True)),
        (2, config(LossConfig(name="infonce", temperature=0.3), views=VIEWS)),
    ],
    ids=["two-infonce", "three-ranking", "two-clip-in-chunks", "two-by-photo", "two-views"],
)
def test_several_ranks_equal_one_process(dataset, features, tmp_path, ranks, settings):
    more = {"stop_after": 1, "extra_text": dataset if settings.extra_pairs else None}
    if settings.views.tags:
        more["tags"] = {image: [f"tag{i % 4}"] for i, image in enumerate(dataset.images)}
    train_in_ranks(tmp_path, ranks, (settings, dataset, features, tmp_path / "many"), more)
    train(settings, dataset, features, tmp_path / "one", device="cpu", **more)
    (many, counted), (one, expected) = load_resume(tmp_path / "many"), load_resume(tmp_path / "one")
    assert counted["epoch"] == expected["epoch"] == 1
    assert many.keys() == one.keys()
    assert ("objective/image_text.log_scale" in one) == (settings.loss.name == "infonce")
    for name, tensor in one.items():
        assert torch.allclose(many[name], tensor, atol=1e-5), name
    if settings.loss.name == "infonce":
        assert abs(one["objective/image_text.log_scale"].exp() - 1 / 0.3) > 0.02  # it has moved


def test_a_batch_must_have_two_pairs_a_rank(dataset, features, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "start", lambda device: distributed.Place(0, 4, torch.device("cpu")))
    with pytest.raises(InputError, match="7.*8 or more"):
        train(config(LossConfig()), dataset, features, tmp_path)


def test_one_process_does_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    place = distributed.start("cpu")
    assert place == distributed.Place(0, 1, torch.device("cpu"))
    rows = torch.randn(3, 4)
    assert distributed.gather_rows(rows, 3, place) is rows
    distributed.wait(1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_in_one_line():
    with pytest.raises(InputError, match="--device cuda: no CUDA device") as error:
        distributed.start("cuda")
    assert "\n" not in str(error.value)
    assert distributed.start("auto").device == torch.device("cpu")
