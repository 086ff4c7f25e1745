"""One reader of caption lists, whatever they are called: token files, tables, JSON, a caption a line."""

import json

import pytest

from vse.data.caption_lists import is_caption_list, kind_of
from vse.data.datasets import read_dataset
from vse.data.formats import read_captions
from vse.system.errors import InputError

KARPATHY = json.dumps({"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"raw": "A dog, runs"}]}]})
COCO = json.dumps(
    {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "caption": "A dog, runs"}]}
)
LISTS = {
    "tokens": "1.jpg#0\tA dog, runs\n",
    "table": "image,caption\n1.jpg,A dog, runs\n",
    "quoted": 'image,caption\n1.jpg,"A dog, runs"\n',
    "capitals": '\ufeff Image , Caption \r\n1.jpg,"A dog, runs"\r\n',
    "tabs": "image\tcaption\n1.jpg\tA dog, runs\n",
    "flickr30k": "image_name| comment_number| comment\n1.jpg| 0| A dog, runs\n",
    "semicolons": "image;caption\n1.jpg;A dog, runs\n",
    "karpathy": KARPATHY,
    "coco": COCO,
}


@pytest.mark.parametrize("name", ["list.txt", "results_20130124.token", "captions.csv"])
@pytest.mark.parametrize("form", LISTS)
def test_the_content_says_what_a_list_is(tmp_path, form, name):
    path = tmp_path / name
    path.write_bytes(LISTS[form].encode())
    assert is_caption_list(path)
    assert read_captions(path) == ["A dog, runs"]
    dataset = read_dataset(path)
    assert dataset.images == ("1.jpg",) and dataset.captions == ("A dog, runs",)


@pytest.mark.parametrize(
    "text, captions",
    [
        ("a dog\n\n a cat \n", ["a dog", "a cat"]),
        ("\ufeffa dog\r\na cat", ["a dog", "a cat"]),
        ("image and caption, both\n", ["image and caption, both"]),
        ("we are #1\tin this\n", ["we are #1\tin this"]),
        ('"quoted" words, [and] more\n', ['"quoted" words, [and] more']),
    ],
)
def test_other_texts_are_a_caption_a_line(tmp_path, text, captions):
    path = tmp_path / "c.txt"
    path.write_bytes(text.encode())
    assert kind_of(path) == "" and not is_caption_list(path)
    assert read_captions(path) == captions


def test_a_table_for_search_needs_captions_alone(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("Caption\nA dog, runs\n\nA cat\n")
    assert read_captions(path) == ["A dog, runs", "A cat"]


def test_no_caption_holds_the_id_of_a_photo(tmp_path):
    path = tmp_path / "any.txt"
    path.write_text("".join(f"1.jpg#{i}\tA dog .\n" for i in range(3)))
    assert read_captions(path) == ["A dog ."] * 3
    path.write_text("1.jpg#0\tA dog .\nno tab here\n")
    with pytest.raises(InputError, match="line 2"):
        read_captions(path)


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf\n", b",,,\n;;\n", b"\n\t\n|", b'"",""\n', b"\x00", b"\xc2\x85\n", b'"\n"\n']
)
@pytest.mark.parametrize("name", ["c.csv", "c.txt", "c.token"])
def test_files_without_a_word_are_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_dataset(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value) and "\n" not in str(refused.value)
