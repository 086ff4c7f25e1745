"""One HTML page of an arithmetic on images: the photo, the words, and what was found as pictures."""

from collections.abc import Sequence
from pathlib import Path

from vse.pages.layout import PhotoHits, write_html


def arithmetic_page(
    out: Path, photo: Path, minus: Sequence[str], plus: Sequence[str], hits: PhotoHits, about: str = ""
) -> Path:
    """`out`, written whole or not at all: `photo` - `minus` + `plus` and the photos found for it, best first."""
    words = [f"− “{word}”" for word in minus] + [f"+ “{word}”" for word in plus]
    intro = (
        "The point of the photo in the common space of images and sentences, moved along words, and the photos that "
        f"lie nearest to where it arrives, with their cosine. {about}"
    )
    title = f"Photo {' '.join(words)}"
    return write_html(out, "near_photo.html", title=title, intro=intro, photo=photo, words=words, hits=hits)
