"""A run folder may only name CNNs that ship or that the user passes."""

import json
import shutil

import pytest

from vse.cnn_weights import file_digest
from vse.errors import InputError
from vse.named_cnns import permitted

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import TINY, call, colour_cnn_in, refused, works  # noqa: E402

pytest_plugins = ["coloured_shapes"]

SHIPPED = {"encoder": "efficientnet-lite0", "weights": None, "weights_sha256": ""}


def test_what_ships_and_what_is_random_needs_no_word():
    for info in ({}, {"shape": [1, 1, 3]}, SHIPPED, SHIPPED | {"weights": "random"}, {"sources": [SHIPPED, SHIPPED]}):
        assert permitted(info) == info
    assert permitted({"encoder": "timm:resnet18", "weights": "random"})["weights"] == "random"


@pytest.mark.parametrize("sources", [False, True])
def test_a_file_and_a_timm_model_are_passed_by_the_user(tmp_path, sources):
    file, moved = tmp_path / "mine.pth", tmp_path / "moved.pth"
    file.write_bytes(b"weights")
    digest = file_digest(shutil.copy(file, moved))
    timm = {"encoder": "timm:resnet18", "weights": None}
    own = SHIPPED | {"weights": str(file), "weights_sha256": digest}

    def info(one):
        return {"sources": [SHIPPED, one], "scales": [1.0, 2.0]} if sources else one

    for one, says, passed in ((timm, "--cnn timm:resnet18", "timm:resnet18"), (own, "--cnn FILE", str(moved))):
        for wrong in ((), ("timm:resnet50", str(tmp_path / "no.pth"))):
            with pytest.raises(InputError, match=says):
                permitted(info(one), wrong)
        expected = one | {"weights": passed} if one is own else one
        assert permitted(info(one), [passed]) == info(expected)
    moved.write_bytes(b"others")
    with pytest.raises(InputError, match=digest):
        permitted(info(own), [moved])


def test_on_the_command_line(world, tmp_path):
    """Refused before anything is opened or fetched."""
    with pytest.MonkeyPatch.context() as patch:
        colour_cnn_in(patch)
        assert call("features", world.csv, "--out", tmp_path / "f").status == 0
        works("train", world.csv, "--features", tmp_path / "f", "--out", tmp_path / "run", *TINY, "--epochs", 1)
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        (tmp_path / "run" / "manifest.json").unlink()
        for changes, says in (
            ({"encoder": "timm:resnet18"}, "--cnn timm:resnet18"),
            ({"weights": "/etc/hostname", "weights_sha256": "00"}, "--cnn FILE"),
        ):
            (source, *_) = config["feature_info"].get("sources", [config["feature_info"]])
            changed = dict(config["feature_info"]) | ({"sources": [source | changes], "scales": [1.0]})
            (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"feature_info": changed}))
            for command in (("search", "red"), ("arithmetic", world.photos / world.names[0], "--plus", "red")):
                name, *words = command
                refused(name, tmp_path / "run", *words, "--images", world.photos, says=(says,))
        (tmp_path / "run" / "config.json").write_text(
            json.dumps(config | {"feature_info": changed | {"sources": [source | {"encoder": "timm:resnet18"}]}})
        )
        asked = ("search", tmp_path / "run", "red", "--images", world.photos, "--cnn", "timm:resnet18")
        assert call(*asked).status == 0
