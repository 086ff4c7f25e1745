"""Tag sentences, and the file that tags are kept in: a photo a line, `NAME<tab>tag, tag, ...` (ERNIE-ViL 2.0).

Tags are names of things, most certain first. Knows no tagger: a user's own detector may have written the file.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vse.data.caption_lists import read_text
from vse.data.vocabulary import tokenize
from vse.system.errors import InputError
from vse.system.files import write_bytes

PROMPT = "this picture contains"  # the source's: a fixed prompt, then the names of what a detector found
Tags = Mapping[str, Sequence[str]]  # photo -> its tags


def tag_sentence(tags: Sequence[str]) -> str:
    """The prompt and the tags after it."""
    return f"{PROMPT} {', '.join(tags)}"


def sentences_of(tags: Tags, images: Iterable[str]) -> list[str]:
    """The tag sentence of each image. Raises InputError for one that has no tags."""
    images = list(images)
    if missing := [image for image in images if not tags.get(image)]:
        raise InputError(
            f"{missing[0]}: has no tags, as {len(missing):,} of {len(images):,} photos; give each one or more"
        )
    return [tag_sentence(tags[image]) for image in images]


def read_tags(path: Path, images: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What a file tells of the photos of a data set. Raises InputError for a line that is none and an unknown photo."""
    known, tags = set(images), {}
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected lines NAME<tab>tag, tag (vse tags DATA makes them)")
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where, (image, tab, rest) = f"{path}, line {number}", line.partition("\t")
        named = tuple(tag.strip() for tag in rest.split(",") if tag.strip())
        if not tab:
            raise InputError(f"{where}: {line[:80]!r}: expected NAME<tab>tag, tag")
        if image not in known:
            raise InputError(f"{where}: {image[:80]!r} is no photo of the data set; leave the line out")
        if image in tags:
            raise InputError(f"{where}: {image} comes twice; expected one line a photo")
        if not named:
            raise InputError(f"{where}: {image} has no tags; give one or more")
        if wordless := [tag for tag in named if not tokenize(tag)]:
            raise InputError(f"{where}: tag {wordless[0][:80]!r} has no word in it; leave it out")
        tags[image] = named
    if not tags:
        raise InputError(f"{path}: empty; expected lines NAME<tab>tag, tag")
    return tags


def write_tags(path: Path, tags: Tags) -> None:
    """The file that `read_tags` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, "".join(f"{image}\t{', '.join(names)}\n" for image, names in tags.items()).encode())
