"""Every kind of file a folder of photos may hold: read right, or refused by name with the reason."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vse.data import photos
from vse.data.datasets import read_dataset
from vse.data.photo_files import HEIF_SUFFIXES, PHOTO_SUFFIXES
from vse.data.photos import FORMATS, BadPhoto, check_photo, read_photo, upright_rgb
from vse.data.report import unreadable_images
from vse.features.crops import VIEWS, cut
from vse.system.errors import InputError


def scene(width=40, height=24) -> Image.Image:
    """Smooth in both directions and in all colours, so that every flip, crop and channel swap shows."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * x / (width - 1), 255 * y / (height - 1), 255 * (1 - x / (width - 1))], -1)
    return Image.fromarray(rgb.round().astype(np.uint8))


def difference(a: Image.Image, b: Image.Image) -> int:
    assert a.size == b.size and a.mode == b.mode == "RGB"
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def test_plain_png_comes_back_exactly(tmp_path):
    scene().save(tmp_path / "a.png")
    assert difference(read_photo(tmp_path / "a.png"), scene()) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied_once(tmp_path, orientation, kind):
    """The file holds the scene turned the wrong way round; its EXIF block tells how to put it right."""
    turned = scene()
    if orientation in photos._UPRIGHT:
        # Each way of turning is undone by the one that takes the scene back.
        turned = next(
            t for t in map(scene().transpose, Image.Transpose)
            if difference_or_none(t.transpose(photos._UPRIGHT[orientation]), scene()) == 0
        )  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    turned.save(path, exif=exif, **({"quality": 95} if kind in ("jpg", "webp") else {}))
    photo = read_photo(path)
    assert difference(photo, scene()) <= (16 if kind in ("jpg", "webp") else 0)
    assert difference(upright_rgb(photo), photo) == 0  # not turned again


def difference_or_none(a, b):
    return difference(a, b) if a.size == b.size else None


def test_grey_cmyk_and_one_bit(tmp_path):
    scene().convert("L").save(tmp_path / "grey.jpg", quality=95)
    assert difference(read_photo(tmp_path / "grey.jpg"), scene().convert("L").convert("RGB")) <= 6
    scene().convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert difference(read_photo(tmp_path / "cmyk.jpg"), scene()) <= 16
    scene().convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(read_photo(tmp_path / "bits.png"))) == {0, 255}


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 65535\n" + ramp.astype(">u2").tobytes())
    Image.fromarray((ramp / 65535).astype(np.float32)).save(tmp_path / "float.tif")
    for name in ("a.png", "a.tif", "a.pgm", "float.tif"):
        pixels = np.asarray(read_photo(tmp_path / name), int)
        assert (pixels == pixels[..., :1]).all()
        assert np.abs(pixels[..., 0].ravel() - np.arange(256)).max() <= 1, name


def test_transparency_lies_on_white(tmp_path):
    rgba = scene().convert("RGBA")
    rgba.putalpha(Image.fromarray(np.repeat([[255] * 20 + [0] * 20], 24, 0).astype(np.uint8)))
    rgba.save(tmp_path / "rgba.png")
    expected = np.asarray(scene()).copy()
    expected[:, 20:] = 255
    assert (np.asarray(read_photo(tmp_path / "rgba.png")) == expected).all()

    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    palette.save(tmp_path / "plain.png")
    assert np.asarray(read_photo(tmp_path / "plain.png")).tolist() == [[[200, 0, 0], [0, 200, 0], [0, 0, 200]]]
    for transparent in (1, bytes([255, 0, 255])):  # one index, or an alpha for each
        palette.save(tmp_path / "p.png", transparency=transparent)
        shown = np.asarray(read_photo(tmp_path / "p.png")).tolist()
        assert shown == [[[200, 0, 0], [255, 255, 255], [0, 0, 200]]]


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    pixels = cut(read_photo(tmp_path / "a.png", shortest=672), [c for v in VIEWS.values() for c in v], 16)
    assert (pixels == [1, 2, 3]).all()


def test_huge_photos(tmp_path, monkeypatch):
    """100 megapixels are read without a warning; beyond the bound a photo is bad before it is decoded."""
    for name in ("a.png", "a.jpg"):
        Image.new("L", (10_000, 10_000), 77).save(tmp_path / name, **({"quality": 95} if name == "a.jpg" else {}))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            photo = read_photo(tmp_path / name, shortest=672)
        assert photo.mode == "RGB" and 672 <= min(photo.size) <= 2 * 672
        assert set(np.unique(photo)) == {77}
    assert Image.MAX_IMAGE_PIXELS  # Pillow's own limit is as it was
    monkeypatch.setattr(photos, "MAX_PIXELS", 99_999_999)
    with pytest.raises(BadPhoto, match="100,000,000 pixels, more than"):
        read_photo(tmp_path / "a.png")


def test_reading_smaller_changes_little(tmp_path):
    """`shortest` = three times the input size: the pixels the CNN sees are those of the full photo."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    big = coarse.resize((1600, 1200), Image.Resampling.BICUBIC)
    big.save(tmp_path / "a.jpg", quality=90)
    full, small = read_photo(tmp_path / "a.jpg"), read_photo(tmp_path / "a.jpg", shortest=192)
    assert full.size == (1600, 1200) and 192 <= min(small.size) < 600
    crops = [crop for view in VIEWS.values() for crop in view]
    a, b = (cut(photo, crops, 64).astype(int) for photo in (full, small))
    assert np.abs(a - b).max() <= 6 and np.abs(a - b).mean() < 0.7


def bad_files(folder):
    """name -> what its reason says."""
    jpeg, png = io.BytesIO(), io.BytesIO()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(jpeg, "JPEG")
    noise.save(png, "PNG")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image\n" * 50)
    (folder / "cut.jpg").write_bytes(jpeg.getvalue()[: len(jpeg.getvalue()) // 2])
    (folder / "cut.png").write_bytes(png.getvalue()[: len(png.getvalue()) // 2])
    (folder / "head.jpg").write_bytes(jpeg.getvalue()[:30])
    (folder / "folder.jpg").mkdir()
    return {
        "missing.jpg": "no such file", "empty.jpg": "empty file", "text.jpg": "not an image",
        "cut.jpg": "truncated", "cut.png": "damaged", "head.jpg": "damaged|not an image",
        "folder.jpg": "a folder",
    }  # fmt: skip


def test_bad_files_are_named_with_the_reason_in_one_line(tmp_path):
    for name, reason in bad_files(tmp_path).items():
        for read in (read_photo, check_photo):
            with pytest.raises(BadPhoto, match=reason) as caught:
                read(tmp_path / name)
            assert isinstance(caught.value, InputError)
            assert name in str(caught.value) and "\n" not in str(caught.value)
            assert name not in caught.value.reason


def test_check_accepts_what_can_be_read(tmp_path):
    for kind in ("jpg", "png", "gif", "bmp", "webp", "tif"):
        scene().save(tmp_path / f"a.{kind}")
        check_photo(tmp_path / f"a.{kind}")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole + b"\0" * 500)  # a camera's own data after the end
    check_photo(tmp_path / "b.jpg")


def test_formats_that_start_programs_are_no_photos(tmp_path):
    scene().save(tmp_path / "a.eps")
    with pytest.raises(BadPhoto, match="not an image"):
        read_photo(tmp_path / "a.eps")


def test_data_check_starts_no_program_either(tmp_path, monkeypatch):
    """PostScript called .jpg: the report on a data set reads photos as everything else does."""
    (tmp_path / "p").mkdir()
    head = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "p/a.jpg").write_bytes(head)
    started = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **kwargs: started.append(args))
    ((name, reason),) = unreadable_images(read_dataset(tmp_path / "p"))
    assert name == "a.jpg" and "not an image" in reason and not started


def test_no_other_module_opens_images():
    root = Path(photos.__file__).parents[2]
    files = [p for package in ("vse", "scnlm", "experiments") for p in (root / package).rglob("*.py")]
    opening = [p.name for p in files if "Image.open(" in p.read_text(encoding="utf-8")]
    assert opening == ["photos.py"]


def test_a_line_of_pixels_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "wide.pgm").write_bytes(b"P5 199000000 1 255\n" + bytes(100))
    (tmp_path / "high.pgm").write_bytes(b"P5 1 65536 255\n" + bytes(65536))
    for name in ("wide.pgm", "high.pgm"):
        for read in (read_photo, check_photo):
            with pytest.raises(BadPhoto, match="a side may have 1 to 65,535"):
                read(tmp_path / name)


def test_heic_is_named_with_its_plugin(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))
    with pytest.raises(BadPhoto, match="HEIC.*pip install pillow-heif"):
        read_photo(tmp_path / "a.jpg")


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(BadPhoto, match="pipe"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [s for s in PHOTO_SUFFIXES if s not in HEIF_SUFFIXES])
def test_each_suffix_is_of_a_format_that_is_read(suffix):
    assert {"MPO": "JPEG"}.get(Image.registered_extensions()[suffix], Image.registered_extensions()[suffix]) in FORMATS


def test_crops_lie_where_their_names_say():
    photo = scene(100, 50)
    left_edge = {"full": 0, "tl": 0, "bl": 0, "tr": 20, "br": 20, "c": 10, "centre": 25}
    top_edge = {"full": 0, "tl": 0, "tr": 0, "bl": 10, "br": 10, "c": 5, "centre": 0}
    for view in left_edge:
        pixels = cut(photo, VIEWS[view], 50, "box", fraction=1.0)[0].astype(float)
        width, height = {"full": (100, 50), "centre": (50, 50)}.get(view, (80, 40))
        per_pixel = 255 / 99, 255 / 49
        expected_first = left_edge[view] + (width / 50 - 1) / 2, top_edge[view] + (height / 50 - 1) / 2
        assert abs(pixels[0, 0, 0] / per_pixel[0] - expected_first[0]) < 0.6, view
        assert abs(pixels[0, 0, 1] / per_pixel[1] - expected_first[1]) < 0.6, view
        assert abs((pixels[0, -1, 0] - pixels[0, 0, 0]) / per_pixel[0] - width * 49 / 50) < 0.9, view
        assert abs((pixels[-1, 0, 1] - pixels[0, 0, 1]) / per_pixel[1] - height * 49 / 50) < 0.9, view
        assert (cut(photo, VIEWS[f"{view}-flip"], 50, "box", fraction=1.0)[0] == pixels[:, ::-1]).all()


def test_flips_come_from_their_twins_unchanged():
    crops = [crop for view in VIEWS.values() for crop in view]
    together = cut(scene(), crops, 12)
    alone = np.concatenate([cut(scene(), [crop], 12) for crop in crops])
    assert (together == alone).all()


def test_ten_crops_are_the_standard_ones():
    """Against the textbook: short side to 256, five 224-crops, their mirror images."""
    photo = scene(512, 384)
    resized = photo.resize((round(512 * 256 / 384), 256), Image.Resampling.BICUBIC)
    w, h, s = *resized.size, 224
    corners = [(0, 0), (w - s, 0), (0, h - s), (w - s, h - s), ((w - s) // 2, (h - s) // 2)]
    five = [np.asarray(resized.crop((x, y, x + s, y + s)), int) for x, y in corners]
    expected = np.stack(five + [five_i[:, ::-1] for five_i in five])
    assert np.abs(cut(photo, VIEWS["ten"], s) - expected).max() <= 3
