"""The page of `scnlm caption --html`: photos with our five sentences and their scores, as the paper's own page does.

Draws what it is given, in the look of vse/pages/layout.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from scnlm.rerank.score import Candidate
from vse.pages.layout import photo_article, write_page


@dataclass(frozen=True)
class Described:
    """A photo, its captions best first, what people wrote about it, and the nearest training sentence, where known."""

    photo: Path
    captions: tuple[Candidate, ...]
    people: tuple[str, ...] = ()
    nearest: str | None = None


def caption_page(out: Path, shown: Sequence[Described], title: str = "Photos, described") -> Path:
    """`out`, written whole or not at all: an article a photo."""
    intro = (
        "Each photo is a point of one space with sentences. A language model that was trained on text alone turns the "
        "point into many candidates. The hundred best-scored vote; the five that overlap most with a sentence drawn "
        "from them are shown with their agreement with the others, their score and its parts: the cosine of sentence "
        "and photo, that of sentence and bag of concepts, the words that repeat, and log-probabilities in nats: the "
        "trigram's, the language model's given the structure, the structure's own."
    )
    return write_page(out, title, intro, [_article(one) for one in shown])


def _article(one: Described) -> str:
    items = "".join(f"<li>{escape(c.text)} {_parts(c)}</li>" for c in one.captions)
    below = [f"<ol>{items}</ol>"]
    if one.nearest:
        below.append(f'<p class="soft">Nearest training sentence: {escape(one.nearest)}</p>')
    if one.people:
        people = "".join(f"<li>{escape(text)}</li>" for text in one.people)
        below.append(f'<details class="soft" open><summary>What people wrote</summary><ul>{people}</ul></details>')
    return photo_article(one.photo, one.captions[0].text, "\n".join(below))


def _parts(c: Candidate) -> str:
    cosines = f"cosine {c.translation:.2f}, concepts {c.concepts:.2f}"
    nats = f"trigram {c.trigram:.1f}, decoder {c.decoder:.1f}, structure {c.log_share:.1f}"
    told = f"agreement {c.agreement:.2f}, score {c.score:.3f}: {cosines}, repeats {c.repeats}, {nats}"
    return f'<span class="soft">{told}</span>'
