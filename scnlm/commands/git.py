"""The subcommand that trains a generative image-to-text transformer: `train-git`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from scnlm.configs import GITTrainConfig
from vse.system.command_line import Data, Device, FeatureFolders, Images, Seed
from vse.system.terminal import is_first_process


def train_git(
    data: Data,
    /,
    features: FeatureFolders,
    out: Path,
    config: Annotated[GITTrainConfig, arg(name="")] = GITTrainConfig(),  # noqa: B008  frozen
    word_vectors: Path | None = None,
    extra_text: str | None = None,
    start: Path | None = None,
    seed: Seed = 0,
    resume: bool = False,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Trains a transformer that writes captions from image tokens; the best epoch on dev is kept.

    Args:
        out: run folder, empty or new.
        word_vectors: word2vec or GloVe file, where words begin.
        extra_text: with --text-only: a data set whose captions are trained on too; photos of DATA's dev and test splits
            are left out of it by photo id.
        start: a run of `scnlm train-git` to begin from: one of --text-only, or of captions for --reward.
        resume: go on with the same command after a kill. Several processes: start it through torchrun.
    """
    from scnlm.git_run import load
    from scnlm.train_git import train_git
    from vse.data.datasets import read_dataset, read_extra_text
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped

    begun = load(start) if start else None
    opened = open_combined(features, begun.feature_info if begun else None)
    read = read_dataset(data, images)
    told = train_git(
        config, without_skipped(read, opened), opened, out, word_vectors=word_vectors,
        extra_text=read_extra_text(extra_text, read), start=begun, seed=seed, resume=resume, device=device,
    )  # fmt: skip
    if is_first_process():
        print(f"dev: {told['nats']:.4f} nats a word" + (f", CIDEr {told['cider']:.1f}" if "cider" in told else ""))
        go_on = f"scnlm train-git {data} --start {out}" if config.text_only else f"scnlm caption {out} photo.jpg"
        print(f"{out}: done; next: {go_on}")
