"""What `vse data` tells of a data set."""

import os

import numpy as np
from dataset_layouts import flickr8k, photos, write
from PIL import Image

from vse.data.datasets import read_dataset
from vse.data.report import describe, unreadable_images


def test_report(tmp_path):
    text = describe(read_dataset(flickr8k(tmp_path)))
    assert "flickr8k: 4 images, 7 captions" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if "/" in line and "." in line}
    assert rows["train"] == ["1", "2", "2", "/", "2.00", "/", "2"]
    assert rows["(none)"] == ["1", "1", "1", "/", "1.00", "/", "1"]
    assert rows["all"] == ["4", "7", "1", "/", "1.75", "/", "2"]
    assert "3 words, 0 seen >= 5 times" in text  # a, zero, one: training captions only
    assert "mean 2.0, max 2" in text and "lost.jpg.1" in text


def test_report_counts_frequent_words_and_wordless_captions(tmp_path):
    rows = "image,caption,split\n" + "a.jpg,dog dog cat,train\n" * 3 + "a.jpg,!?,train\n"
    text = describe(read_dataset(write(tmp_path / "c.csv", rows)))
    assert "2 words, 1 seen >= 5 times" in text and "without a single word: 1" in text


def test_unreadable_images_are_named(tmp_path, capsys):
    folder = photos(tmp_path / "p", *(f"{i}.jpg" for i in range(4)), "5.png", "6.gif")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "cut.jpg", quality=95)
    Image.fromarray(noise).save(folder / "cut.png")
    for name in ("cut.jpg", "cut.png"):
        os.truncate(folder / name, (folder / name).stat().st_size // 2)
    write(folder / "empty.jpg")
    write(folder / "text.jpg", "hello, this is not a photo")
    dataset = read_dataset(folder)
    (folder / "0.jpg").unlink()
    bad = dict(unreadable_images(dataset))
    assert bad.keys() == {"0.jpg", "cut.jpg", "cut.png", "empty.jpg", "text.jpg"}
    assert (
        bad["0.jpg"] == "no such file"
        and bad["empty.jpg"] == "empty file"
        and bad["text.jpg"].startswith("not an image")
    )
    text = describe(dataset, check_images=True)
    assert "missing or unreadable photos: 5 of 10" in text and "cut.jpg: " in text
    assert "missing or unreadable" not in describe(dataset)
    capsys.readouterr()


def test_report_lists_ten_unreadable_images_and_counts_the_rest(tmp_path):
    for i in range(13):
        write(tmp_path / f"{i:02}.jpg", "x")
    text = describe(read_dataset(tmp_path), check_images=True)
    assert "13 of 13" in text and "09.jpg" in text and "10.jpg" not in text and "and 3 more" in text
