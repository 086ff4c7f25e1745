"""The subcommands that make what a model is trained on: `data`, `download`, `scenes`, `features`, `tags`."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from vse.system.command_line import Count, Data, Device, FeatureFolders, Images, Seed
from vse.system.settings import Precision

Folder = Annotated[Positional[Path], arg(metavar="OUT")]


def data(data: Data, /, images: Images = None, check: bool = False) -> None:
    """Prints what was found: images, captions, splits, vocabulary, missing files.

    Args:
        check: open every photo and name the unreadable ones.
    """
    from vse.data.datasets import read_dataset
    from vse.data.report import describe

    print(describe(read_dataset(data, images), check_images=check))


def download(name: Annotated[Positional[str], arg(metavar="NAME")], out: Folder, /, mirror: str | None = None) -> None:
    """Fetches flickr8k or flickr30k-captions into a folder.

    Args:
        mirror: another base URL with the same file names.
    """
    from vse.data.download import download

    print(download(name, out, mirror=mirror))


def scenes(out: Folder, /, seed: Seed = 0, count: Count = 1000, questions: bool = False) -> None:
    """Writes the embedded data set of rendered scenes into a folder.

    Args:
        questions: also write questions.tsv, about ten questions on each, with their answers.
    """
    from vse.data.questions import scene_questions, write_questions
    from vse.scenes.scenes import make_scenes

    print(make_scenes(out, seed=seed, count=count))
    if questions:
        write_questions(out / "questions.tsv", scene_questions(out))
        print(out / "questions.tsv")


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
        encoder: efficientnet-lite0, -lite1, -lite2, vgg19, alexnet, resnet152, patches (the
            pixels themselves, in squares), timm:MODEL, or open_clip:MODEL with --weights.
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
    features = extract_features(
        paths, dataset.images, encoder, out, views=views, grid=int(grid) if grid.isdigit() else grid,
        batch_size=batch_size, skip_bad=skip_bad, device=device, precision=precision, weights=weights,
    )  # fmt: skip
    print(f"{out}: {features.describe()}")


def tags(
    data: Data,
    /,
    features: FeatureFolders,
    out: Path,
    tagger: Literal["nouns", "imagenet"] = "nouns",
    seed: Seed = 0,
    images: Images = None,
) -> None:
    """Writes what a tagger finds in each photo, a line NAME<tab>tag, tag, for `vse train --tags`.

    Args:
        out: the file to write.
        tagger: nouns of the training captions, learned from the features and cross-fitted, so that no photo's own
            captions make its tags; or imagenet, the classes that an EfficientNet-Lite sees, without any caption.
        seed: of the five folds.
    """
    from vse.data.datasets import read_dataset
    from vse.data.part_of_speech import tag_cache
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped
    from vse.tags.imagenet import imagenet_tags
    from vse.tags.nouns import noun_tags
    from vse.tags.sentences import write_tags

    opened = open_combined(features)
    dataset = without_skipped(read_dataset(data, images), opened)
    if tagger == "nouns":
        found = noun_tags(dataset, opened, tag_cache(data), seed, progress=True)
    else:
        found = imagenet_tags(opened, dataset.images)
    write_tags(out, found)
    mean = sum(map(len, found.values())) / len(found)
    print(f"{out}: {len(found):,} photos, {mean:.1f} tags each; next: vse train {data} --recipe ernie --tags {out}")


def questions(data: Data, /, out: Path, images: Images = None) -> None:
    """Writes questions that two captions of a photo answer alike, a line NAME<tab>question<tab>answer<tab>kind.

    They ask for colors, numbers and objects.

    Args:
        out: the file to write, for `vse train-answers`.
    """
    from collections import Counter

    from vse.data.caption_questions import caption_questions
    from vse.data.datasets import read_dataset
    from vse.data.part_of_speech import tag_cache
    from vse.data.questions import write_questions

    found = caption_questions(read_dataset(data, images), tag_cache(data), progress=True)
    write_questions(out, found)
    kinds = ", ".join(f"{kind} {n:,}" for kind, n in Counter(found.kinds).most_common())
    print(f"{out}: {len(found):,} questions about {len(set(found.images)):,} photos: {kinds}; next: vse train-answers")
