"""Image -> content vectors -> candidates -> the best five (supplement, 5.2): `Captioner` and the set it is loaded from.

A caption set is a folder: `vse/` (encoder run), `scnlm/` (language model run), `trigram.arpa`, `concepts.safetensors`
and `weights.json`; where it was made with one, `fusion/`, a model that reads photo and sentence together, and `git/`, a
generative transformer. Trains and tunes nothing (see assemble.py). Shapes: n images, v views, r regions, f feature_dim,
d dimensions of the joint space.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32

from scnlm import git_run, language_model
from scnlm.captions.second import memories, with_log_p, with_matching, written
from scnlm.configs import CaptionConfig
from scnlm.generate import Decoder
from scnlm.git import GIT
from scnlm.language_model import LanguageModel
from scnlm.rerank.concepts import Concepts, SentenceBank
from scnlm.rerank.score import Candidate, Weights, measure
from scnlm.rerank.trigram import Trigram
from scnlm.rerank.vote import ranked
from vse.features.given import GivenPhotos
from vse.fusion import Fusion
from vse.model import VSE
from vse.runs import checkpoint, fusion
from vse.system import manifest
from vse.system.errors import InputError
from vse.system.files import read_json
from vse.system.settings import config_from_dict

ENCODER, DECODER, TRIGRAM, CONCEPTS, WEIGHTS = "vse", "scnlm", "trigram.arpa", "concepts.safetensors", "weights.json"
READER, GIT_PART = "fusion", "git"


class Captioner:
    """Everything that a caption needs, in memory."""

    def __init__(
        self, encoder: VSE, lm: LanguageModel, bank: SentenceBank, trigram: Trigram, weights: Weights,
        reader: Fusion | None = None, git: GIT | None = None, writes: str = "both",
    ):  # fmt: skip
        """`reader` gives the score's `matching`, `git` its `git`; `writes`: who writes candidates where there is a git.

        Raises InputError when the language model was trained in another encoder's space, and where the weights count on
        a model that is not there.
        """
        lm.check_encoder(encoder.config.embed_dim, encoder.fingerprint)
        self.encoder, self.lm, self.bank, self.trigram, self.weights = encoder, lm, bank, trigram, weights
        self.reader, self.git, self.writes = reader, git, writes
        for part, model, weight in ((READER, reader, weights.matching), (GIT_PART, git, weights.git)):
            if model is None and weight:
                name = "matching" if part == READER else part
                raise InputError(f"weights: {name} is {weight:g}, but there is no {part}/ to give it")
        if lm.structures is None:
            raise InputError("the language model was trained without tags, so it has no structures to caption by")
        self.concepts, self.decoder = Concepts(encoder, bank), Decoder(lm)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "Captioner":
        """The captioner of a set. Raises InputError for a folder that is none, or where a part is missing."""
        folder = Path(folder)
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"{folder}: not a caption set (no {WEIGHTS}); make one with `scnlm assemble`")
        about = read_json(folder / WEIGHTS)
        tuned = about.get("weights")
        if isinstance(tuned, dict):
            tuned = {"matching": 0.0, "git": 0.0} | tuned  # which sets once had no weight for
        weights = config_from_dict(Weights, tuned, f"{folder / WEIGHTS}: weights", complete=True)
        reader = fusion.load(folder / READER, device) if (folder / READER).is_dir() else None
        git = git_run.load(folder / GIT_PART, device) if (folder / GIT_PART).is_dir() else None
        writes = about.get("decoder", "both")
        if writes not in ("scnlm", "git", "both"):
            raise InputError(f"{folder / WEIGHTS}: decoder {writes!r}: expected scnlm, git or both")
        captioner = cls(
            checkpoint.load(folder / ENCODER, device), language_model.load(folder / DECODER, device),
            SentenceBank.load(folder / CONCEPTS), Trigram(folder / TRIGRAM), weights, reader, git, writes,
        )  # fmt: skip
        manifest.check(folder, bound(folder))
        captioner.encoder.photos.precision = "float32"  # in bfloat16 a quarter of the best sentences are others
        return captioner

    @property
    def photos(self) -> GivenPhotos:
        """How photo files are read."""
        return self.encoder.photos

    def seen(self, photos: list[Path]) -> np.ndarray:
        """What the encoder sees of photo files."""
        return self.encoder.seen(photos)

    def describe(self, seen: np.ndarray, config: CaptionConfig, seed: int = 0) -> list[list[Candidate]]:
        """`captions` of what the encoder sees of photos."""
        return self.captions(self.encoder.encode_images(seen), config, seed, seen)

    def captions(
        self, images: Float32[np.ndarray, "n d"], config: CaptionConfig | None = None, seed: int = 0,
        seen: Float[np.ndarray, "n v r f"] | None = None,
    ) -> list[list[Candidate]]:  # fmt: skip
        """For each image the `config.kept` best different sentences, best first.

        `images`: their vectors; `seen`: what the encoder saw of them (`VSE.seen`), for models that look themselves.
        Raises InputError where there is such a model and nothing for it, and for a decoder that the set does not have.
        """
        config = config or CaptionConfig()
        each = self.candidates(images, config, seed, seen)
        return [ranked(candidates, self.weights, config.vote)[: config.kept] for candidates in each]

    def candidates(
        self, images: Float32[np.ndarray, "n d"], config: CaptionConfig, seed: int = 0,
        seen: Float[np.ndarray, "n v r f"] | None = None,
    ) -> list[list[Candidate]]:  # fmt: skip
        """For each image all its different candidates, measured but not weighted.

        An image's draws depend on `seed` alone, not on which others are asked with it.
        """
        writes = self.decoder_of(config)
        if (self.reader or self.git) and (seen is None or len(seen) != len(images)):
            raise InputError("the set has models that look at photos: give `seen`, what the encoder saw of them")
        contents, bags = self.concepts.contents(images, config.contents), self.concepts.bags(images)
        looks = memories(self.git, seen) if self.git else [None] * len(images)
        each = []
        for image, content, bag, memory in zip(images, contents, bags, looks, strict=True):
            own = self._written(content, config, seed) if writes != "git" else []
            if writes != "scnlm":
                known = {c.tokens for c in own}
                own += [c for c in written(self.git, memory, config, seed) if c.tokens not in known]
            own = measure(own, image, bag, self.encoder, self.trigram)
            each.append(with_log_p(own, self.git, memory) if self.git else own)
        return with_matching(each, self.reader, seen) if self.reader else each

    def decoder_of(self, config: CaptionConfig) -> str:
        """Which of scnlm, git and both writes candidates. Raises InputError for one that the set does not have."""
        if config.writes == "auto":
            return self.writes if self.git else "scnlm"
        if config.writes != "scnlm" and not self.git:
            raise InputError(f"decoder {config.writes}: the set has no {GIT_PART}/; make one with assemble --git")
        return config.writes

    def _written(self, contents, config: CaptionConfig, seed: int) -> list[Candidate]:
        draw = np.random.default_rng(seed)
        structures = self.lm.structures.sample(config.candidates, draw)
        content_of = draw.integers(len(contents), size=config.candidates)
        words = None if config.structured else torch.Generator().manual_seed(seed)
        sentences, nats = self.decoder.most_probable(contents, content_of, structures, config.beam, words)
        shares = self.lm.structures.log_shares
        best: dict[tuple[str, ...], Candidate] = {}  # of equal sentences the most probable with its structure
        for i, (words, content, structure) in enumerate(zip(sentences, content_of, structures, strict=True)):
            tokens, joint = tuple(words), float(nats[i]) + shares[structure]
            known = best.get(tokens)
            if known is None or known.decoder + known.log_share < joint:
                origin = config.contents[content], structure, float(nats[i])
                first = i if known is None else known.draw
                best[tokens] = Candidate(tokens, *origin, draw=first, log_share=shares[structure])
        return list(best.values())


def bound(folder: Path) -> list[str]:
    """The files that a set's manifest binds: its own, and the manifests of its runs where they have one."""
    runs = [f"{part}/{manifest.MANIFEST}" for part in (ENCODER, DECODER, READER, GIT_PART)]
    return [WEIGHTS, CONCEPTS, TRIGRAM, *(name for name in runs if (folder / name).is_file())]


def shipped_set() -> Path:
    """The caption set that comes with the project, trained on Flickr8K. Raises InputError where it is not there."""
    here = Path(__file__).resolve().parents[1]
    # A wheel brings it as package data, a checkout has it beside the packages.
    places = (here / "shipped" / "flickr8k", here.parent / "models" / "flickr8k")
    folder = next((place for place in places if (place / WEIGHTS).is_file()), None)
    if folder is None:
        raise InputError(f"{places[0]}: no caption set there; give the folder of one, made with `scnlm assemble`")
    return folder
