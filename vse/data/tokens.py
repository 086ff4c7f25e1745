"""What a run's sentence encoder reads: words, or pieces of words, made from captions or read from its folder."""

from collections.abc import Sequence
from pathlib import Path

from vse.configs import TrainConfig
from vse.data.vocabulary import MERGES_HEADER, Tokens, Vocabulary
from vse.system.errors import InputError


def make_tokens(config: TrainConfig, captions: Sequence[str], merges: Path | None = None) -> Tokens:
    """The words of the captions, or the pieces that their words are made of, or those of OpenAI's file `merges`.

    Raises InputError for a file where words are asked for, and for one that holds no merges.
    """
    if config.model.text.tokens == "words":
        if merges:
            raise InputError(f"{merges}: merges are of text.tokens = 'bpe', not of 'words'; give the one or the other")
        return Vocabulary.from_captions(captions, config.min_count)
    from vse.data.bpe import BPE  # here: its libraries take a while to load

    return BPE.openai(merges) if merges else BPE.from_captions(captions, config.model.text.merges)


def load_tokens(path: Path) -> Tokens:
    """The vocabulary or the merges of a run folder, whichever the file holds. Raises InputError for neither."""
    try:
        with open(path, "rb") as file:
            merged = file.read(len(MERGES_HEADER)) == MERGES_HEADER.encode()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); restore the file or train again") from None
    if not merged:
        return Vocabulary.load(path)
    from vse.data.bpe import BPE

    return BPE.load(path)
