"""The subcommand that trains a model which reads photo and sentence together: `train-fusion`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from vse.configs import FusionTrainConfig
from vse.system.command_line import Data, Device, FeatureFolders, Images, Seed, table
from vse.system.terminal import is_first_process

EncoderFeatures = Annotated[list[Path], arg(help="features that ENCODER was trained on, where the model reads others")]


def train_fusion(
    data: Data,
    /,
    features: FeatureFolders,
    encoder: Path,
    out: Path,
    config: Annotated[FusionTrainConfig, arg(name="")] = FusionTrainConfig(),  # noqa: B008  frozen
    encoder_features: EncoderFeatures = [],  # noqa: B006  tyro reads it, nothing changes it
    seed: Seed = 0,
    start: Path | None = None,
    resume: bool = False,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Trains a transformer that reads photo and sentence together, to re-rank what ENCODER finds.

    Args:
        encoder: a run that `vse train` made: it finds what is hard to tell apart.
        out: run folder, empty or new.
        start: a run of `vse train-fusion` to begin from, such as one of masked words alone (--matching 0).
        resume: go on with the same command after a kill. Several processes: start it through torchrun.
    """
    from vse.data.datasets import read_dataset
    from vse.evaluate import HEADER, evaluate
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped
    from vse.runs import fusion
    from vse.runs.checkpoint import load
    from vse.train_fusion import train_fusion

    dual = load(encoder)
    opened = open_combined(features, None if encoder_features else dual.feature_info)
    seen = open_combined(encoder_features, dual.feature_info) if encoder_features else None
    dataset = without_skipped(read_dataset(data, images), opened)
    dataset = without_skipped(dataset, seen) if seen else dataset
    begun = fusion.load(start) if start else None
    chosen = train_fusion(
        config, dataset, opened, dual, out,
        encoder_features=seen, seed=seed, start=begun, resume=resume, device=device,
    )  # fmt: skip
    if is_first_process():
        plain = evaluate([dual], dataset.split("dev"), [seen or opened], bootstrap=0)
        print(table([list(HEADER), ["dev", *plain.cells()], ["dev, re-ranked", *chosen.row.cells()]]))
        print(f"k = {chosen.setting.k}, lambda = {chosen.setting.weight:g}")
        where = f"--features {' '.join(map(str, encoder_features or features))} --rerank {out}"
        if encoder_features:
            where += f" --rerank-features {' '.join(map(str, features))}"
        print(f"{out}: done; next: vse evaluate {encoder} {data} {where}")
