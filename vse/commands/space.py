"""The subcommands of the joint space: `train` makes it, `hubs` corrects it, `evaluate` measures it."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from vse.configs import TrainConfig
from vse.recipes import RECIPES
from vse.system.command_line import Data, Device, FeatureFolders, Images, Run, Seed, table
from vse.system.errors import InputError
from vse.system.terminal import is_first_process


def train(
    data: Data,
    /,
    features: FeatureFolders,
    out: Path,
    config: Annotated[TrainConfig, arg(name="")] = TrainConfig(),  # noqa: B008  frozen; see --recipe
    recipe: Literal[*RECIPES] = "paper",
    seed: Seed = 0,
    word_vectors: Path | None = None,
    merges: Path | None = None,
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
        merges: OpenAI's bpe_simple_vocab_16e6.txt.gz, for --model.text.tokens bpe; without it they are learned.
        extra_text: a data set whose captions alone are used (see --extra-pairs); photos of DATA's dev and test
            splits are left out of it by photo id.
        teachers: trained runs on the same features, whose mean score is distilled (see --loss.distill).
        resume: go on with the same command after a kill. Several processes: start it through torchrun.
    """
    from vse.data.datasets import read_dataset, read_extra_text
    from vse.evaluate import HEADER
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped
    from vse.runs.checkpoint import load
    from vse.train import train

    opened = open_combined(features)
    dataset = without_skipped(read_dataset(data, images), opened)
    row = train(
        config, dataset, opened, out,
        seed=seed, word_vectors=word_vectors, merges=merges, extra_text=read_extra_text(extra_text, dataset),
        teachers=[(load(run), opened) for run in teachers], resume=resume, device=device,
    )  # fmt: skip
    if is_first_process():
        print(table([list(HEADER), ["dev, best epoch", *row.cells()]]))
        print(f"{out}: done; next: vse evaluate {out} {data} --features {' '.join(map(str, features))}")


def evaluate(
    run: Annotated[Positional[list[Path]], arg(metavar="RUN... DATA")],
    /,
    features: FeatureFolders,
    split: str = "test",
    hubs: bool = False,
    json: Path | None = None,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Prints the table row of a run, or of the ensemble of several runs: RUN [RUN ...] DATA.

    Args:
        split: train, dev or test.
        hubs: correct the scores by what `vse hubs` wrote into RUN; of several, k and weight are chosen on DATA's dev.
        json: also write the row there.
    """
    from vse.data.datasets import read_dataset
    from vse.evaluate import HEADER, evaluate
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped
    from vse.runs.checkpoint import load, read_config, write_json
    from vse.system.device import find_device

    if len(run) < 2:
        raise InputError(f"{run[0] if run else 'nothing'}: expected RUN [RUN ...] DATA")
    *runs, data = run
    dataset = read_dataset(str(data), images)
    models = [load(r, str(find_device(device))) for r in runs]
    opened = [open_combined(features, model.feature_info) for model in models]
    dataset = without_skipped(dataset, opened[0])  # all are of the same folders
    correction = _hubs_of(runs, models, dataset, opened) if hubs else None
    row = evaluate(models, dataset.split(split), opened, hubs=correction)
    for r in runs:
        trained_on, now = (read_config(r).get(key) for key in ("data_fingerprint", "data"))
        if now == dataset.name and trained_on != dataset.fingerprint():
            print(f"note: {r} was trained on another version of {now} than {data}", file=sys.stderr)
    print(table([list(HEADER), [f"{dataset.name} {split}", *row.cells()]]))
    low, high = row.interval
    print(f"rsum 95 % interval {low:.1f} to {high:.1f}; {row.images} images, {row.captions} captions")
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        about = {"runs": [r.name for r in runs], "data": dataset.name, "split": split, "hubs": hubs}
        write_json(json, about | row.as_dict())


def _hubs_of(runs, models, dataset, features):
    """The hubs of one run, or those of several together."""
    from vse.hubs import Joined, choose, load_hubs

    each = [load_hubs(run, model) for run, model in zip(runs, models, strict=True)]
    if len(each) == 1:
        return each[0]
    captions, photos = (Joined([getattr(hubs, way).bank for hubs in each]) for way in ("photos", "captions"))
    return choose(captions, photos, models, dataset.split("dev"), features, progress=True)


def hubs(
    run: Run,
    data: Data,
    /,
    features: FeatureFolders,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Writes the hub correction of a run into its folder: `vse search` uses it, `vse evaluate --hubs` measures it.

    Some photos and captions are near everything. The correction takes from each score weight x the mean of the item's k
    highest scores to DATA's training captions (or photos), kept small; k and weight are those that rank best on dev.
    """
    from vse.data.datasets import read_dataset
    from vse.evaluate import HEADER, evaluate
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped
    from vse.hubs import FILE, choose, make_banks, save_hubs
    from vse.runs.checkpoint import load
    from vse.system.device import find_device
    from vse.system.files import locked

    model = load(run, str(find_device(device)))
    opened = open_combined(features, model.feature_info)
    dataset = without_skipped(read_dataset(data, images), opened)
    dev = dataset.split("dev")
    captions, photos = make_banks(model, dataset.split("train"), opened, progress=True)
    chosen = choose(captions, photos, [model], dev, [opened], progress=True)
    rows = [
        [name, *evaluate([model], dev, [opened], bootstrap=0, hubs=correction).cells()]
        for name, correction in (("dev", None), ("dev, hubs", chosen))
    ]
    with locked(run):
        save_hubs(run, chosen, model)
    print(table([list(HEADER), *rows]))
    for name, way in (("photos", chosen.photos), ("captions", chosen.captions)):
        print(f"{name}: k = {way.k}, weight = {way.weight}")
    print(f"{run / FILE}: done; next: vse evaluate {run} {data} --features {' '.join(map(str, features))} --hubs")
