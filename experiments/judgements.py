"""People's judgements of captions of Flickr8K test photos: the files read and checked, Kendall's tau with a score.

Experts rated captions from 1 to 4 (ExpertAnnotations.txt: a column an expert); a crowd said whether a caption describes
the photo (CrowdFlowerAnnotations.txt: the share of yes, how many yes and no). Scores nothing itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.stats import kendalltau

from vse.data.datasets import Dataset
from vse.data.formats import TOKEN_FILE, read_text
from vse.system.errors import InputError

EXPERT, CROWD = "ExpertAnnotations.txt", "CrowdFlowerAnnotations.txt"


@dataclass(frozen=True, eq=False)
class Judgements:
    """People's ratings of pairs of a photo and a caption."""

    photos: tuple[str, ...]  # of each pair, the image's name
    captions: tuple[str, ...]  # of each pair, the caption's id: NAME.jpg#0
    ratings: Float64[np.ndarray, "pairs raters"]

    @property
    def of_own_photo(self) -> Bool[np.ndarray, " pairs"]:
        """Whether the caption was written for this very photo."""
        pairs = zip(self.photos, self.captions, strict=True)
        return np.array([photo == caption.rpartition("#")[0] for photo, caption in pairs], bool)

    def select(self, mask: Bool[np.ndarray, " pairs"]) -> "Judgements":
        """Only these pairs."""
        rows = np.flatnonzero(mask)
        photos, captions = (tuple(values[i] for i in rows) for values in (self.photos, self.captions))
        return Judgements(photos, captions, self.ratings[mask])

    def tau(self, scores: Float[np.ndarray, " pairs"], variant: str) -> float:
        """Kendall's tau (variant b or c), times 100, of a score of each pair; each rating is a judgement."""
        judged = np.repeat(np.asarray(scores, np.float64), self.ratings.shape[1])
        return 100 * float(kendalltau(judged, self.ratings.ravel(), variant=variant).statistic)


def read_captions(path: Path) -> dict[str, str]:
    """The text of each caption id of Flickr8k.token.txt."""
    lines = (line.partition("\t") for line in read_text(path).split("\n") if line.strip())
    return {caption_id.strip(): text.strip() for caption_id, _, text in lines}


def read_judgements(path: Path, captions: dict[str, str]) -> Judgements:
    """All judgements of ExpertAnnotations.txt (a column a rating) or CrowdFlowerAnnotations.txt (the share of yes).

    Raises InputError for ids that `captions` does not have, numbers that are no judgements, and pairs judged twice.
    """
    crowd = path.name == CROWD
    known = {caption_id.rpartition("#")[0] for caption_id in captions}
    ratings: dict[tuple[str, str], list[float]] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        photo, *rest = line.strip().split("\t")
        if len(rest) != 4:
            raise InputError(f"{where}: {1 + len(rest)} columns; expected photo, caption and 3 numbers")
        if photo not in known:
            raise InputError(f"{where}: unknown photo {photo!r}; expected one of the {len(known)} in {TOKEN_FILE}")
        if rest[0] not in captions:
            raise InputError(f"{where}: unknown caption {rest[0]!r}; expected an id of {TOKEN_FILE}, NAME.jpg#0")
        if (photo, rest[0]) in ratings:
            raise InputError(f"{where}: {photo} and {rest[0]} are judged twice; keep one line of the two")
        ratings[photo, rest[0]] = _ratings(rest[1:], crowd, where)
    photos, judged = zip(*ratings, strict=True)
    return Judgements(photos, judged, np.array(list(ratings.values()), np.float64))


def _ratings(fields: list[str], crowd: bool, where: str) -> list[float]:
    """The numbers of a line that are judgements."""
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        raise InputError(f"{where}: {' '.join(fields)!r}; expected three numbers") from None
    share, yes, no = numbers
    if crowd and not (min(yes, no) >= 0 < yes + no and abs(share - yes / (yes + no)) < 1e-5):
        raise InputError(f"{where}: {' '.join(fields)!r}; expected the share of yes, then how many yes and no")
    if not crowd and not set(numbers) <= {1, 2, 3, 4}:
        raise InputError(f"{where}: {' '.join(fields)!r}; expected three ratings from 1 to 4")
    return [share] if crowd else numbers


def check_photos(judgements: Judgements, dataset: Dataset) -> dict[str, int]:
    """How many of the photos that are judged, or whose captions are, are in each split.

    Raises InputError if one is not in test: then models have been trained or chosen by it.
    """
    split_of = dict(zip(dataset.images, dataset.split_of_image, strict=True))
    named = {*judgements.photos, *(caption.rpartition("#")[0] for caption in judgements.captions)}
    splits = {photo: split_of.get(photo, "none") or "none" for photo in sorted(named)}
    wrong = [photo for photo, split in splits.items() if split != "test"]
    if wrong:
        first = f"{wrong[0]} is judged, but in split {splits[wrong[0]]}; expected test"
        raise InputError(f"{first} ({len(wrong)} such photos): models may be trained by them, take the official lists")
    return {split: list(splits.values()).count(split) for split in ("train", "dev", "test")}


class Judged:
    """Both lists of judgements, and the photos and captions that they and the references are made of."""

    def __init__(self, dataset: Dataset, texts: Path):
        """Raises InputError for files that do not fit the data set, or judge photos that are not in its test split."""
        captions = read_captions(texts / TOKEN_FILE)
        read = {"expert": read_judgements(texts / EXPERT, captions), "crowd": read_judgements(texts / CROWD, captions)}
        self.photos_in = {name: check_photos(judgements, dataset) for name, judgements in read.items()}
        self.lists = {"expert": read["expert"].select(~read["expert"].of_own_photo), "crowd": read["crowd"]}
        self.photos = list(dataset.split("test").images)
        own_photos = set(self.photos)
        self.caption_ids = [i for i in captions if i.rpartition("#")[0] in own_photos]
        self.texts = [captions[i] for i in self.caption_ids]
        self._photo = {photo: i for i, photo in enumerate(self.photos)}
        self._caption = {caption_id: i for i, caption_id in enumerate(self.caption_ids)}

    def pairs(self, name: str) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
        """Which photo and which caption the pairs of a list are."""
        judgements = self.lists[name]
        return np.array([self._photo[p] for p in judgements.photos]), np.array(
            [self._caption[c] for c in judgements.captions]
        )

    def references(self, name: str) -> list[list[int]]:
        """Of each pair of a list, the photo's captions whose text is not judged with that photo."""
        of_photo: dict[int, list[int]] = {}
        for caption, caption_id in enumerate(self.caption_ids):
            of_photo.setdefault(self._photo[caption_id.rpartition("#")[0]], []).append(caption)
        judged = {(photo, self.texts[caption]) for photo, caption in zip(*self.pairs(name), strict=True)}
        references = {p: [c for c in captions if (p, self.texts[c]) not in judged] for p, captions in of_photo.items()}
        return [references[photo] for photo in self.pairs(name)[0].tolist()]

    def counts(self) -> dict[str, int]:
        """How many judgements each figure of `agreement` is of."""
        crowd = self.lists["crowd"]
        others = int((~crowd.of_own_photo).sum())
        return {"expert": self.lists["expert"].ratings.size, "crowd": crowd.ratings.size, "crowd_others": others}

    def agreement(self, scores: dict[str, np.ndarray]) -> dict[str, float]:
        """`expert`, `crowd` and `crowd_others`, from a score of each pair of both lists."""
        crowd = self.lists["crowd"]
        others = ~crowd.of_own_photo
        return {
            "expert": self.lists["expert"].tau(scores["expert"], "c"),
            "crowd": crowd.tau(scores["crowd"], "b"),
            "crowd_others": crowd.select(others).tau(scores["crowd"][others], "b"),
        }
