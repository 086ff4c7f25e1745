"""vse.scenes.clips: what moves, what does not, and that a motion played backwards is another one."""

import csv
import random

import numpy as np
import pytest

from vse.scenes.clips import BACKWARDS, FRAMES, MOTIONS, WORDS, Clip, captions, frames, make_clips, read_clips, world
from vse.scenes.scenes import Scene, render
from vse.system.errors import InputError

CAR = Scene("car", "red", "sunny", "alone", "")


def pixels(motion, seed=3, scene=CAR):
    return [np.asarray(frame, np.int16) for frame in frames(Clip(scene, motion), seed)]


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_played_backwards_is_another_one_to_the_pixel(motion):
    there, back = pixels(motion), pixels(BACKWARDS[motion])
    assert len(there) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(there, back[::-1], strict=True))


def red(frame):
    return (frame[..., 0] > 150) & (frame[..., 1] < 110) & (frame[..., 2] < 110)


def test_the_thing_moves_and_nothing_else():
    right, nearer = pixels("right"), pixels("nearer")
    middles = [np.nonzero(red(frame))[1].mean() for frame in right]
    assert np.all(np.diff(middles) > 10)
    sizes = [red(frame).sum() for frame in nearer]
    assert np.all(np.diff(sizes) > 50)
    assert np.ptp([np.nonzero(red(frame))[1].mean() for frame in nearer]) < 6
    for frame in right[1:]:
        changed = np.abs(frame - right[0]).max(2) > 12
        assert not changed[:80].any()  # the sky is the same
    still = pixels("still")
    assert all(np.array_equal(frame, still[0]) for frame in still)
    assert np.array_equal(still[0], np.asarray(render(CAR, 3), np.int16))


def test_sentences_are_true():
    for clip in (Clip(CAR, motion) for motion in MOTIONS):
        texts = captions(clip, random.Random(0))
        assert len(set(texts)) == 5
        for text in texts:
            assert "red" in text and any(words in text for words in WORDS[clip.motion]) and text.endswith(" .")
            assert not any(w in text for other in MOTIONS if other != clip.motion for w in WORDS[other])


def test_a_folder_has_frames_captions_and_the_truth(tmp_path):
    out = make_clips(tmp_path / "clips", seed=1, count=20)
    truth = read_clips(out)
    assert len(truth) == 20 and all((out / name / f"{i}.jpg").is_file() for name in truth for i in range(FRAMES))
    with open(out / "captions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100 and {row["split"] for row in rows} == {"train", "dev", "test"}
    for row in rows:
        assert any(words in row["caption"] for words in WORDS[truth[row["clip"]].motion])
    again = make_clips(tmp_path / "again", seed=1, count=20)
    assert all((again / path.relative_to(out)).read_bytes() == path.read_bytes() for path in out.rglob("*.*"))
    with pytest.raises(InputError, match="not empty"):
        make_clips(out, count=20)


def test_mistakes(tmp_path):
    assert len(world()) == 1500
    with pytest.raises(InputError, match="motion 'up': expected one of right"):
        Clip(CAR, "up")
    with pytest.raises(InputError, match="beside a tree"):
        Clip(Scene("car", "red", "sunny", "left of", "tree"), "right")
    with pytest.raises(InputError, match="5 clips cannot be made"):
        make_clips(tmp_path / "few", count=5)
    with pytest.raises(InputError, match="truth.json"):
        read_clips(tmp_path)
