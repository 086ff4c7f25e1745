"""vse.features.named: a run folder of a stranger has no file read and nothing fetched that the user did not pass."""

import pytest

from vse.features.named import permitted
from vse.features.weights import file_digest
from vse.system.errors import InputError

OURS = {"encoder": "efficientnet-lite0", "weights": None}


@pytest.fixture
def info(tmp_path):
    """The feature info of a run that was trained with a user's own file of weights."""
    (tmp_path / "mine.pth").write_bytes(b"weights")
    weights = tmp_path / "mine.pth"
    return {"encoder": "resnet152", "weights": str(weights), "weights_sha256": file_digest(weights)}


def test_what_ships_and_random_weights_need_no_leave():
    random = {"encoder": "resnet152", "weights": "random"}
    for info in (OURS, random, {"sources": [OURS, random]}):
        assert permitted(info) == info


def test_a_named_file_is_not_read_though_it_is_there(info):
    for named in (info, {"sources": [OURS, info]}):
        with pytest.raises(InputError, match="mine.pth.*a run may not have files read.*--cnn FILE"):
            permitted(named)


def test_a_passed_file_is_known_by_its_content(info, tmp_path):
    moved, other = tmp_path / "moved.pth", tmp_path / "other.pth"
    moved.write_bytes(b"weights")
    other.write_bytes(b"else")
    assert permitted(info, [other, moved]) == info | {"weights": str(moved)}
    assert permitted({"sources": [OURS, info]}, [moved])["sources"] == [OURS, info | {"weights": str(moved)}]
    with pytest.raises(InputError, match="a run may not have files read"):
        permitted(info, [other, "timm:resnet18", tmp_path / "none"])


def test_a_timm_model_is_fetched_only_when_passed():
    info = {"encoder": "timm:resnet18", "weights": None}
    with pytest.raises(InputError, match="--cnn timm:resnet18"):
        permitted(info, ["timm:resnet50"])
    assert permitted(info, ["timm:resnet18"]) == info
