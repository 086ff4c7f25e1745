"""vse.pages: well-formed, complete in itself, true to what it was given, and written whole or not at all."""

import base64
import io
import os
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from vse.pages.arithmetic import arithmetic_page
from vse.pages.layout import THUMBNAIL_PX
from vse.pages.retrieval import retrieval_page
from vse.system.errors import InputError

VOID = {"meta", "img", "br", "link", "hr", "input"}
NASTY = "<script>alert('x')</script> & \"quotes\" {{ title }} {% raw %} café"


class Reader(HTMLParser):
    """Checks that every element is closed in order; keeps elements and the text in each kind of element."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        return [data for name, data in self.texts if name == tag]


@pytest.fixture
def photos(tmp_path):
    paths = []
    for i, size in enumerate([(1000, 500), (90, 120), (640, 640)]):
        paths.append(tmp_path / f"photo {i} <b>.jpg")
        Image.new("RGB", size, (200, 40 * i, 30)).save(paths[-1])
    return paths


def write(out, photos, **changes):
    a, b, c = photos
    given = {
        "title": "What the model finds",
        "intro": "What this is.",
        "table": [["recipe", "R@1", "Med r"], ["paper", "20.1", "7"], ["best", "40.2", "2"]],
        "text_queries": [("a red car", [(a, 0.91, True), (b, 0.5, False)]), ("snow", [(c, -0.123, False)])],
        "image_queries": [(b, ["a dog runs", "a brown dog"], [("a dog", 0.7, True), ("a cat", 0.6, False)])],
    }
    assert retrieval_page(out, **(given | changes)) == out
    return Reader(out.read_text(encoding="utf-8"))


def test_the_page_says_what_it_was_given(tmp_path, photos):
    page = write(tmp_path / "new" / "page.html", photos)
    assert page.text("title") == page.text("h1") == ["What the model finds"]
    assert page.text("p")[0] == "What this is."
    assert page.text("th") == ["recipe", "R@1", "Med r", "paper", "best"]
    assert page.text("td") == ["20.1", "7", "40.2", "2"]
    assert [th["scope"] for th in page.all("th")] == ["col"] * 3 + ["row"] * 2
    assert page.text("h2") == ["From words to photos", "From photos to words"]
    assert page.text("blockquote") == ["“a red car”", "“snow”"]
    assert page.text("li") == ["a dog", "a cat", "a dog runs", "a brown dog"]
    assert [t for t in page.text("span") if re.fullmatch(r"-?\d\.\d\d", t)] == [
        "0.91", "0.50", "-0.12", "0.70", "0.60",
    ]  # fmt: skip


def test_right_answers_and_only_they_are_marked(tmp_path, photos):
    page = write(tmp_path / "page.html", photos)
    assert [f.get("class") for f in page.all("figure")] == ["right", None, None, None]
    assert [li.get("class") for li in page.all("li")] == ["right", None, None, None]
    assert page.text("span").count("✓ right") == 2  # in words too, for those who see no green


def test_nothing_is_marked_where_nobody_knows(tmp_path, photos):
    asked = [("x", [(photos[0], 0.5, None)])]
    page = write(tmp_path / "p.html", photos, text_queries=asked, image_queries=())
    assert "right" not in (tmp_path / "p.html").read_text().split("</style>")[1]
    assert len(page.all("img")) == 1


def test_it_is_complete_in_itself(tmp_path, photos):
    page = write(tmp_path / "page.html", photos)
    text = (tmp_path / "page.html").read_text()
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert not page.all("script") and not page.all("link")
    assert all(img["src"].startswith("data:image/jpeg;base64,") for img in page.all("img"))
    assert "prefers-color-scheme: dark" in text and page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")


def test_thumbnails_are_the_photos_made_small(tmp_path, photos):
    page = write(tmp_path / "page.html", photos)
    sizes = []
    for img in page.all("img"):
        jpeg = Image.open(io.BytesIO(base64.b64decode(img["src"].split(",")[1])))
        assert (jpeg.width, jpeg.height) == (int(img["width"]), int(img["height"]))
        sizes.append(jpeg.size)
    # The wide one is scaled to fit, the small one is left alone.
    assert sizes == [(THUMBNAIL_PX, THUMBNAIL_PX // 2), (90, 120), (THUMBNAIL_PX, THUMBNAIL_PX), (90, 120)]
    alts = [img["alt"] for img in page.all("img")]
    assert alts[0] == "Result 1 for “a red car”: photo 0 <b>" and alts[3] == "a dog runs"


def test_a_turned_photo_stands_upright(tmp_path, photos):
    turned = Image.new("RGB", (100, 50), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    asked = [(tmp_path / "turned.jpg", [], [])]
    page = write(tmp_path / "page.html", photos, image_queries=asked, text_queries=())
    assert [(img["width"], img["height"]) for img in page.all("img")] == [("50", "100")]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1"])
def test_photos_of_every_kind_are_drawn(tmp_path, photos, mode):
    odd = tmp_path / ("odd.tif" if mode == "CMYK" else "odd.png")
    Image.new(mode, (40, 30)).save(odd)
    page = write(tmp_path / "page.html", photos, image_queries=[(odd, [], [])], text_queries=())
    assert len(page.all("img")) == 1


def test_a_photo_that_cannot_be_read_leaves_a_note(tmp_path, photos):
    cut, absent = tmp_path / "cut & <gone>.jpg", tmp_path / "absent.jpg"
    cut.write_bytes(photos[0].read_bytes()[:700])
    hits = [(cut, 0.1, False), (absent, 0.0, True)]
    page = write(tmp_path / "page.html", photos, text_queries=[("x", hits)])
    assert [t for t in page.text("div") if "cannot be read" in t] == [
        "cut & <gone>.jpg cannot be read",
        "absent.jpg cannot be read",
    ]


def test_text_stays_text(tmp_path, photos):
    page = write(
        tmp_path / "page.html",
        photos,
        title=NASTY,
        intro=NASTY,
        table=[[NASTY, "{}"], [NASTY, NASTY]],
        text_queries=[(NASTY, [(photos[0], 0.5, True)])],
        image_queries=[(photos[1], [NASTY], [(NASTY, 0.5, False)])],
    )
    assert not page.all("script") and not page.all("b")
    assert page.text("h1") == page.text("title") == page.text("td") == [NASTY]
    assert page.text("th") == [NASTY, "{}", NASTY] and page.text("li") == [NASTY, NASTY]
    assert page.all("img")[1]["alt"] == NASTY


def test_a_file_name_is_no_markup(tmp_path):
    """Also not at the end of an attribute, where a quote would be enough."""
    read, broken = tmp_path / '<b>&".jpg', tmp_path / '<i>&".jpg'
    Image.new("RGB", (40, 30)).save(read)
    broken.touch()
    hits = [(read, 0.5, None), (broken, 0.4, None)]
    page = Reader(arithmetic_page(tmp_path / "page.html", read, ['<u>"'], ["red"], hits).read_text())
    assert not page.all("b") and not page.all("i") and not page.all("u")
    assert [img["alt"] for img in page.all("img")] == [
        'The photo that is asked about: <b>&"', 'Result 1 for the photo − “<u>"” + “red”: <b>&"',
    ]  # fmt: skip
    assert page.text("title") == page.text("h1") == ['Photo − “<u>"” + “red”']
    assert '<i>&".jpg cannot be read' in page.text("div")


def test_empty_parts_are_left_out(tmp_path, photos):
    page = write(tmp_path / "p.html", photos, table=(), text_queries=(), image_queries=())
    assert not page.all("table") and not page.all("section") and page.text("p") == ["What this is."]


def test_a_failed_write_leaves_the_old_page(tmp_path, photos, monkeypatch):
    out = tmp_path / "out" / "page.html"
    write(out, photos)
    before = out.read_bytes()

    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(InputError, match="No space"):
        write(out, photos, title="another")
    assert out.read_bytes() == before and [p.name for p in out.parent.iterdir()] == ["page.html"]
