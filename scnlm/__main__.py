"""The command line `scnlm`: each subcommand calls one function of the package; a user's mistake is one line."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from scnlm import __version__
from vse.command_line import run, table
from vse.errors import InputError

_WORD = re.compile(r"[^ \t\r\0]+")  # as lmplz splits a line; str.split knows more kinds of space


def trigram(
    data: Annotated[Positional[str], arg(metavar="DATA", help="tokenised text, a sentence a line; or any data set")],
    /,
    out: Path,
    order: int = 3,
    prune: list[int] = [0],  # noqa: B006  tyro reads it, nothing changes it
    discount_fallback: Annotated[list[float] | None, arg(metavar="[D1 [D2 [D3+]]]")] = None,
    skip_symbols: bool = False,
) -> None:
    """Estimates a Kneser-Ney language model, as KenLM's lmplz does: of a text, or of a data set's training captions.

    Args:
        out: the ARPA file.
        order: words an n-gram.
        prune: for each order, drop n-grams that occur so often or less; 0 0 1 drops trigrams seen once.
        discount_fallback: take fixed discounts (without values 0.5 1 1.5) where the text is too small to have its own.
        skip_symbols: leave the words <s>, </s> and <unk> out of the text instead of stopping.
    """
    from scnlm.trigram import estimate

    sentences, where = _read(data)
    model = estimate(sentences, order, prune, discount_fallback, skip_symbols=skip_symbols, where=where)
    model.write_arpa(out)
    rows = [["order", "n-grams", "D1", "D2", "D3+"]]
    for k, (ngrams, discounts) in enumerate(zip(model.ngrams, model.discounts, strict=True), 1):
        fixed = " (fallback)" if k in model.fell_back else ""
        rows.append([f"{k}{fixed}", str(len(ngrams.ids)), *(f"{d:.4f}" for d in discounts)])
    print(table(rows))
    print(f"{out}: order {order} from {len(sentences)} sentences; next: scnlm score {out} TEXTFILE")


def score(
    arpa: Annotated[Positional[Path], arg(metavar="FILE.arpa")],
    text: Annotated[Positional[Path], arg(metavar="TEXTFILE", help="tokenised text, a sentence a line")],
    /,
) -> None:
    """Prints log-probability (nats, end of sentence included) and perplexity a word of each line, and of all."""
    from scnlm.trigram import Trigram

    model = Trigram(arpa, order=None)
    sentences = _read_sentences(text)
    scores = model.score(sentences)
    for sentence, nats in zip(sentences, scores.tolist(), strict=True):
        print(f"{nats:.4f}\t{model.perplexity([sentence]):.2f}\t{' '.join(sentence)}")
    words = sum(map(len, sentences))
    unknown = sum(word not in model for sentence in sentences for word in sentence)
    print(
        f"total {scores.sum():.4f} nats, perplexity {model.perplexity(sentences):.2f}; "
        f"{len(sentences)} sentences, {words} words, {unknown} of them unknown"
    )


COMMANDS: dict[str, Callable[..., None]] = {f.__name__: f for f in (trigram, score)}


def _read(data: str) -> tuple[list[list[str]], str]:
    """Tokenised sentences, and what an error calls the i-th: lines of a text, or training captions of a data set."""
    from vse.dataset_formats import TOKEN_FILE
    from vse.datasets import read_dataset
    from vse.vocabulary import tokenize

    path = Path(data)
    listed = path.suffix.lower() in (".json", ".csv") or path.name == TOKEN_FILE
    if path.is_file() and not listed and not _has_caption_header(path):
        return _read_sentences(path), f"{path}, line"
    captions = read_dataset(data).split("train").captions
    return [tokens for tokens in map(tokenize, captions) if tokens], f"{data}, caption"


def _has_caption_header(path: Path) -> bool:
    """True for a table of captions that is called .txt: its first line names the columns image and caption."""
    with open(path, "rb") as file:
        names = file.readline(1000).decode("utf-8-sig", "replace").split(",")
    return {"image", "caption"} <= {name.strip(' "\r\n').lower() for name in names}


def _read_sentences(path: Path) -> list[list[str]]:
    """The words of each line of a UTF-8 text."""
    from vse.dataset_formats import read_text

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a text with one tokenised sentence a line")
    lines = read_text(path).split("\n")
    return [_WORD.findall(line) for line in (lines if lines[-1] else lines[:-1])]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 for a user's mistake (said in one line), 130 when interrupted."""
    return run("scnlm", COMMANDS, sys.argv[1:] if argv is None else argv, __version__)


if __name__ == "__main__":
    sys.exit(main())
