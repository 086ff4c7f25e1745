"""How fast, and how far from the floor: `python -m experiments.speed` writes results/speed.json,
or results/speed-float32.json on a machine without units for bfloat16.

Ratios are taken within one run, the two sides in turn, because machines differ and are shared. The floor of a
training step is its multiply-adds over the measured rate of a large matrix product of the same precision.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments import find_data, free_photos, results
from experiments.plain_encoder import PlainEncoder
from scnlm.captions.captioner import CaptionConfig, Captioner, shipped_set
from scnlm.data import TaggedText
from scnlm.models import make_model
from scnlm.rerank.vote import ranked
from scnlm.structure import TagVocabulary
from scnlm.train import LMTrainConfig, batch_loss
from vse.batches import Batch, TrainingSet
from vse.configs import TrainConfig
from vse.data.datasets import read_dataset
from vse.data.vocabulary import Vocabulary, tokenize
from vse.features.build import extract_features
from vse.features.extractor import FeatureExtractor
from vse.features.store import Features
from vse.losses import make_objective
from vse.metrics import Cosines, block_ranks
from vse.model import VSE
from vse.recipes import RECIPES
from vse.runs.optimizer import make_optimizer
from vse.system.errors import InputError
from vse.system.files import read_json
from vse.system.precision import autocast, describe_device, resolve_precision

STEPS, ROUNDS = 20, 3


def stepper(
    model: nn.Module, encode_text: Callable, encode_image: Callable, config: TrainConfig, precision: str
) -> Callable[[Batch], None]:
    """One training step of the same objective and optimizer, whatever the encoders are."""
    objective = make_objective(config.loss)
    parameters = [*model.parameters(), *objective.parameters()]
    optimizer = make_optimizer(config, {str(i): p for i, p in enumerate(parameters) if p.requires_grad})

    def step(batch: Batch) -> None:
        with autocast(precision, "cpu"):
            images, captions = encode_image(batch.images[0]), encode_text(*batch.texts[0])
        loss = objective(images, captions, batch.same_image)
        optimizer.zero_grad()
        loss.backward()
        if config.gradient_norm:
            nn.utils.clip_grad_norm_(parameters, config.gradient_norm)
        optimizer.step()

    return step


def training(recipe: str, plain: str, data: TrainingSet, vocabulary: Vocabulary) -> dict:
    """Captions/s of a recipe and of the plain loop at the same batch size, in turn; and the recipe's floor."""
    config = RECIPES[recipe]()
    precision = resolve_precision(config.precision)
    ours = VSE(config.model, vocabulary, data.features.shape[3]).train()
    bidirectional = plain == "gru"
    hidden = config.model.text.hidden
    yardstick = nn.ModuleDict({
        "text": PlainEncoder(plain, len(vocabulary), hidden, config.model.embed_dim, bidirectional),
        "image": nn.Linear(data.features.shape[3], config.model.embed_dim, bias=False),
    })  # fmt: skip
    steps = {
        "ours": stepper(ours, ours.encode_text, ours.encode_image, config, precision),
        "plain": stepper(
            yardstick, yardstick["text"],
            lambda f: nn.functional.normalize(yardstick["image"](f.mean(1)), dim=1), config, "float32",
        ),
    }  # fmt: skip
    batches = [b for b, _ in zip(data.epoch(config.batch_size, 0, 0), range(STEPS), strict=False)]
    rate = {name: 0.0 for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            step(batches[0])
            seconds = _timed(lambda step=step: [step(batch) for batch in batches])
            rate[name] = max(rate[name], sum(len(b.captions) for b in batches) / seconds)
    flops = _operations(ours, batches)
    floor = flops / STEPS / (product_rate(precision) * 1e9)
    step_s = config.batch_size / rate["ours"]
    return {
        "recipe": recipe, **machine(precision), "plain": f"packed {plain}, float32", "captions_per_s": rate["ours"],
        "plain_captions_per_s": rate["plain"], "ratio": rate["ours"] / rate["plain"],
        "step_s": step_s, "floor_s": floor, "times_floor": step_s / floor,
        "shares": shares(lambda: [steps["ours"](batch) for batch in batches]),
    }  # fmt: skip


def shares(work: Callable[[], object], most: int = 6) -> dict[str, float]:
    """Where the time of `work` goes: the share of each of the `most` dearest operators, in percent of all."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    operators = sorted(profile.key_averages(), key=lambda operator: -operator.self_cpu_time_total)
    total = sum(operator.self_cpu_time_total for operator in operators)
    return {operator.key: 100 * operator.self_cpu_time_total / total for operator in operators[:most]}


def _operations(model: VSE, batches: list[Batch]) -> float:
    """Floating point operations of the weights' products in forward and backward, unpadded words."""
    words = sum(int(b.texts[0].lengths.sum()) for b in batches)
    pairs = sum(len(b.captions) for b in batches)
    text = sum(p.numel() for n, p in model.text_encoder.named_parameters() if p.ndim == 2 and "vectors" not in n)
    out = sum(p.numel() for n, p in model.text_encoder.named_parameters() if n == "out.weight")
    image = sum(p.numel() for p in model.image_encoder.parameters() if p.ndim == 2)
    return 6.0 * (words * (text - out) + pairs * (out + image))  # 2 a product, forward and twice backward


def machine(precision: str) -> dict:
    """What every row names: the processor, what it can do, and the precision that was chosen for it."""
    return {"machine": describe_device("cpu"), "precision": precision}


def product_rate(precision: str, size: int = 1536) -> float:
    """GFLOP/s of a large matrix product, the best of a few; of a small one where bfloat16 is emulated."""
    kind = getattr(torch, precision)
    if precision != resolve_precision("auto") == "float32":
        size = 256
    a, b = (torch.randn(size, size).to(kind) for _ in range(2))
    best = min(_timed(lambda: a @ b) for _ in range(8))
    return 2 * size**3 / best / 1e9


def features(photos: list[Path], scratch: Path) -> dict:
    """Photos/s of the whole extraction against the bare forward pass on decoded pixels."""
    extractor = FeatureExtractor("efficientnet-lite2")
    pixels = np.stack([extractor.read(path) for path in photos[: extractor.photos_per_batch]])
    extractor.encode_pixels(pixels)
    bare = whole = 0.0
    for attempt in range(ROUNDS):
        bare = max(bare, 4 * len(pixels) / _timed(lambda: [extractor.encode_pixels(pixels) for _ in range(4)]))
        names = [path.name for path in photos]
        out = scratch / str(attempt)
        extract_features(photos, names, "efficientnet-lite2", out, progress=False)
        whole = max(whole, read_json(out / "features.json")["images_per_second"])
    told = machine(extractor.info["precision"])
    decoding = _timed(lambda: [extractor.read(path) for path in photos[: len(pixels)]]) / len(pixels)
    return {**told, "bare_images_per_s": bare, "images_per_s": whole, "share": whole / bare, "decode_s": decoding}


def ranking(images: int, captions: int, dim: int) -> dict:
    """Seconds and memory (MB above what the vectors take) of all ranks both ways."""
    draw = np.random.default_rng(0)
    x, v = (draw.standard_normal((n, dim), np.float32) for n in (images, captions))
    for part in (x, v):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    owner = np.arange(captions) % images
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = _timed(lambda: block_ranks(Cosines(x, v), owner))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **machine("float32"), "images": images, "captions": captions, "dim": dim, "seconds": seconds,
        "peak_mb": (after - before) / 1024,
    }  # fmt: skip


def captioning(images: int = 8) -> dict:
    """Seconds an image for 1000 candidates, decoded and reranked, and their floor; a photo from a cold start."""
    captioner, config = Captioner.load(shipped_set()), CaptionConfig()
    draw = np.random.default_rng(0)
    points = draw.standard_normal((images, captioner.encoder.config.embed_dim)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    captioner.captions(points[:1], config)
    best = min(_timed(lambda: captioner.captions(points, config)) for _ in range(ROUNDS)) / images
    candidates = captioner.candidates(points[:1], config)[0]
    structures = captioner.lm.structures.sample(config.candidates, draw)
    steps = sum(len(s) + 1 for s in structures)  # words and the end
    decoding = 2.0 * steps * captioner.lm.model.R.numel()
    words = sum(len(c.tokens) for c in candidates)
    text = captioner.encoder.text_encoder
    filters = sum(p.numel() for n, p in text.named_parameters() if p.ndim == 2 and "filters" in n)
    encoding = 2.0 * (words * filters + len(candidates) * text.out.weight.numel())
    floor = (decoding + encoding) / product_rate("float32") / 1e9
    scnlm = [sys.executable, "-m", "scnlm", "caption", str(free_photos.paths()[0])]
    # The best: the first call also waits for the disk, the later ones find the files in memory.
    cold = min(_timed(lambda: subprocess.run(scnlm, check=True, capture_output=True)) for _ in range(ROUNDS))
    contents = captioner.concepts.contents(points[:1], config.contents)[0]
    content_of = draw.integers(len(contents), size=config.candidates)
    texts = [c.text for c in candidates]
    parts = {
        "decoding": lambda: captioner.decoder.most_probable(contents, content_of, structures),
        "embedding": lambda: captioner.encoder.encode_texts(texts, len(texts)),
        "vote": lambda: ranked(candidates, captioner.weights, config.vote),
    }
    spent = {name: min(_timed(part) for _ in range(ROUNDS)) for name, part in parts.items()}
    sentences = [list(c.tokens) for c in candidates] * 20
    scored = _timed(lambda: captioner.trigram.score(sentences))
    return {
        **machine("float32"), "seconds_an_image": best, "floor_s": floor, "times_floor": best / floor,
        "cold_start_s": cold, "trigram_sentences_per_s": len(sentences) / scored,
        "shares": {name: 100 * seconds / sum(spent.values()) for name, seconds in spent.items()},
    }  # fmt: skip


def language_model_training(captions: tuple[str, ...], batches: int = STEPS) -> dict:
    """Captions/s of SC-NLM training on given captions, and the floor of a step."""
    config = LMTrainConfig()
    sentences = [tokenize(c) for c in captions[: batches * config.batch_size]]
    vocabulary = Vocabulary.from_captions(captions, config.min_count)
    tags = [("X",) * len(words) for words in sentences]
    tag_vocabulary = TagVocabulary.from_tags([*tags, tuple("ABCDEFGHIJKLMN")], config.tag_set)
    u = np.random.default_rng(0).standard_normal((len(sentences), 896)).astype(np.float16)
    text = TaggedText(sentences, tags, u, vocabulary, tag_vocabulary, torch.device("cpu"))
    model = make_model(config.lm, len(vocabulary), 896, len(tag_vocabulary))
    optimizer = make_optimizer(config, dict(model.named_parameters()))
    ready = list(text.epoch(config.batch_size, 0, 0))

    def epoch() -> None:
        for batch in ready:
            with autocast(config.precision, "cpu"):
                loss = batch_loss(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    best = min(_timed(epoch) for _ in range(ROUNDS))
    per_word = sum(p.numel() for n, p in model.named_parameters() if n in ("R", "C", "W_fk", "W_fu", "T"))
    floor = 6.0 * text.words * per_word / product_rate(resolve_precision(config.precision)) / 1e9
    told = machine(resolve_precision(config.precision))
    return {**told, "captions_per_s": len(text) / best, "step_s": best / len(ready), "times_floor": best / floor}


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(threads: int, large: bool, only: list[str] | None) -> dict:
    """All parts of the result, or `only` some, the others as they are in the results file."""
    dataset = read_dataset(find_data("flickr8k"))
    split = dataset.split("train")
    vocabulary = Vocabulary.from_captions(split.captions)
    noise = np.random.default_rng(0).standard_normal((len(split.images), 1, 1, 1280)).astype(np.float16)
    data = TrainingSet(split, Features(noise, split.images), vocabulary, torch.device("cpu"))

    def of_features() -> dict:
        with tempfile.TemporaryDirectory() as scratch:
            return features([dataset.path(i) for i in range(320)], Path(scratch))

    sizes = [(1000, 5000, 1024), *([(25_000, 125_000, 1024)] if large else [])]
    parts = {
        "language_model": lambda: language_model_training(split.captions), "captioning": captioning,
        "training": lambda: [training(*pair, data, vocabulary) for pair in (("paper", "lstm"), ("best", "gru"))],
        "features": of_features, "ranking": lambda: [ranking(*size) for size in sizes],
    }  # fmt: skip
    if unknown := set(only or ()) - parts.keys():
        raise InputError(f"{sorted(unknown)[0]}: no such part; expected some of {', '.join(parts)}")
    previous = read_json(results.path_of(name_here())) if only else {}
    rates = {f"{precision}_gflops": product_rate(precision) for precision in ("float32", "bfloat16")}
    about = {"command": "python -m experiments.speed --large", "threads": threads, **rates}
    return previous | about | {name: part() for name, part in parts.items() if not only or name in only}


def _run(threads: int, large: bool, only: list[str] | None) -> None:
    torch.set_num_threads(threads)
    results.write(name_here(), measure(threads, large, only))
    print(results.path_of(name_here()).read_text())


def name_here() -> str:
    """The results file of this kind of machine: with units for bfloat16, or without."""
    return "speed" if resolve_precision("auto") == "bfloat16" else "speed-float32"


def main() -> int:
    about = "measure these parts anew, keep the others' figures"
    return results.main("speed", __doc__, _run, {
        "--threads": {"type": int, "default": os.cpu_count(), "help": "torch threads (default: all cores)"},
        "--large": {"action": "store_true", "help": "also rank 25,000 images x 125,000 captions"},
        "--only": {"nargs": "+", "metavar": "PART", "help": about},
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
