"""The command line `scnlm`: each subcommand calls one function of the package; a user's mistake is one line."""

import sys

try:
    import dataclasses
    import math
    import re
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Annotated, Literal

    from tyro.conf import Positional, arg

    from scnlm import __version__
    from scnlm.commands.git import ask, train_git
    from scnlm.configs import CaptionConfig, LMTrainConfig
    from vse.system.arguments import Between
    from vse.system.command_line import CNNs, Count, Data, Device, Images, Seed, run, table
    from vse.system.errors import InputError
except KeyboardInterrupt:  # the program is only starting: nobody wants to see where
    print("scnlm: interrupted", file=sys.stderr)
    sys.exit(130)

_WORD = re.compile(r"[^ \t\r\0]+")  # as lmplz splits a line; str.split knows more kinds of space


def trigram(
    data: Annotated[Positional[str], arg(metavar="DATA", help="tokenised text, a sentence a line; or any data set")],
    /,
    out: Path,
    order: Count = 3,
    prune: Annotated[list[int], Between(0)] = [0],  # noqa: B006  tyro reads it, nothing changes it
    discount_fallback: Annotated[list[float] | None, arg(metavar="[D1 [D2 [D3+]]]")] = None,
    skip_symbols: bool = False,
    images: Images = None,
) -> None:
    """Estimates a Kneser-Ney language model, as KenLM's lmplz does: of a text, or of a data set's training captions.

    Args:
        out: the ARPA file.
        order: words an n-gram.
        prune: for each order, drop n-grams that occur so often or less; 0 0 1 drops trigrams seen once.
        discount_fallback: take fixed discounts (without values 0.5 1 1.5) where the text is too small to have its own.
        skip_symbols: leave the words <s>, </s> and <unk> out of the text instead of stopping.
    """
    from scnlm.rerank.trigram import estimate

    sentences, where = _read(data, images)
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
    from scnlm.rerank.trigram import Trigram

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


def train(
    data: Data,
    /,
    encoder: Path,
    out: Path,
    config: Annotated[LMTrainConfig, arg(name="")] = LMTrainConfig(),  # noqa: B008  frozen
    extra_text: str | None = None,
    seed: Seed = 0,
    resume: bool = False,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Trains a language model on a data set's captions; the best epoch on dev is kept.

    Args:
        encoder: run folder of the encoder that embeds the captions.
        out: run folder, empty or new.
        extra_text: a data set whose captions are trained on too; photos of DATA's dev and test splits are left out of
            it by photo id.
        resume: go on with the same command after a kill.
    """
    from scnlm.train import train
    from vse.data.datasets import read_dataset, read_extra_text
    from vse.data.part_of_speech import tag_cache
    from vse.runs.checkpoint import load
    from vse.system.device import find_device

    dataset = read_dataset(data, images)
    more = read_extra_text(extra_text, dataset)
    model = load(encoder, str(find_device(device)))
    nats = train(
        config, dataset, model, out,
        tag_cache=tag_cache(data), extra_text=more, seed=seed, resume=resume, device=device,
    )  # fmt: skip
    print(f"{out}: {nats:.4f} nats a word on dev, perplexity {math.exp(nats):.2f}; next: scnlm assemble")


def assemble(
    data: Data,
    /,
    features: list[Path],
    encoder: Path,
    decoder: Path,
    trigram: Path,
    out: Path,
    fusion: Path | None = None,
    git: Path | None = None,
    dev_images: Count = 300,
    config: Annotated[CaptionConfig, arg(name="")] = CaptionConfig(),  # noqa: B008  frozen
    seed: Seed = 0,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Makes a caption set of trained parts and tunes the weights of its score on dev by CIDEr.

    Args:
        features: the feature folders that the encoder was trained on, for the dev images.
        encoder: run folder of `vse train`.
        decoder: run folder of `scnlm train`.
        trigram: ARPA file of `scnlm trigram`.
        out: the set's folder, empty or new.
        fusion: run folder of `vse train-fusion` beside the encoder: its logit becomes a part of the score.
        git: run folder of `scnlm train-git` on the encoder's features: it writes candidates, its log P becomes a part
            of the score.
        dev_images: how many dev images the weights are tuned on.
    """
    from scnlm.captions.assemble import assemble
    from vse.data.datasets import read_dataset
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped
    from vse.runs.checkpoint import load
    from vse.system.device import find_device

    opened = open_combined(features, load(encoder).feature_info)
    tuned = assemble(
        without_skipped(read_dataset(data, images), opened), opened, encoder, decoder, trigram, out,
        reader=fusion, git=git, images=dev_images, config=config, seed=seed, device=str(find_device(device)),
    )  # fmt: skip
    values = dataclasses.asdict(tuned.weights)
    print(table([["weight", "value"], *([name, f"{value:g}"] for name, value in values.items())]))
    print(f"{out}: {tuned.summary()}; next: scnlm caption {out} photo.jpg")


def caption(
    photos: Annotated[Positional[list[Path]], arg(metavar="[SET] PHOTO...")],
    /,
    config: Annotated[CaptionConfig, arg(name="")] = CaptionConfig(),  # noqa: B008  frozen
    decoder: Literal["auto", "scnlm", "git", "both"] = "auto",
    json: bool = False,
    html: Path | None = None,
    data: str | None = None,
    cnn: CNNs = [],  # noqa: B006  tyro reads it, nothing changes it
    seed: Seed = 0,
    device: Device = "auto",
) -> int:
    """Describes photos in sentences, best first; SET is a caption set, or a run of `scnlm train-git` (default: the set
    that ships).

    PHOTO is a photo or a folder of photos.

    Before each sentence stand its agreement with the other best ones and its score. The best is the one that overlaps
    most with a sentence drawn from the best-scored, itself included.

    Args:
        decoder: who writes the candidates, of a set that has a GIT (default: as the set was tuned).
        json: one JSON object a photo, with every part of every score.
        html: also write a page with the photos.
        data: the data set the photos are from: the page then shows what people wrote and the nearest training sentence.
    """
    from scnlm.captions.describe import describe

    config = dataclasses.replace(config, writes=decoder)
    return describe(photos, config, as_json=json, html=html, data=data, cnns=cnn, seed=seed, device=device)


COMMANDS: dict[str, Callable[..., int | None]] = {
    f.__name__.replace("_", "-"): f for f in (train, trigram, score, assemble, train_git, caption, ask)
}


def _read(data: str, images: Path | None = None) -> tuple[list[list[str]], str]:
    """Tokenised sentences, and what an error calls the i-th: lines of a text, or training captions of a data set."""
    from vse.data.caption_lists import is_caption_list
    from vse.data.datasets import read_dataset
    from vse.data.vocabulary import tokenize

    path = Path(data)
    if path.is_file() and path.suffix.lower() not in (".json", ".csv", ".tsv") and not is_caption_list(path):
        if images:
            raise InputError(f"--images {images}: {path} is a text, which has no photos; leave it out")
        return _read_sentences(path), f"{path}, line"
    captions = read_dataset(data, images).split("train").captions
    return [tokens for tokens in map(tokenize, captions) if tokens], f"{data}, caption"


def _read_sentences(path: Path) -> list[list[str]]:
    """The words of each line of a UTF-8 text."""
    from vse.data.caption_lists import read_text

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a text with one tokenised sentence a line")
    lines = read_text(path).split("\n")
    return [_WORD.findall(line) for line in (lines if lines[-1] else lines[:-1])]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 for a user's mistake (said in one line), 130 when interrupted."""
    return run("scnlm", COMMANDS, sys.argv[1:] if argv is None else argv, __version__)


if __name__ == "__main__":
    sys.exit(main())
