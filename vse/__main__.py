"""The command line `vse`: each subcommand calls one function of the package; a user's mistake is one line.

The options of `train` are made from the dataclasses of its config; the recipe gives their defaults.
"""

import sys

try:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Annotated, Literal

    from tyro.conf import Positional, arg

    from vse import __version__
    from vse.commands.regularities import arithmetic, pca
    from vse.commands.search import search
    from vse.configs import TrainConfig
    from vse.recipes import RECIPES
    from vse.system.command_line import (
        Count,
        Data,
        Device,
        Images,
        Run,
        Seed,
        is_first_process,
        read_extra_text,
        run,
        table,
    )
    from vse.system.errors import InputError
    from vse.system.settings import Precision
except KeyboardInterrupt:  # the program is only starting: nobody wants to see where
    print("vse: interrupted", file=sys.stderr)
    sys.exit(130)

FeatureFolders = Annotated[list[Path], arg(help="one or more feature folders or .npy files, side by side")]


def data(data: Data, /, images: Images = None, check: bool = False) -> None:
    """Prints what was found: images, captions, splits, vocabulary, missing files.

    Args:
        check: open every photo and name the unreadable ones.
    """
    from vse.data.datasets import read_dataset
    from vse.data.report import describe

    print(describe(read_dataset(data, images), check_images=check))


def download(name: Positional[str], out: Positional[Path], /, mirror: str | None = None) -> None:
    """Fetches flickr8k or flickr30k-captions into a folder.

    Args:
        mirror: another base URL with the same file names.
    """
    from vse.data.download import download

    print(download(name, out, mirror=mirror))


def scenes(out: Positional[Path], /, seed: Seed = 0, count: Count = 1000) -> None:
    """Writes the embedded data set of rendered scenes into a folder."""
    from vse.scenes.scenes import make_scenes

    print(make_scenes(out, seed=seed, count=count))


def features(
    data: Data,
    /,
    out: Path,
    encoder: str = "efficientnet-lite2",
    views: list[str] = ["full"],  # noqa: B006  tyro reads it, nothing changes it
    grid: str = "1",
    precision: Precision = "auto",
    weights: str | None = None,
    batch_size: Count = 32,
    device: Device = "auto",
    skip_bad: bool = False,
    images: Images = None,
) -> None:
    """Extracts the features of a frozen CNN, one row a photo.

    Args:
        out: folder for features.npy, names.txt and features.json.
        encoder: efficientnet-lite0, -lite1, -lite2, vgg19, alexnet, resnet152 or timm:MODEL.
        views: crops to store: full, full-flip, centre, ten (their mean), tl tr bl br c and their -flip.
        grid: 1 for the mean of the feature map, N for N x N regions, map for all of it.
        precision: auto takes bfloat16 where the machine has units for it (twice as fast, cosine 0.994 to float32).
        weights: a weights file, or random.
        skip_bad: leave unreadable photos out instead of stopping.
    """
    from vse.data.datasets import read_dataset
    from vse.features.build import extract_features

    dataset = read_dataset(data, images)
    paths = [dataset.path(i) for i in range(len(dataset.images))]
    made = extract_features(
        paths, dataset.images, encoder, out, views=views, grid=int(grid) if grid.isdigit() else grid,
        batch_size=batch_size, skip_bad=skip_bad, device=device, precision=precision, weights=weights,
    )  # fmt: skip
    print(f"{out}: {made.describe()}")


def train_command(recipe: str):
    """The subcommand `train` with a recipe's settings as the defaults of its options."""
    defaults = RECIPES.get(recipe, RECIPES["paper"])()  # a wrong name is refused by its option

    def train(
        data: Data,
        /,
        features: FeatureFolders,
        out: Path,
        config: Annotated[TrainConfig, arg(name="")] = defaults,
        recipe: Literal["paper", "linear", "best"] = "paper",
        seed: Seed = 0,
        word_vectors: Path | None = None,
        extra_text: str | None = None,
        teachers: list[Path] = [],  # noqa: B006  tyro reads it, nothing changes it
        resume: bool = False,
        device: Device = "auto",
        images: Images = None,
    ) -> None:
        """Trains an embedding; the best epoch on dev is kept.

        Args:
            out: run folder, empty or new.
            recipe: named settings; every option below changes one of them.
            word_vectors: word2vec (.bin, .txt) or GloVe file that the word vectors start from.
            extra_text: a data set whose captions alone are used (see --extra-pairs); photos of DATA's dev and test
                splits are left out of it by photo id.
            teachers: trained runs on the same features, whose mean score is distilled (see --loss.distill).
            resume: go on with the same command after a kill. Several processes: start it through torchrun.
        """
        from vse.data.datasets import read_dataset
        from vse.evaluate import HEADER
        from vse.features.build import open_combined, without_skipped
        from vse.runs.checkpoint import load
        from vse.train import train

        opened = open_combined(features)
        dataset = without_skipped(read_dataset(data, images), opened)
        row = train(
            config, dataset, opened, out,
            seed=seed, word_vectors=word_vectors, extra_text=read_extra_text(extra_text, dataset),
            teachers=[(load(run), opened) for run in teachers], resume=resume, device=device,
        )  # fmt: skip
        if is_first_process():
            print(table([list(HEADER), ["dev, best epoch", *row.cells()]]))
            print(f"{out}: done; next: vse evaluate {out} {data} --features {' '.join(map(str, features))}")

    return train


def evaluate(
    run: Annotated[Positional[list[Path]], arg(metavar="RUN... DATA")],
    /,
    features: FeatureFolders,
    split: str = "test",
    json: Path | None = None,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Prints the table row of a run, or of the ensemble of several runs: RUN [RUN ...] DATA.

    Args:
        split: train, dev or test.
        json: also write the row there.
    """
    from vse.data.datasets import read_dataset
    from vse.evaluate import HEADER, evaluate
    from vse.features.build import open_combined, without_skipped
    from vse.runs.checkpoint import load, read_config, write_json
    from vse.system.device import find_device

    if len(run) < 2:
        raise InputError(f"{run[0] if run else 'nothing'}: expected RUN [RUN ...] DATA")
    *runs, data = run
    dataset = read_dataset(str(data), images)
    models = [load(r, str(find_device(device))) for r in runs]
    opened = [open_combined(features, model.feature_info) for model in models]
    dataset = without_skipped(dataset, opened[0])  # all are of the same folders
    row = evaluate(models, dataset.split(split), opened)
    for r in runs:
        trained_on, now = (read_config(r).get(key) for key in ("data_fingerprint", "data"))
        if now == dataset.name and trained_on != dataset.fingerprint():
            print(f"note: {r} was trained on another version of {now} than {data}", file=sys.stderr)
    print(table([list(HEADER), [f"{dataset.name} {split}", *row.cells()]]))
    low, high = row.interval
    print(f"rsum 95 % interval {low:.1f} to {high:.1f}; {row.images} images, {row.captions} captions")
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        write_json(json, {"runs": [r.name for r in runs], "data": dataset.name, "split": split, **row.as_dict()})


def page(
    run: Run,
    data: Data,
    /,
    features: FeatureFolders,
    out: Path,
    split: str = "test",
    queries: Count = 12,
    seed: Seed = 0,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Writes an HTML page of retrieved photos and captions.

    Args:
        out: the .html file.
        queries: how many of each kind, drawn with --seed.
    """
    from vse.data.datasets import read_dataset
    from vse.features.build import open_combined, without_skipped
    from vse.pages.retrieval import write_page
    from vse.runs.checkpoint import load
    from vse.system.device import find_device

    model = load(run, str(find_device(device)))
    opened = open_combined(features, model.feature_info)
    dataset = without_skipped(read_dataset(data, images), opened)
    print(write_page(model, dataset.split(split), opened, out, queries=queries, seed=seed))


def _commands(argv: Sequence[str]) -> dict[str, Callable[..., int | None]]:
    """All subcommands; `train` with the defaults of the recipe that `argv` names, the last one if there are more."""
    words = [word for a in argv for word in (a.split("=", 1) if a.startswith("--recipe=") else [a])]
    recipes = [b for a, b in zip(words, words[1:], strict=False) if a == "--recipe"] or ["paper"]
    train = train_command(recipes[-1])
    commands = (data, download, scenes, features, train, evaluate, search, arithmetic, pca, page)
    return {command.__name__: command for command in commands}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 for a user's mistake (said in one line), 130 when interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    return run("vse", lambda: _commands(argv), argv, __version__)


if __name__ == "__main__":
    sys.exit(main())
