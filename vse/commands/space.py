"""The subcommands of the joint space: `train` makes it, `hubs` corrects it, `evaluate` measures it."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from vse.configs import TrainConfig
from vse.recipes import RECIPES
from vse.system.arguments import Between
from vse.system.command_line import Count, Data, Device, FeatureFolders, Images, RerankFeatures, Run, Seed, table
from vse.system.errors import InputError
from vse.system.terminal import is_first_process


def train(
    data: Data,
    /,
    out: Path,
    features: FeatureFolders = [],  # noqa: B006  tyro reads it, nothing changes it
    config: Annotated[TrainConfig, arg(name="")] = TrainConfig(),  # noqa: B008  frozen; see --recipe
    recipe: Literal[*RECIPES] = "paper",
    seed: Seed = 0,
    word_vectors: Path | None = None,
    merges: Path | None = None,
    extra_text: str | None = None,
    teachers: list[Path] = [],  # noqa: B006  tyro reads it, nothing changes it
    start: Path | None = None,
    tags: Path | None = None,
    resume: bool = False,
    device: Device = "auto",
    workers: Annotated[int, Between(0, 256)] = 2,
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
        start: a trained run to begin from, on other photos or to tune its CNNs (see --model.image.tune); words that
            are new to it start from --word-vectors, and a temperature that is learned from the run's.
        tags: a file of what is in each photo, for steps that read its tag sentence (see --views.tags); without one,
            `vse tags` of the features is used.
        workers: processes that decode photos, for a model that learns from pixels (see --model.pixels.tower).
        resume: go on with the same command after a kill. Several processes: start it through torchrun.
    """
    from vse.data.datasets import read_dataset, read_extra_text
    from vse.data.part_of_speech import tag_cache
    from vse.evaluate import HEADER
    from vse.features.pictures import PhotoFiles
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped
    from vse.runs.checkpoint import load
    from vse.tags.nouns import noun_tags
    from vse.tags.sentences import read_tags
    from vse.train import train

    dataset = read_dataset(data, images)
    if config.model.pixels.tower != "none":
        if features:
            raise InputError(f"--features {features[0]}: a model that learns from pixels has none; leave them out")
        opened = PhotoFiles.of(dataset)
    else:
        if not features:
            raise InputError("missing: --features of a CNN (vse features DATA), or a --model.pixels.tower")
        opened = open_combined(features)
        dataset = without_skipped(dataset, opened)
    found = read_tags(tags, dataset.images) if tags else None
    if config.views.tags and not tags and features:
        found = noun_tags(dataset.split("train"), opened, tag_cache(data), progress=True)
    row = train(
        config, dataset, opened, out,
        seed=seed, word_vectors=word_vectors, merges=merges, extra_text=read_extra_text(extra_text, dataset),
        teachers=[(load(run), opened) for run in teachers], start=load(start) if start else None, tags=found,
        resume=resume, device=device, workers=workers,
    )  # fmt: skip
    if is_first_process():
        print(table([list(HEADER), ["dev, best epoch", *row.cells()]]))
        print(f"{out}: done; next: vse evaluate {out} {data}{_options(features)}")


def evaluate(
    run: Annotated[Positional[list[Path]], arg(metavar="RUN... DATA")],
    /,
    features: FeatureFolders = [],  # noqa: B006
    split: str = "test",
    hubs: bool = False,
    rerank: Path | None = None,
    rerank_features: RerankFeatures = [],  # noqa: B006
    k: Annotated[Count | None, arg(aliases=["-k"])] = None,
    checkpoint: Path | None = None,
    architecture: str | None = None,
    json: Path | None = None,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Prints the table row of a run, or of the ensemble of several runs: RUN [RUN ...] DATA.

    Args:
        split: train, dev or test.
        checkpoint: instead of a RUN: a state dict of a CLIP model, of open_clip or OpenAI.
        architecture: of the checkpoint, as open_clip calls it, such as ViT-B-32 (OpenAI's: ViT-B-32-quickgelu).
        hubs: correct the scores by what `vse hubs` wrote into RUN; of several, k and weight are chosen on DATA's dev.
        rerank: a run that `vse train-fusion` made: it re-ranks the best k of each query, by its logit + lambda x score.
            lambda is the run's own; with --hubs, or beside other runs than its encoder, it is chosen on DATA's dev.
        k: how many are re-ranked (default: what dev chose).
        json: also write the row there.
    """
    from vse.data.datasets import read_dataset
    from vse.evaluate import evaluate
    from vse.runs.checkpoint import load, read_config
    from vse.system.device import find_device

    if checkpoint or architecture:
        _evaluate_checkpoint(
            run,
            checkpoint,
            architecture,
            split,
            json,
            device,
            images,
            features or hubs or rerank or k or rerank_features,
        )
        return
    if k and not rerank:
        raise InputError(f"-k {k}: so many are re-ranked; give --rerank RUN, too")
    if rerank_features and not rerank:
        raise InputError(f"--rerank-features {rerank_features[0]}: --rerank RUN reads them; give it, too")
    if len(run) < 2:
        raise InputError(f"{run[0] if run else 'nothing'}: expected RUN [RUN ...] DATA")
    *runs, data = run
    dataset = read_dataset(str(data), images)
    models = [load(r, str(find_device(device))) for r in runs]
    dataset, opened = photos_of(models, dataset, features)
    correction = _hubs_of(runs, models, dataset, opened) if hubs else None
    about = {"runs": [r.name for r in runs], "data": dataset.name, "split": split, "hubs": hubs}
    if rerank:
        row, setting = _reranked(
            rerank, models, dataset, split, opened, correction, k, device, rerank_features or features
        )
        about |= {"rerank": rerank.name, "k": setting.k, "lambda": setting.weight}
        print(f"the best {setting.k} of each query re-ranked, lambda = {setting.weight:g}")
    else:
        row = evaluate(models, dataset.split(split), opened, hubs=correction)
    for r in runs:
        trained_on, now = (read_config(r).get(key) for key in ("data_fingerprint", "data"))
        if now == dataset.name and trained_on != dataset.fingerprint():
            print(f"note: {r} was trained on another version of {now} than {data}", file=sys.stderr)
    _show(row, about, json)


def _reranked(run, models, dataset, split, opened, correction, k, device, features):
    """(the re-ranked row, its k and lambda)"""
    from vse.evaluate import scorer_of
    from vse.features.side_by_side import open_combined
    from vse.rerank import Setting, choose_from, read_best, row_of
    from vse.runs import fusion
    from vse.system.device import find_device

    if models[0].from_pixels:
        raise InputError(f"--rerank {run}: the run sees pixels, it re-ranks by features; give runs of features")
    model, kept = fusion.load(run, str(find_device(device))), fusion.load_setting(run)
    stored = open_combined(features, model.feature_info)

    def best(part: str, k: int):
        of_part = dataset.split(part)
        return read_best(model, scorer_of(models, of_part, opened, correction), of_part, stored, k, progress=True)

    if correction or [one.fingerprint for one in models] != [fusion.encoder_of(run)]:
        dev = dataset.split("dev")
        if not dev.captions:
            raise InputError(f"{dataset.name}: no dev captions to choose lambda by; leave --rerank out, or add some")
        most = min(k or kept.k, len(dev.images), len(dev.captions))
        chosen = choose_from(best("dev", most), dev, [most] if k else None).setting
        kept = Setting(k or chosen.k, chosen.weight)
    setting = Setting(k or kept.k, kept.weight)
    return row_of(best(split, setting.k), setting, dataset.split(split)), setting


def _show(row, about: dict, json: Path | None) -> None:
    """Prints a row, and writes it."""
    from vse.evaluate import HEADER
    from vse.system.files import write_json

    print(table([list(HEADER), [f"{about['data']} {about['split']}", *row.cells()]]))
    low, high = row.interval
    print(f"rsum 95 % interval {low:.1f} to {high:.1f}; {row.images} images, {row.captions} captions")
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        write_json(json, about | row.as_dict())


def _evaluate_checkpoint(data, checkpoint, architecture, split, json, device, images, others) -> None:
    from vse.clip_checkpoint import ClipCheckpoint, evaluate_checkpoint
    from vse.data.datasets import read_dataset

    if not checkpoint or not architecture:
        raise InputError("--checkpoint FILE and --architecture NAME go together; give both, or a RUN")
    if len(data) != 1:
        raise InputError(f"{data[0] if data else 'nothing'}: expected DATA alone with --checkpoint, no RUN")
    if others:
        raise InputError("--features, --hubs, --rerank and -k are those of a RUN; leave them out with --checkpoint")
    dataset = read_dataset(str(data[0]), images)
    row = evaluate_checkpoint(ClipCheckpoint(checkpoint, architecture, device), dataset.split(split), progress=True)
    about = {"checkpoint": checkpoint.name, "architecture": architecture, "data": dataset.name, "split": split}
    _show(row, about, json)


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
    features: FeatureFolders = [],  # noqa: B006
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Writes the hub correction of a run into its folder: `vse search` uses it, `vse evaluate --hubs` measures it.

    Some photos and captions are near everything. The correction takes from each score weight x the mean of the item's k
    highest scores to DATA's training captions (or photos), kept small; k and weight are those that rank best on dev.
    """
    from vse.data.datasets import read_dataset
    from vse.evaluate import HEADER, evaluate
    from vse.hubs import FILE, choose, make_banks, save_hubs
    from vse.runs.checkpoint import load
    from vse.system.device import find_device
    from vse.system.files import locked

    model = load(run, str(find_device(device)))
    dataset, (opened,) = photos_of([model], read_dataset(data, images), features)
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
    print(f"{run / FILE}: done; next: vse evaluate {run} {data}{_options(features)} --hubs")


def photos_of(models, dataset, features):
    """(data set, for each model what it sees of photos): features, or the files where it learned from pixels."""
    from vse.features.pictures import PhotoFiles
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped

    opened = []
    for model in models:
        if model.from_pixels:
            opened.append(PhotoFiles.of(dataset))
        elif not features:
            raise InputError("missing: --features, those that the run was trained on")
        else:
            opened.append(open_combined(features, model.feature_info))
            dataset = without_skipped(dataset, opened[-1])
    if features and all(model.from_pixels for model in models):
        raise InputError(f"--features {features[0]}: a run that learned from pixels has none; leave them out")
    return dataset, opened


def _options(features: list[Path]) -> str:
    return f" --features {' '.join(map(str, features))}" if features else ""
