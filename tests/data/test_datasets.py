"""What `read_dataset` must make of the layouts that users have, and of what can be wrong with them."""

import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from dataset_layouts import entry, fails, flickr8k, karpathy, owned, photos, splits, write

from vse.data.caption_lists import hashed_splits
from vse.data.datasets import photo_id, read_dataset, without_photos
from vse.system.errors import InputError

# --- Flickr8K


@pytest.mark.parametrize(
    ("texts", "images"),
    [
        ("Flickr8k_text", "Flicker8k_Dataset"),
        ("Flickr8k_text", "Flickr8k_Dataset"),
        ("Flickr8k_text", "Flickr8k_Dataset/Flicker8k_Dataset"),
        ("Flickr8k_text", "Images"),
        (".", "Flicker8k_Dataset"),
        (".", "."),
    ],
)
def test_flickr8k_layouts(tmp_path, texts, images):
    dataset = read_dataset(flickr8k(tmp_path, texts, images))
    assert dataset.name == "flickr8k"
    assert dataset.images == ("c.jpg", "a.jpg", "b.jpg", "d.jpg")  # as in the token file
    assert splits(dataset) == {"a.jpg": "train", "b.jpg": "dev", "c.jpg": "test", "d.jpg": ""}
    assert owned(dataset)["a.jpg"] == ["A zero .", "A one ."]
    assert dataset.captions[:4] == ("C zero .", "C one .", "A zero .", "B zero .")  # file order, not grouped
    assert all(dataset.path(i).is_file() for i in range(4))
    (note,) = dataset.notes
    assert "1 of 5 images" in note and "1 captions" in note and "lost.jpg.1" in note


def test_flickr8k_is_found_from_its_text_folder_and_from_its_token_file(tmp_path):
    whole = read_dataset(flickr8k(tmp_path)).fingerprint()
    assert read_dataset(tmp_path / "Flickr8k_text").fingerprint() == whole
    assert read_dataset(str(tmp_path / "Flickr8k_text/Flickr8k.token.txt")).fingerprint() == whole


def test_flickr8k_without_photos_has_captions_only(tmp_path):
    flickr8k(tmp_path)
    for photo in (tmp_path / "Flicker8k_Dataset").iterdir():
        photo.unlink()
    dataset = read_dataset(tmp_path)
    assert dataset.root is None and len(dataset.images) == 5
    with pytest.raises(InputError, match="no photos"):
        dataset.path(0)


def test_flickr8k_keeps_images_without_captions(tmp_path):
    dataset = read_dataset(flickr8k(tmp_path, token="a.jpg#0\tA .\n"))
    assert owned(dataset) == {"a.jpg": ["A ."], "b.jpg": [], "c.jpg": []}
    assert any("without a caption: 2 (first: b.jpg)" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"dev": "b.jpg\na.jpg\n"}, ["devImages.txt, line 2", "a.jpg", "train"]),
        ({"test": "c.jpg\nc.jpg\n"}, ["testImages.txt, line 2", "c.jpg", "twice"]),
        ({"token": "a.jpg#0\tA .\na.jpg 1 B\n"}, ["token.txt, line 2", "<tab>"]),
        ({"token": "a.jpg#0\tA .\na.jpg#0\tB .\n"}, ["line 2", "a.jpg#0", "twice"]),
        ({"token": ""}, ["token.txt", "empty"]),
    ],
)
def test_flickr8k_mistakes(tmp_path, changed, parts):
    fails(flickr8k(tmp_path, **changed), *parts)


def test_flickr8k_needs_all_split_files(tmp_path):
    flickr8k(tmp_path)
    (tmp_path / "Flickr8k_text/Flickr_8k.devImages.txt").unlink()
    fails(tmp_path, "Flickr_8k.devImages.txt")


# --- Karpathy's JSON


@pytest.mark.parametrize("folder", [".", "images", "tiny_images", "flickr30k-images"])
def test_karpathy(tmp_path, folder):
    path = karpathy(tmp_path / "dataset_tiny.json")
    photos(tmp_path / folder, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "unlisted.jpg")
    for data in (path, tmp_path):
        dataset = read_dataset(data)
        assert dataset.name == "tiny" and dataset.root.resolve() == (tmp_path / folder).resolve()
        assert splits(dataset) == {"a.jpg": "train", "b.jpg": "train", "c.jpg": "dev", "d.jpg": "test"}
        assert owned(dataset) == {
            "a.jpg": ["One.", "Two."],
            "b.jpg": ["Three."],
            "c.jpg": [],
            "d.jpg": ["Four."],
        }
        assert any("unlisted.jpg" in note for note in dataset.notes)


def test_karpathy_without_photos_and_with_photos_elsewhere(tmp_path):
    path = karpathy(tmp_path / "texts/dataset_tiny.json")
    alone = read_dataset(path)
    assert alone.root is None and len(alone.images) == 4 and "captions only" in alone.notes[0]
    elsewhere = photos(tmp_path / "elsewhere", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert read_dataset(path, images=elsewhere).root == elsewhere
    fails(path, "none of the images", "a.jpg", images=photos(tmp_path / "other", "x.jpg"))
    fails(path, "not a folder", images=tmp_path / "nowhere")


def test_karpathy_filepath_is_part_of_the_name(tmp_path):
    entries = [
        entry("a.jpg", "train", "A.", filepath="val2014"),
        entry("a.jpg", "val", "B.", filepath="train2014"),
    ]
    path = karpathy(tmp_path / "dataset_coco.json", *entries)
    photos(tmp_path, "val2014/a.jpg", "train2014/a.jpg")
    dataset = read_dataset(path)
    assert dataset.images == ("val2014/a.jpg", "train2014/a.jpg") and dataset.path(1).is_file()


def test_karpathy_mistakes(tmp_path):
    whole = karpathy(tmp_path / "dataset_tiny.json").read_text()
    fails(write(tmp_path / "cut.json", whole[: len(whole) // 2]), "cut.json", "not whole JSON")
    fails(write(tmp_path / "list.json", "[1, 2]"), '"images"')
    fails(write(tmp_path / "other.json", '{"annotations": []}'), '"images"')
    fails(write(tmp_path / "none.json", '{"images": []}'), "no image")
    no_name, no_sentences = {"split": "train", "sentences": []}, {"filename": "a.jpg", "split": "train"}
    for i, broken in enumerate([no_name, no_sentences, no_sentences | {"sentences": [{"tokens": []}]}, "x"]):
        fails(karpathy(tmp_path / f"{i}.json", entry("b.jpg", "val", "B."), broken), "images[1]", '"raw"')
    twice = entry("a.jpg", "train", "A."), entry("a.jpg", "test", "A.")
    fails(karpathy(tmp_path / "twice.json", *twice), "images[1]", "a.jpg", "twice")
    fails(karpathy(tmp_path / "odd.json", entry("a.jpg", "trian", "A.")), "'trian'", "restval")
    karpathy(tmp_path / "dataset_second.json")
    fails(tmp_path, "2 caption lists", "dataset_second.json", "dataset_tiny.json")


# --- CSV


def test_csv_with_splits_quotes_and_any_case_of_the_header(tmp_path):
    text = 'Split,IMAGE, Caption\ntrain,a.jpg,"A dog, a ""red"" cat"\n,a.jpg,Again\n\nval,sub/b.png,x\n'
    write(tmp_path / "mine.csv", "\ufeff" + text + "TEST,c.jpg,y\n")
    photos(tmp_path / "Images", "a.jpg", "sub/b.png", "c.jpg")
    for data in (tmp_path, tmp_path / "mine.csv"):
        dataset = read_dataset(data)
        assert dataset.name == "csv:mine" and dataset.root == tmp_path / "Images"
        assert splits(dataset) == {"a.jpg": "train", "sub/b.png": "dev", "c.jpg": "test"}
        assert owned(dataset) == {
            "a.jpg": ['A dog, a "red" cat', "Again"],
            "sub/b.png": ["x"],
            "c.jpg": ["y"],
        }
        assert dataset.notes == ()


def test_captions_txt_without_splits_can_be_trained_on_at_once(tmp_path):
    names = [f"{i}_x.jpg" for i in range(200)]
    write(tmp_path / "captions.txt", "image,caption\n" + "".join(f"{n},A photo .\n{n},Two\n" for n in names))
    dataset = read_dataset(tmp_path)
    assert dataset.name == "csv:captions" and any("80 / 10 / 10" in note for note in dataset.notes)
    for name, low, high in (("train", 140, 180), ("dev", 8, 35), ("test", 8, 35)):
        assert low < len(dataset.split(name).images) < high


def test_hashed_splits_depend_on_the_name_alone():
    some, more = [f"{i}.jpg" for i in range(300)], [f"{i}.jpg" for i in range(600)]
    few, many = hashed_splits(some[::-1]), hashed_splits(more)
    assert all(many[name] == few[name] for name in some)
    assert hashed_splits(["a.jpg", "b.jpg", "c.jpg"]) == hashed_splits(["c.jpg", "a.jpg", "b.jpg"])
    # Golden (sha256sum of the names starts 39, da, f7): another hash would mix train and test of old runs.
    assert (many["0.jpg"], many["3.jpg"], many["13.jpg"]) == ("train", "dev", "test")
    for n in range(3, 40):
        assert set(hashed_splits(some[:n]).values()) == {"train", "dev", "test"}


def test_csv_unquoted_commas_belong_to_a_caption_that_comes_last(tmp_path):
    dataset = read_dataset(write(tmp_path / "c.csv", "image,caption\na.jpg,A dog, a cat\nb.jpg,B\nc.jpg,C\n"))
    assert dataset.captions == ("A dog, a cat", "B", "C") and any("commas" in note for note in dataset.notes)
    fails(
        write(tmp_path / "d.csv", "image,caption,split\na.jpg,A dog, a cat,train\n"),
        "line 2",
        "4 fields",
        '"',
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("file,text\na.jpg,A\n", ["'file,text'", "image,caption"]),
        ("image,caption,image\na.jpg,A,b\n", ["image,caption,image"]),
        ("image,caption\na.jpg\n", ["line 2", "1 fields", "expected 2"]),
        ("image,caption\n,A\n", ["line 2", "empty"]),
        ("image,caption\n", ["no image"]),
        ('image,caption\na.jpg,"never closed\nb.jpg,B\n', ["line 3", "quote"]),
        ("image,caption,split\na.jpg,A,train\na.jpg,B,test\n", ["line 3", "a.jpg", "test", "train"]),
        ("image,caption,split\na.jpg,A,trian\n", ["line 2", "'trian'", "validation"]),
        ('image,caption\n"a\nb.jpg",A\n', ["line break"]),
        (" \n", ["empty"]),
    ],
)
def test_csv_mistakes(tmp_path, text, parts):
    fails(write(tmp_path / "mine.csv", text), "mine.csv", *parts)


def test_captions_without_photos_and_empty_captions_are_left_out_and_noted(tmp_path):
    text = "image,caption,split\ngone.jpg,G,train\na.jpg,A,train\na.jpg,  ,train\nb.jpg,,dev\ngone.jpg,H,train\n"
    write(tmp_path / "c.csv", text)
    photos(tmp_path / "images", "a.jpg", "b.jpg")
    dataset = read_dataset(tmp_path)
    assert owned(dataset) == {"a.jpg": ["A"], "b.jpg": []}
    notes = " | ".join(dataset.notes)
    assert "1 of 3 images, left out with 2 captions (first: gone.jpg)" in notes
    assert "empty captions: 2" in notes and "without a caption: 1 (first: b.jpg)" in notes


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    latin = "image,caption\na.jpg,A\nb.jpg,Caf\xe9\n".encode("latin1")
    fails(write(tmp_path / "c.csv", latin), "c.csv, line 3", "0xe9", "iconv -f latin1")
    fails(write(tmp_path / "d.csv", "image,caption\n".encode("utf-16")), "line 1", "iconv -f utf-16")


# --- photos, scenes, and nothing


def test_a_folder_of_photos(tmp_path):
    folder = photos(tmp_path / "mine", "b.png", "a.JPG", "sub/deep/c.webp", ".hidden.jpg", "__MACOSX/d.jpg", "z.gif")
    write(folder / "readme.txt", "x")
    os.symlink(folder, folder / "sub/loop")
    dataset = read_dataset(folder)
    assert dataset.name == "photos:mine" and dataset.images == ("a.JPG", "b.png", "sub/deep/c.webp", "z.gif")
    assert dataset.captions == () and set(dataset.split_of_image) == {""}
    assert dataset.notes == ("files left out, no photos by their suffix: 1 .txt",)
    assert dataset.image_of_caption.shape == (0,) and dataset.path(2).is_file()
    write(folder / "prices.csv", "item,price\nx,1\n")
    assert any("prices.csv" in note for note in read_dataset(folder).notes)
    write(folder / "bad\nname.jpg")
    assert any("bad" in note and "rename" in note for note in read_dataset(folder).notes)
    fails(folder, "folder of photos itself", images=tmp_path)


def test_a_linked_folder_is_walked_once_and_by_its_own_name(tmp_path):
    photos(tmp_path / "p", "z/1.jpg")
    photos(tmp_path / "elsewhere", "2.jpg")
    os.symlink(tmp_path / "p/z", tmp_path / "p/a_link")  # sorts before z
    os.symlink(tmp_path / "elsewhere", tmp_path / "p/other")
    assert read_dataset(tmp_path / "p").images == ("other/2.jpg", "z/1.jpg")


def test_photos_of_every_format_that_is_decoded_are_found_and_others_named(tmp_path):
    names = ["a.jpe", "b.JFIF", "c.jp2", "d.ppm", "e.pgm", "f.tif", "g.avif", "h.mpo"]
    for name in [*names, "i.heic", "j.psd", "bad\x1b[2J.jpg"]:
        write(tmp_path / "p" / name, "x")
    dataset = read_dataset(tmp_path / "p")
    assert dataset.images == tuple(sorted(names))
    notes = " | ".join(dataset.notes)
    assert "1 .heic" in notes and "pillow-heif" in notes and ".psd" in notes
    assert "control character" in notes and "\x1b" not in notes


def test_kaggles_copy_of_flickr8k_is_found(tmp_path):
    dataset = read_dataset(flickr8k(tmp_path, "Flickr_TextData", "Images"))
    assert dataset.name == "flickr8k" and dataset.root == tmp_path / "Images" and len(dataset.captions) == 7


def test_neuraltalks_dataset_json_beside_imgs_is_found(tmp_path):
    karpathy(tmp_path / "dataset.json")
    photos(tmp_path / "imgs", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert len(read_dataset(tmp_path).captions) == 4 and read_dataset(tmp_path).root == tmp_path / "imgs"
    write(tmp_path / "dataset.json", '{"name": "something else"}')
    assert read_dataset(tmp_path).name.startswith("photos:")


def test_lists_that_were_not_used_are_named(tmp_path):
    """A folder of photos whose captions lie below or beside it."""
    photos(tmp_path / "all/photos", "a.jpg", "b.jpg")
    write(tmp_path / "all/texts/mine.token", "a.jpg#0\tA .\n")
    write(tmp_path / "all/captions.csv", "image,caption\na.jpg,A\nb.jpg,B\n")
    write(tmp_path / "all/unrelated.csv", "image,caption\nx.jpg,A\n")
    os.remove(tmp_path / "all/unrelated.csv")
    (note,) = read_dataset(tmp_path / "all/photos").notes
    assert "all/captions.csv" in note and "as DATA" in note
    assert read_dataset(tmp_path / "all").root == tmp_path / "all/photos"  # the table beside photos/
    os.remove(tmp_path / "all/captions.csv")
    assert any("texts/mine.token" in note and "--images" in note for note in read_dataset(tmp_path / "all").notes)


def test_photos_in_any_folder_beside_the_list_are_found_with_a_note(tmp_path):
    write(tmp_path / "c.csv", "image,caption\na.jpg,A\n")
    photos(tmp_path / "holiday", "a.jpg")
    dataset = read_dataset(tmp_path / "c.csv")
    assert dataset.root == tmp_path / "holiday" and any("holiday" in note for note in dataset.notes)
    os.remove(tmp_path / "holiday/a.jpg")
    assert any("--images" in note for note in read_dataset(tmp_path / "c.csv").notes)


def test_names_that_lead_out_of_the_folder_are_left_out(tmp_path):
    photos(tmp_path, "out.jpg", "d/in.jpg", "d/sub/abs.jpg")
    absolute = [tmp_path / "d/sub/abs.jpg", tmp_path / "out.jpg"]
    rows = "".join(f"{name},A\n" for name in ("in.jpg", "../out.jpg", "sub/../../out.jpg", "C:\\x.jpg", *absolute))
    dataset = read_dataset(write(tmp_path / "d/c.csv", "image,caption\n" + rows))
    assert set(dataset.images) == {"in.jpg", "sub/abs.jpg"} and len(dataset.captions) == 2
    assert any("lead out" in note and "4, left out" in note for note in dataset.notes)
    fails(write(tmp_path / "d/c.csv", "image,caption\n../out.jpg,A\n"), "'../out.jpg'", "--images")


def test_names_that_only_look_alike_are_the_same(tmp_path):
    """NFC against NFD, capitals, backslashes; where two files fit, neither is taken."""
    files = ["cafe\u0301.jpg", "sub/b.jpg", "C.JPG", "d.jpg", "D.JPG"]
    photos(tmp_path, *files)
    rows = "caf\u00e9.jpg,A\nsub\\b.jpg,B\nc.jpg,C\nd.Jpg,D\n"
    dataset = read_dataset(write(tmp_path / "c.csv", "image,caption\n" + rows))
    assert owned(dataset) == {"cafe\u0301.jpg": ["A"], "sub/b.jpg": ["B"], "C.JPG": ["C"]}
    assert any("spell otherwise" in note and ": 3," in note for note in dataset.notes)


def coco(path: Path, **changed) -> Path:
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}]
    annotations = [{"image_id": 9, "caption": "B"}, {"image_id": 7, "caption": "A"}, {"image_id": 1, "caption": "?"}]
    return write(path, json.dumps({"images": images, "annotations": annotations} | changed))


def test_cocos_captions(tmp_path):
    path = coco(tmp_path / "annotations/captions_val2017.json")
    photos(tmp_path / "val2017", "a.jpg", "b.jpg")
    for data in (path, tmp_path):
        dataset = read_dataset(data)
        assert owned(dataset) == {"a.jpg": ["A"], "b.jpg": ["B"]} and dataset.root.name == "val2017"
        assert any("does not list: 1" in note for note in dataset.notes)
    fails(coco(tmp_path / "x.json", annotations=[{"image_id": 7, "bbox": [1]}]), "annotations[0]", "caption")
    fails(coco(tmp_path / "x.json", images=[{"id": [7], "file_name": "a.jpg"}]), "images[0]", '"id"')
    fails(coco(tmp_path / "x.json", images=["a"]), "images[0]")


@pytest.mark.parametrize("value", ["[" * 5000, '{"images": [' + "9" * 5000 + "]}", '{"images": NaN}', '{"images": {}}'])
def test_json_that_breaks_readers_is_one_line(tmp_path, value):
    fails(write(tmp_path / "x.json", value), "x.json")


@pytest.mark.parametrize("changed", [{"filename": 1}, {"split": None}, {"filepath": ["x"]}, {"sentences": "abc"}])
def test_karpathy_entries_of_other_types_are_refused(tmp_path, changed):
    fails(karpathy(tmp_path / "x.json", entry("a.jpg", "train", "A.") | changed), "images[0]")


def test_captions_without_spaces_are_noted(tmp_path):
    rows = "a.jpg,\u4e00\u53ea\u9ed1\u8272\u7684\u72d7\u5728\u8349\u5730\u4e0a\n"
    assert any("without spaces" in n for n in read_dataset(write(tmp_path / "c.csv", "image,caption\n" + rows)).notes)


def test_scenes_are_made_where_there_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []

    def make_scenes(out, *, seed=0, count=1000):
        if (out / "scenes.json").exists():
            return
        made.append(out)
        write(out / "captions.csv", "image,caption,split\n0.png,A red ball,train\n1.png,B,dev\n2.png,C,test\n")
        write(out / "truth.csv", "image,caption\n")  # scenes.json says which list is meant
        write(out / "scenes.json", "{}")
        photos(out / "images", "0.png", "1.png", "2.png")

    monkeypatch.setitem(sys.modules, "vse.scenes.scenes", types.SimpleNamespace(make_scenes=make_scenes))
    first, again, by_folder = (
        read_dataset("scenes"),
        read_dataset("scenes"),
        read_dataset(tmp_path / "data/scenes"),
    )
    assert made == [Path("data/scenes")]
    assert first.name == by_folder.name == "scenes" and first.split("train").captions == ("A red ball",)
    assert first.fingerprint() == again.fingerprint() == by_folder.fingerprint()


def test_what_is_no_data_set(tmp_path):
    fails(tmp_path / "nowhere", "nowhere", "does not exist", "vse download")
    fails(tmp_path, "no photo and no caption list")
    fails(write(tmp_path / "x.csv"), "x.csv", "empty")
    fails(write(tmp_path / "x.json"), "x.json", "empty")
    fails(photos(tmp_path, "x.jpg") / "x.jpg", "x.jpg", "not a known kind")
    write(tmp_path / "only/prices.csv", "item,price\nx,1\n")
    fails(tmp_path / "only", "'item,price'")


def test_no_look_at_single_files(tmp_path, monkeypatch):
    """31,000 photos on a network drive: folders are listed, files are not asked one by one."""
    names = [f"{i:05}.jpg" for i in range(300)]
    write(tmp_path / "c.csv", "image,caption\n" + "".join(f"{n},x\n" for n in names))
    for name in names:
        write(tmp_path / "images" / name)
    asked, real = [], os.stat
    monkeypatch.setattr(os, "stat", lambda path, *args, **kwargs: asked.append(path) or real(path, *args, **kwargs))
    assert len(read_dataset(tmp_path).images) == 300
    assert len(asked) < 50


# --- the Dataset itself


def test_split_keeps_order_and_ownership(tmp_path):
    dataset = read_dataset(flickr8k(tmp_path, train="d.jpg\nc.jpg\n", test="a.jpg\n"))
    train = dataset.split("train")
    assert train.images == ("c.jpg", "d.jpg") and train.captions == ("C zero .", "C one .", "D zero .")
    assert train.image_of_caption.tolist() == [0, 0, 1] and train.image_of_caption.dtype == np.int64
    assert train.notes == dataset.notes and train.root == dataset.root


@pytest.mark.parametrize("name", ["test", "val", "", "all"])
def test_split_that_is_not_there_lists_what_is(tmp_path, name):
    data = write(tmp_path / "c.csv", "image,caption,split\na.jpg,A,train\nb.jpg,B,dev\nc.jpg,C,train\nd.jpg,D,\n")
    with pytest.raises(InputError, match=r"train \(2 images\), dev \(1 images\), and 1 images in none"):
        read_dataset(data).split(name)


def test_fingerprint_sees_names_splits_and_captions_but_not_the_place(tmp_path):
    rows = "image,caption,split\na.jpg,A,train\nb.jpg,B,dev\n"
    base = read_dataset(write(tmp_path / "1/c.csv", rows)).fingerprint()
    assert base == "dfd97eb81f5d"  # golden: run folders keep it
    assert read_dataset(write(tmp_path / "2/other.csv", rows)).fingerprint() == base
    changed = [
        rows.replace("b.jpg", "x.jpg"),
        rows.replace("dev", "test"),
        rows.replace("B", "b"),
        rows + "a.jpg,C,\n",
    ]
    prints = {read_dataset(write(tmp_path / f"{i}.csv", text)).fingerprint() for i, text in enumerate(changed)}
    assert len(prints | {base}) == 5


def test_photo_ids_and_leaving_photos_out(tmp_path):
    assert photo_id("1000268201_693b08cb0e.jpg") == photo_id("1000268201.jpg") == "1000268201"
    assert photo_id("val2014/COCO_val2014_000000000042.jpg") == "COCO_val2014_000000000042"
    assert photo_id("2258277193_586949ec62.jpg.1") == "2258277193"
    rows = "image,caption,split\n1.jpg,A,train\n2.jpg,B,train\n3.jpg,C,dev\n2.jpg,D,train\n"
    dataset = read_dataset(write(tmp_path / "c.csv", rows))
    rest, count = without_photos(dataset, [photo_id("2_abc.jpg"), "99"])
    assert count == 1 and owned(rest) == {"1.jpg": ["A"], "3.jpg": ["C"]}
    assert without_photos(dataset, [])[1] == 0
