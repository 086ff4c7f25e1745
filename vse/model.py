"""`VSE`: an image encoder and a sentence encoder that meet in one space, and how to use them on photos and text.

Reads no run folder (see checkpoint.py) and trains nothing (see train.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from vse.configs import VSEConfig
from vse.data.datasets import Dataset
from vse.data.sentences import pad
from vse.data.vocabulary import EOS_ID, PAD_ID, UNK_ID, Tokens
from vse.encoders.image import AttentionPoolEncoder, ImageEncoder
from vse.encoders.pixels import PixelEncoder
from vse.encoders.text import make_text_encoder
from vse.encoders.tuned import TunedEncoder
from vse.features.given import GivenPhotos, check_listed
from vse.features.info import shape_of
from vse.features.pictures import Photos, read_pictures
from vse.system.errors import InputError

TEMPERATURE = 0.05  # in cosine, where an objective has none
_PHOTOS = 64  # decoded at once
_MOST_WORDS = 32_768  # of a batch, padding included; bounds the memory of `encode_texts`


class VSE(nn.Module):
    """One space for images and sentences; both encoders give unit vectors, a score is their dot product."""

    def __init__(self, config: VSEConfig, vocabulary: Tokens, feature_dim: int, feature_info: dict | None = None):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.feature_dim, self.feature_info = feature_dim, feature_info or {}
        self.image_encoder = _image_encoder(config, feature_dim, self.feature_info)
        self.text_encoder = make_text_encoder(config.text, len(vocabulary), config.embed_dim)
        if config.init_range:
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -config.init_range, config.init_range)
        self.image_encoder.start()
        self.text_encoder.start()
        with torch.no_grad():
            self.text_encoder.words.vectors.weight[PAD_ID] = 0.0
        self._start_unknown()
        self.photos = GivenPhotos()
        self.temperature = TEMPERATURE  # of probabilities; set by `load` where it was trained
        self.fingerprint = ""  # set by `load`; tells caches of embeddings which weights made them

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def set_word_vectors(self, vectors: dict[str, Float[np.ndarray, " w"]]) -> int:
        """The number of vocabulary words whose vectors were set to the given ones (section 3.1: word2vec).

        They are scaled so that their root mean square is that of the initial vectors, which keeps the other weights'
        scale right, or all are scaled to the one that the encoder wants (`given_rms`). Words that the file lacks keep
        their random start. Raises InputError for another dimension.
        """
        weight = self.text_encoder.words.vectors.weight
        ids = [i for i, token in enumerate(self.vocabulary.tokens) if token in vectors and i != PAD_ID]
        if not ids:
            return 0
        rows = torch.from_numpy(np.stack([vectors[self.vocabulary.tokens[i]] for i in ids])).to(weight)
        if rows.shape[1] != weight.shape[1] or not rows.isfinite().all() or not rows.any():
            raise InputError(
                f"word vectors of {rows.shape[1]} numbers: expected {weight.shape[1]}, finite, not all 0;"
                f" give another file, or set text.word_dim = {rows.shape[1]}"
            )
        with torch.no_grad():
            if self.text_encoder.given_rms:
                weight[EOS_ID + 1 :] *= self.text_encoder.given_rms / _rms(weight[EOS_ID + 1 :])
            rows *= _rms(weight[EOS_ID + 1 :]) / _rms(rows)
            weight[ids] = rows
        self._start_unknown()
        return len(ids)

    def _start_unknown(self) -> None:
        """<unk> starts as the mean word: where training never reads it, it must not say anything at random."""
        weight = self.text_encoder.words.vectors.weight
        with torch.no_grad():
            weight[UNK_ID] = weight[UNK_ID + 1 :].mean(0)

    def start_from_published(self, images: Float[np.ndarray, "n v r f"]) -> None:
        """Gives CNNs that are tuned (`image.tune`) their published weights, and scales their features by `images`."""
        assert isinstance(self.image_encoder, TunedEncoder)
        self.image_encoder.load_published()
        self.image_encoder.eval().calibrate(torch.from_numpy(np.array(images[:, 0])).float())

    @property
    def from_pixels(self) -> bool:
        """True for a model that sees photos, not features of a CNN."""
        return isinstance(self.image_encoder, PixelEncoder)

    def encode_image(self, images: Float[Tensor, "b r f"] | UInt8[Tensor, "b s s 3"]) -> Float[Tensor, "b d"]:
        """Unit vectors of a batch of CNN features or of pixels, differentiable."""
        return self.image_encoder(images)

    def encode_text(self, tokens: Tensor, lengths: Tensor) -> Float[Tensor, "b d"]:
        """Unit vectors of a batch of padded sentences, differentiable."""
        return self.text_encoder(tokens, lengths)

    def seen(self, images: Sequence[str | Path] | np.ndarray) -> np.ndarray:
        """What the model sees of photo files, for `encode_images`: features (N, V, R, F), or pictures (N, S, S, 3).

        Raises InputError as that does.
        """
        if not self.from_pixels:
            return self.photos.features(images, self.feature_dim, self.feature_info, self.device)
        check_listed(images)
        return images if isinstance(images, np.ndarray) else read_pictures(images, self.config.pixels.size)

    @torch.inference_mode()
    def encode_images(
        self, images: Sequence[str | Path] | np.ndarray, batch_size: int = 512, progress: bool = False
    ) -> Float[np.ndarray, "n d"]:
        """(N, D) float32 unit vectors of photos or of features (N, F), (N, R, F) or (N, V, R, F).

        Several stored views of a photo become one vector: the mean of the views' vectors, scaled to unit norm.
        Raises InputError for another feature dimension or other regions than the model was trained on, for more views,
        and for unreadable photos.
        """
        if self.from_pixels:
            return self._encode_pixels(images, progress)
        array = self.seen(images)
        self.eval()
        out = np.empty((len(array), self.config.embed_dim), np.float32)
        for start in _bar(range(0, len(array), batch_size), "embed images", progress):
            block = torch.from_numpy(np.array(array[start : start + batch_size]))  # a memory map cannot be lent
            block = block.float().to(self.device)
            embedded = self.encode_image(block.flatten(0, 1)).view(len(block), -1, self.config.embed_dim)
            out[start : start + batch_size] = nn.functional.normalize(embedded.mean(1), dim=1).cpu().numpy()
        return out

    def _encode_pixels(self, images: Sequence[str | Path] | np.ndarray, progress: bool) -> Float[np.ndarray, "n d"]:
        """Of photo files, or of pictures (N, S, S, 3) of bytes."""
        size = self.config.pixels.size
        check_listed(images)
        if isinstance(images, np.ndarray) and (images.shape[1:] != (size, size, 3) or images.dtype != np.uint8):
            held = f"{images.dtype} of shape {images.shape}"
            raise InputError(f"{held}: the model sees pixels; give photo files or (N, {size}, {size}, 3) bytes")
        self.eval()
        out = np.empty((len(images), self.config.embed_dim), np.float32)
        for start in _bar(range(0, len(images), _PHOTOS), "embed images", progress):
            block = images[start : start + _PHOTOS]
            pictures = block if isinstance(block, np.ndarray) else read_pictures(block, size)
            vectors = self.encode_image(torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device))
            out[start : start + _PHOTOS] = vectors.cpu().numpy()
        return out

    @torch.inference_mode()
    def encode_texts(
        self, texts: Sequence[str], batch_size: int = 512, progress: bool = False
    ) -> Float[np.ndarray, "m d"]:
        """(M, D) float32 unit vectors of sentences; unknown words are read as <unk>."""
        if isinstance(texts, str):  # it would be read letter by letter
            raise InputError(f"encode_texts({texts!r}): expected a list of sentences; put it in one")
        self.eval()
        sentences = self.vocabulary.encode_all(texts)
        out = np.empty((len(texts), self.config.embed_dim), np.float32)
        batches = list(_alike([len(s) for s in sentences], batch_size))
        for rows in _bar(batches, "embed captions", progress):
            tokens, lengths = pad([sentences[i] for i in rows])
            out[rows] = self.encode_text(tokens.to(self.device), lengths.to(self.device)).cpu().numpy()
        return out


def _image_encoder(config: VSEConfig, feature_dim: int, info: dict) -> nn.Module:
    """The image encoder that `config` names. Raises InputError where the features are not what it needs."""
    if config.pixels.tower != "none":
        return PixelEncoder(config.pixels, config.embed_dim)
    if config.image.tune:
        return TunedEncoder(config.image, info, config.embed_dim)
    if config.image.pooling != "qkv":
        return ImageEncoder(config.image, feature_dim, config.embed_dim)
    regions = shape_of(info)[1]
    if not regions:
        raise InputError('image.pooling = "qkv": these features do not tell how many regions they have')
    return AttentionPoolEncoder(config.image, feature_dim, regions, config.embed_dim)


def _rms(rows: Tensor) -> float:
    return rows.square().mean().sqrt().item()


def _bar(batches: Sequence, label: str, progress: bool) -> Iterable:
    """The batches, under a progress bar where that is wanted and the output is a terminal."""
    return tqdm(batches, desc=label, unit="batch", leave=False, disable=None if progress else True)


def side_by_side(
    models: Sequence[VSE], split: Dataset, features: Sequence[Photos]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Vectors of a split's images and captions whose dot product is the mean score of models.

    `features[i]` are those of `models[i]`.
    """
    images = [m.encode_images(f.take(split.images)) for m, f in zip(models, features, strict=True)]
    captions = [m.encode_texts(split.captions) for m in models]
    scale = np.float32(len(models) ** -0.5)
    return np.hstack(images) * scale, np.hstack(captions) * scale


def _alike(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Batches of sentences of like length, so that little is padding; fewer to a batch where they are very long."""
    batch: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():  # what comes next is at least as long
        if batch and (len(batch) == batch_size or (len(batch) + 1) * lengths[i] > _MOST_WORDS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
