"""Checkpoints of open_clip, by a tiny architecture with random weights: rows, features, and files that are refused."""

import json

import numpy as np
import oracles
import pytest
import torch
from safetensors.torch import save_file

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import TINY, call, refused, works  # noqa: E402

from vse.clip_checkpoint import ClipCheckpoint, evaluate_checkpoint  # noqa: E402
from vse.data.datasets import read_dataset  # noqa: E402
from vse.evaluate import Recall  # noqa: E402
from vse.features.clip_models import load_clip  # noqa: E402
from vse.features.networks import load_cnn  # noqa: E402
from vse.metrics import i2t_ranks, t2i_ranks  # noqa: E402
from vse.system.errors import InputError  # noqa: E402

pytest_plugins = ["coloured_shapes"]
TOWERS = {
    "vit": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """open_clip, which knows tiny-vit and tiny-resnet."""
    open_clip = oracles.open_clip()
    folder = tmp_path_factory.mktemp("configs")
    for name, tower in TOWERS.items():
        text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
        config = {"embed_dim": 16, "vision_cfg": tower, "text_cfg": text}
        (folder / f"tiny-{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    return open_clip


@pytest.fixture(scope="module")
def weights(clip, tmp_path_factory):
    """A checkpoint of tiny-vit as training code writes it."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.manual_seed(0)
    state = load_clip("tiny-vit", "random").state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    return path


def test_the_row_is_that_of_open_clips_own_vectors(world, clip, weights):
    """With every caption a query of its own: five captions a photo are five queries."""
    from PIL import Image

    split = read_dataset(world.csv).split("train")
    model = clip.create_model("tiny-vit", pretrained=None, load_weights=False)
    clip.load_checkpoint(model, str(weights))
    model.eval()
    prepare = clip.image_transform(32, is_train=False)
    photos = torch.stack([prepare(Image.open(world.photos / name)) for name in split.images])
    with torch.no_grad():
        images = torch.nn.functional.normalize(model.encode_image(photos), dim=1)
        captions = torch.nn.functional.normalize(
            model.encode_text(clip.get_tokenizer("tiny-vit")(list(split.captions))), dim=1
        )
    scores = (images @ captions.T).numpy()
    row = evaluate_checkpoint(ClipCheckpoint(weights, "tiny-vit"), split, bootstrap=0)
    owner = split.image_of_caption
    assert (row.i2t, row.t2i) == (
        Recall.of(i2t_ranks(scores, owner, tie=1e-6)),
        Recall.of(t2i_ranks(scores, owner, 1e-6)),
    )
    assert row.captions == len(split.captions) > row.images


def test_the_command_line(world, weights, tmp_path):
    asked = ("evaluate", world.csv, "--checkpoint", weights, "--architecture", "tiny-vit")
    said = call(*asked, "--json", tmp_path / "row.json")
    row = json.loads((tmp_path / "row.json").read_text())
    assert said.status == 0 and "csv:shapes test" in said.out and row["checkpoint"] == "tiny.pt" and row["images"] == 5
    for change, says in (
        (asked[:4], "go together"), (("evaluate", *asked[2:]), "expected DATA alone"),
        (("evaluate", tmp_path, *asked[1:]), "expected DATA alone"), ((*asked, "--hubs"), "leave them out"),
        ((*asked[:-1], "tiny-resnet"), "not the weights of tiny-resnet"), ((*asked[:-1], "tiny-vti"), "tiny-vit"),
    ):  # fmt: skip
        refused(*change, says=(says,))


@pytest.mark.parametrize("tower", TOWERS)
def test_features_of_open_clip_feed_a_training_and_a_search(world, clip, tmp_path, tower):
    torch.manual_seed(1)
    path = tmp_path / "weights.safetensors"
    save_file({name: t.contiguous() for name, t in load_clip(f"tiny-{tower}", "random").state_dict().items()}, path)
    command = (
        "features",
        world.csv,
        "--encoder",
        f"open_clip:tiny-{tower}",
        "--weights",
        path,
        "--out",
        tmp_path / "f",
    )
    assert call(*command).status == 0
    works("train", world.csv, "--features", tmp_path / "f", "--out", tmp_path / "run", *TINY)
    asked = ("search", tmp_path / "run", "a red bar", "--images", world.photos, "--cache", tmp_path / "cache")
    refused(*asked, says=("pass it with --cnn",))
    assert call(*asked, "--cnn", path).status == 0


@pytest.mark.parametrize("tower", TOWERS)
def test_the_feature_is_the_image_towers_point_and_the_map_its_last(clip, tower, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(load_clip(f"tiny-{tower}", "random").state_dict(), path)
    cnn, visual = load_cnn(f"open_clip:tiny-{tower}", path), load_clip(f"tiny-{tower}", path).visual
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(cnn.net.vector(x), visual(x), atol=1e-6)
        side = 2 if tower == "vit" else 1
        assert cnn.net.map(x).shape == (2, cnn.map_dim, side, side) and cnn.map_size == side
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    assert np.isfinite(cnn.frozen(1)(pixels)).all() and cnn.feature_dim == 16


class Code:
    """What a pickle may hold beside tensors."""


def test_files_that_are_no_checkpoint(clip, weights, tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(2)}, "args": Code()}, tmp_path / "code.pt")
    (tmp_path / "cut.pt").write_bytes(weights.read_bytes()[:-50])
    state = load_clip("tiny-vit", weights).state_dict()
    save_file({n: t.contiguous() for n, t in state.items() if "ln_final" not in n}, tmp_path / "few.safetensors")
    nan = {n: t.clone() for n, t in state.items()}
    nan["visual.proj"][0, 0] = torch.nan
    save_file(nan, tmp_path / "nan.safetensors")
    for name, says in (
        ("code.pt", "holds more than tensors"), ("cut.pt", "not a file of weights"), ("none.pt", "no such file"),
        ("few.safetensors", "the first is ln_final"), ("nan.safetensors", "NaN"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says) as caught:
            ClipCheckpoint(tmp_path / name, "tiny-vit")
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="pass a checkpoint"):
        load_cnn("open_clip:tiny-vit")
    with pytest.raises(InputError, match="from a hub"):
        load_clip("roberta-ViT-B-32", "random")
