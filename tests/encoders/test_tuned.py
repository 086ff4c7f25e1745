"""CNNs cut and tuned: below and above together are the CNN, the start is the frozen row, and only the top moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import call, refused, works  # noqa: E402

from vse.configs import ImageConfig, TrainConfig, VSEConfig  # noqa: E402
from vse.data.datasets import read_dataset  # noqa: E402
from vse.encoders.text import TextConfig  # noqa: E402
from vse.encoders.tuned import TunedEncoder, crops_of  # noqa: E402
from vse.features.cut import Above, Below, cut_of, make_above  # noqa: E402
from vse.features.networks import load_cnn  # noqa: E402
from vse.features.side_by_side import open_combined  # noqa: E402
from vse.losses import LossConfig  # noqa: E402
from vse.runs.checkpoint import load, load_resume  # noqa: E402
from vse.runs.started import start_from  # noqa: E402
from vse.system.errors import InputError  # noqa: E402
from vse.train import train  # noqa: E402

pytest_plugins = ["coloured_shapes"]
CUT = "efficientnet-lite0@14"
CONFIG = TrainConfig(
    model=VSEConfig(
        embed_dim=8, init_range=0.0, image=ImageConfig(tune=True, pooling="attention", heads=2, grid=2, dropout=0.1),
        text=TextConfig(encoder="bow", word_dim=8),
    ),
    loss=LossConfig(name="infonce"), epochs=2, batch_size=16, optimizer="adamw", learning_rate=0.01, cnn_rate=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def cnn():
    cnn = load_cnn("efficientnet-lite0")
    cnn.net.eval()
    return cnn


@pytest.fixture(scope="module")
def small(world, tmp_path_factory):
    """(data, features of two cut CNNs, those of the whole CNNs at grid 2) of the world's photos."""
    folder = tmp_path_factory.mktemp("cut")
    for name in ("efficientnet-lite0", "efficientnet-lite1"):
        block = 14 if name.endswith("0") else 19
        assert call("features", world.csv, "--encoder", f"{name}@{block}", "--out", folder / f"{name}-cut").status == 0
        assert call("features", world.csv, "--encoder", name, "--grid", 2, "--out", folder / name).status == 0
    names = ("efficientnet-lite0", "efficientnet-lite1")
    dataset = read_dataset(world.csv)
    return dataset, *(open_combined([folder / f"{n}{end}" for n in names]) for end in ("-cut", ""))


@pytest.mark.parametrize("block", [12, 14, 15])
def test_below_and_above_are_the_cnn(cnn, block):
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        whole = cnn.net.map(x)
        flat = Below(cnn.net.trunk, block).vector(x)
        above = Above(cnn.net.trunk, block).eval()
        assert torch.equal(above(above.maps(flat)), whole)


def test_the_last_block_may_be_the_cut(cnn):
    with torch.no_grad():
        x = torch.randn(1, 3, 224, 224)
        above = Above(cnn.net.trunk, 15).eval()
        assert torch.equal(above(above.maps(Below(cnn.net.trunk, 15).vector(x))), cnn.net.map(x))


def test_a_fresh_tuned_encoder_sees_what_the_frozen_one_sees(small):
    """But for the rounding of the maps to 16 bits, and the scales, which are measured on other photos."""
    dataset, cut, frozen = small
    names = list(dataset.images[:6])
    encoder = TunedEncoder(CONFIG.model.image, cut.info, 8).eval()
    encoder.load_published()
    features = torch.from_numpy(np.array(cut.take(names))[:, 0]).float()
    encoder.calibrate(features)
    with torch.no_grad():
        ours = torch.cat(encoder._regions(features), 2).numpy()
    theirs = np.array(frozen.take(names))[:, 0].astype(np.float32)
    assert ours.shape == theirs.shape
    for part in (slice(0, 1280), slice(1280, None)):
        a, b = ours[..., part], theirs[..., part]
        assert (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()) > 0.9999
        assert np.linalg.norm(a.mean(1), axis=1).mean() == pytest.approx(1, abs=0.02)


def test_it_starts_from_the_run_of_frozen_features(small, tmp_path):
    """Then it sees what that run sees, but for the rounding of the maps and the scales, see above."""
    dataset, cut, frozen = small
    still = replace(CONFIG.model, image=replace(CONFIG.model.image, tune=False))
    train(replace(CONFIG, model=still, epochs=1), dataset, frozen, tmp_path / "frozen", device="cpu")
    start = load(tmp_path / "frozen")
    train(replace(CONFIG, learning_rate=1e-9, epochs=1), dataset, cut, tmp_path / "tuned", device="cpu", start=start)
    names = list(dataset.images)
    a, b = start.encode_images(frozen.take(names)), load(tmp_path / "tuned").encode_images(cut.take(names))
    assert (a * b).sum(1).min() > 0.999
    with pytest.raises(InputError, match="image_encoder"):  # frozen from tuned: the other way is none
        start_from(start, load(tmp_path / "tuned"))


def test_the_batch_norms_keep_their_statistics():
    above = make_above(CUT)
    before = {name: buffer.clone() for name, buffer in above.named_buffers()}
    above.train()
    above(torch.randn(4, 192, 7, 7))
    assert all(torch.equal(before[name], buffer) for name, buffer in above.named_buffers())


def test_training_moves_the_top_slowly_and_resumes(small, tmp_path):
    dataset, cut, _ = small
    train(CONFIG, dataset, cut, tmp_path / "whole", device="cpu", stop_after=1)
    (state, _) = load_resume(tmp_path / "whole")
    fresh = TunedEncoder(CONFIG.model.image, cut.info, 8)
    fresh.load_published()
    published = {n: v for n, v in fresh.state_dict().items() if n.startswith("above") and "num_batches" not in n}
    moved = {n: float((state[f"model/image_encoder.{n}"] - v).abs().max()) for n, v in published.items()}
    assert all((distance > 0) == ("running" not in name) for name, distance in moved.items())
    assert max(moved.values()) < 0.01  # at a tenth of the rate
    train(CONFIG, dataset, cut, tmp_path / "parts", device="cpu", stop_after=1)
    for name in ("whole", "parts"):
        train(CONFIG, dataset, cut, tmp_path / name, device="cpu", resume=True)
    a, b = (load(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_crops_are_squares_of_the_maps():
    maps = torch.randn(5, 3, 9, 9)
    places = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.0], [0.99, 0.3], [0.26, 0.74]])
    corners = [(0, 0), (4, 4), (2, 0), (4, 1), (1, 3)]  # of 5 places a direction
    crops = crops_of(maps, 0.55, places)
    for crop, whole, (row, column) in zip(crops, maps, corners, strict=True):
        assert torch.equal(crop, whole[:, row : row + 5, column : column + 5])
    assert torch.equal(crops_of(maps, 1.0, places), maps)


def test_training_sees_crops_and_evaluation_does_not(small):
    _, cut, _ = small
    config = replace(CONFIG.model.image, dropout=0.0, crop=0.5)
    encoder, whole = (TunedEncoder(c, cut.info, 8) for c in (config, replace(config, crop=1.0)))
    for one in (encoder, whole):
        one.load_published()
    whole.encoder.load_state_dict(encoder.encoder.state_dict())
    features = torch.from_numpy(np.array(cut.take(list(cut.names[:6])))[:, 0]).float()
    torch.manual_seed(0)
    with torch.no_grad():
        seen = [encoder.train()(features) for _ in range(3)]
        assert all(not torch.allclose(a, b) for a, b in zip(seen, seen[1:], strict=False))
        assert torch.equal(encoder.eval()(features), whole.eval()(features))


def test_a_rate_of_zero_leaves_the_cnns_as_published(small, tmp_path):
    dataset, cut, _ = small
    train(replace(CONFIG, cnn_rate=0.0, epochs=1), dataset, cut, tmp_path / "run", device="cpu")
    fresh = TunedEncoder(CONFIG.model.image, cut.info, 8)
    fresh.load_published()
    tuned = load(tmp_path / "run").image_encoder.state_dict()
    assert all(torch.equal(tuned[n], v) for n, v in fresh.state_dict().items() if n.startswith("above"))


def test_the_command_line_searches_photos_with_a_tuned_run(world, tmp_path):
    assert call("features", world.csv, "--encoder", CUT, "--out", tmp_path / "f").status == 0
    tiny = ("--epochs", 1, "--batch-size", 20, "--device", "cpu", "--model.embed-dim", 8, "--model.text.encoder", "bow")
    command = ("train", world.csv, "--features", tmp_path / "f", "--out", tmp_path / "run", *tiny, "--by-photo")
    works(*command, "--model.image.tune")
    said = call("search", tmp_path / "run", "a red bar", "--images", world.photos, "--cache", tmp_path / "cache")
    assert said.status == 0 and len(said.out.splitlines()) == 5
    again = ("train", world.csv, "--features", tmp_path / "f", "--out", tmp_path / "again", *tiny, "--model.image.tune")
    assert "started from a trained model" in works(*again, "--start", tmp_path / "run")
    refused(*again[:5], tmp_path / "none", *again[6:], "--start", tmp_path / "f", says=("not a run folder",))
    whole = ("train", world.csv, "--features", world.matrix, "--out", tmp_path / "b", *tiny, "--model.image.tune")
    refused(*whole, says=("image.tune", "is not cut", "efficientnet-lite2@19"))


@pytest.mark.parametrize("name", ["efficientnet-lite2@", "vgg19@3", "efficientnet-lite2@x", "@"])
def test_names_that_are_no_cut(name):
    with pytest.raises(InputError, match="efficientnet-lite2@19"):
        cut_of(name)


@pytest.mark.parametrize("block", [0, 5, 16])
def test_blocks_that_cannot_be_cut_after(block):
    with pytest.raises(InputError, match=r"expected \d+ to 15"):
        load_cnn(f"efficientnet-lite0@{block}")
