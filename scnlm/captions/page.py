"""The page of `scnlm caption --html`: photos with our five sentences and their scores, as the paper's own page does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scnlm.rerank.score import Candidate
from vse.pages.layout import write_html


@dataclass(frozen=True)
class Described:
    """A photo, its captions best first, what people wrote about it, and the nearest training sentence, where known."""

    photo: Path
    captions: tuple[Candidate, ...]
    people: tuple[str, ...] = ()
    nearest: str | None = None


def caption_page(out: Path, shown: Sequence[Described]) -> Path:
    """`out`, written whole or not at all: one article per photo."""
    return write_html(out, "captions.html", package="scnlm.captions", shown=shown)
