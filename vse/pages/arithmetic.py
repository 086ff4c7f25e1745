"""One HTML page of an arithmetic on images: the photo, the words, and what was found as pictures.

It draws what it is given; how it looks is layout.py's.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from vse.pages.layout import PhotoHits, photo_article, photo_row, write_page


def arithmetic_page(
    out: Path, photo: Path, minus: Sequence[str], plus: Sequence[str], hits: PhotoHits, about: str = ""
) -> Path:
    """`out`, written whole or not at all: `photo` - `minus` + `plus` and the photos found for it, best first."""
    signed = [("−", word) for word in minus] + [("+", word) for word in plus]
    sum_of = " ".join(f"{sign} “{word}”" for sign, word in signed)
    lines = "\n".join(f"<blockquote>{sign} “{escape(word)}”</blockquote>" for sign, word in signed)
    query = photo_article(photo, f"The photo that is asked about: {Path(photo).stem}", lines)
    found = ["<section>", "<h2>is near</h2>", f"<article>{photo_row(hits, f'the photo {sum_of}')}</article>"]
    intro = (
        "The point of the photo in the common space of images and sentences, moved along words, and the photos that "
        f"lie nearest to where it arrives, with their cosine. {about}"
    )
    return write_page(out, f"Photo {sum_of}", intro, [query, *found, "</section>"])
