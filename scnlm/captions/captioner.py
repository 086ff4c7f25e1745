"""Image -> content vectors -> candidates -> the best five (supplement, 5.2): `Captioner` and the set it is loaded from.

A caption set is a folder: `vse/` (encoder run), `scnlm/` (language model run), `trigram.arpa`, `concepts.safetensors`
and `weights.json`, and where it was made with one `fusion/`, a model that reads photo and sentence together. Trains and
tunes nothing (see assemble.py). Shapes: n images, v views, r regions, f feature_dim, d dimensions of the joint space.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32

from scnlm import language_model
from scnlm.configs import CaptionConfig
from scnlm.generate import Decoder
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
READER = "fusion"


class Captioner:
    """Everything that a caption needs, in memory."""

    def __init__(
        self, encoder: VSE, lm: LanguageModel, bank: SentenceBank, trigram: Trigram, weights: Weights,
        reader: Fusion | None = None,
    ):  # fmt: skip
        """`reader`: gives the score's `matching`, then `captions` needs what the encoder sees of the photos.

        Raises InputError when the language model was trained in another encoder's space, and where the weights count on
        a reader that is not there.
        """
        lm.check_encoder(encoder.config.embed_dim, encoder.fingerprint)
        self.encoder, self.lm, self.bank, self.trigram, self.weights = encoder, lm, bank, trigram, weights
        self.reader = reader
        if reader is None and weights.matching:
            raise InputError(
                f"weights: matching is {weights.matching:g}, but there is no {READER}/ to say what matches"
            )
        if lm.structures is None:
            raise InputError("the language model was trained without tags, so it has no structures to caption by")
        self.concepts, self.decoder = Concepts(encoder, bank), Decoder(lm)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "Captioner":
        """The captioner of a set. Raises InputError for a folder that is none, or where a part is missing."""
        folder = Path(folder)
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"{folder}: not a caption set (no {WEIGHTS}); make one with `scnlm assemble`")
        tuned = read_json(folder / WEIGHTS).get("weights")
        if isinstance(tuned, dict):
            tuned = {"matching": 0.0} | tuned  # which sets once had no weight for
        weights = config_from_dict(Weights, tuned, f"{folder / WEIGHTS}: weights", complete=True)
        reader = fusion.load(folder / READER, device) if (folder / READER).is_dir() else None
        captioner = cls(
            checkpoint.load(folder / ENCODER, device), language_model.load(folder / DECODER, device),
            SentenceBank.load(folder / CONCEPTS), Trigram(folder / TRIGRAM), weights, reader,
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

        `images`: their vectors; `seen`: what the encoder saw of them (`VSE.seen`), for a reader to read. Raises
        InputError where there is a reader and nothing for it.
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
        contents, bags = self.concepts.contents(images, config.contents), self.concepts.bags(images)
        each = [self._candidates(*inputs, config, seed) for inputs in zip(images, contents, bags, strict=True)]
        return each if self.reader is None else self._read(each, seen)

    def _read(self, each: list[list[Candidate]], seen: np.ndarray | None) -> list[list[Candidate]]:
        """The candidates of each image with the reader's logit."""
        if seen is None or len(seen) != len(each):
            raise InputError(f"the set has a {READER}/, which reads photos: give `seen`, what the encoder saw of them")
        self.reader.precision = "float32"  # as all else
        read = []
        for tokens, candidates in zip(self.reader.photo_tokens(seen), each, strict=True):
            pairs = np.stack([np.zeros(len(candidates), int), np.arange(len(candidates))], 1)
            logits = self.reader.logits(tokens[None], [c.text for c in candidates], pairs).tolist()
            read.append([replace(c, matching=logit) for c, logit in zip(candidates, logits, strict=True)])
        return read

    def _candidates(self, image, contents, bag, config: CaptionConfig, seed: int) -> list[Candidate]:
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
        return measure(list(best.values()), image, bag, self.encoder, self.trigram)


def bound(folder: Path) -> list[str]:
    """The files that a set's manifest binds: its own, and the manifests of its two runs where they have one."""
    runs = [f"{part}/{manifest.MANIFEST}" for part in (ENCODER, DECODER, READER)]
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
