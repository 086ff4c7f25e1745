"""The shipped set on two kinds of machine: `python -m experiments.precision` writes results/precision.json.

The same features and captions are made once in the precision that is chosen for this machine and once as on one without
units for bfloat16 (simulated by the kernels that are allowed). rsum must nearly agree; the sentences agree because a
caption's CNN runs in float32 everywhere; how often they would in bfloat16 is told beside it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from experiments import find_data, results
from experiments.results import origin
from experiments.rows import EXPERIMENTS, FEATURES
from scnlm.captions.captioner import ENCODER, Captioner, shipped_set
from vse.data.datasets import read_dataset
from vse.evaluate import evaluate
from vse.features.build import extract_features
from vse.features.side_by_side import open_combined
from vse.runs import checkpoint
from vse.system.errors import InputError
from vse.system.files import json_text
from vse.system.precision import describe_device, resolve_precision

WITHOUT_UNITS = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
CAPTIONED = 200  # dev photos, the first ones


def measure(captioned: int) -> dict:
    """What this process, with the kernels that it may use, makes of Flickr8K: rsum on test, captions of dev photos."""
    flickr8k = read_dataset(find_data("flickr8k"))
    test, dev = flickr8k.split("test"), flickr8k.split("dev")
    captioner, precision, folders = Captioner.load(shipped_set()), resolve_precision("auto"), []
    for name in EXPERIMENTS["best"].features:
        encoder, views, grid, _ = FEATURES[name]
        folders.append(Path("features") / "flickr8k-test" / f"{name}-{precision}")
        paths = [test.path(i) for i in range(len(test.images))]
        extract_features(paths, test.images, encoder, folders[-1], views=views, grid=grid)
    rsum = evaluate([captioner.encoder], test, [open_combined(folders, captioner.encoder.feature_info)], 0).rsum
    photos = [dev.path(i) for i in range(captioned)]  # from the files, as `scnlm caption`
    captions = {"float32": _captions(captioner, captioner.encoder.encode_images(photos))}
    if precision != "float32":
        encoder = checkpoint.load(shipped_set() / ENCODER)  # its CNN runs as that of its features did
        captions[precision] = _captions(captioner, encoder.encode_images(photos))
    return {"machine": describe_device("cpu"), "precision": precision, "rsum": rsum, "captions": captions}


def _captions(captioner: Captioner, points: np.ndarray) -> list[list[str]]:
    return [
        [c.text for c in captioner.captions(point[None])[0]]
        for point in tqdm(points, desc="captions", unit="photo", disable=None)
    ]


def compare(captioned: int) -> dict:
    """Both kinds side by side, each in a process of its own. Raises InputError on a machine that has one kind only."""
    if resolve_precision("auto") == "float32":
        raise InputError("this machine has no units for bfloat16, so there is no other kind to compare with")
    kinds = []
    for kernels in ({}, WITHOUT_UNITS):
        command = [sys.executable, "-m", "experiments.precision", "--one", "--photos", str(captioned)]
        done = subprocess.run(command, env=os.environ | kernels, stdout=subprocess.PIPE, text=True, check=True)
        kinds.append(json.loads(done.stdout.splitlines()[-1]))
    with_units, without = (kind.pop("captions") for kind in kinds)
    return {
        **origin("precision"), "split": "dev", "photos": captioned,
        "kinds": kinds, "captions": agreement(with_units["float32"], without["float32"]),
        "captions_of_bfloat16_features": agreement(with_units["bfloat16"], without["float32"]),
    }  # fmt: skip


def agreement(first: list[list[str]], second: list[list[str]]) -> dict[str, float]:
    """Shares, of two makings of the same photos' captions, each best first."""
    pairs = list(zip(first, second, strict=True))
    return {
        "same_best_sentence": sum(a[0] == b[0] for a, b in pairs) / len(pairs),
        "same_of_all": sum(len(set(a) & set(b)) for a, b in pairs) / sum(len(a) for a in first),
    }


def _run(photos: int, one: bool) -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    if one:
        print(json_text(measure(photos)))
        return
    results.write("precision", compare(photos))
    print(results.path_of("precision").read_text())


def main() -> int:
    return results.main("precision", __doc__, _run, {
        "--photos": {"type": int, "default": CAPTIONED, "help": "dev photos that are captioned"},
        "--one": {"action": "store_true", "help": "only this process' kind, as JSON"},
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
