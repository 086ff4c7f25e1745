"""`Fusion`: one transformer that reads a photo and a sentence together and says whether they match.

The reading here of patent CN114298158A ("image-text linear combination"): the features of both modalities, each with a
type embedding, are combined linearly, Y = [V_type + v; T_type + t], and go through the attention of one transformer,
Y_p = tanh(W h_[CLS] + b). Which formula combines a photos and b sentences of one scene is open there: `combination`.
Trains nothing (train_fusion.py) and ranks nothing (rerank.py).
Shapes: b batch, a images and s sentences of one scene, r regions, f feature_dim, t words, u of them that
are read, n tokens, w width.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from tqdm import tqdm

from vse.configs import FusionConfig
from vse.data.sentences import pad
from vse.data.vocabulary import PAD_ID, Tokens
from vse.encoders.dropout import Dropout
from vse.encoders.image import ImageEncoder
from vse.encoders.scale import mean_and_spread
from vse.encoders.transformer import EPS, Block
from vse.features.given import GivenPhotos, Images, check_listed
from vse.features.info import grid_of
from vse.model import VSE
from vse.system.errors import InputError
from vse.system.precision import autocast

_PAIRS = 256  # read at once by `logits`: their states stay in the cache
_PHOTOS = 128  # embedded at once
_SPREAD = 0.1  # of the random start of positions, types and the like, beside tokens of root mean square 1

Regions = Float[Tensor, "b a r w"]
Words = Float[Tensor, "b s t w"]
Inside = Bool[Tensor, "b s t"]


class Fusion(nn.Module):
    """[CLS], regions and words in one stream of pre-norm blocks; a matching head and a masked-word head."""

    def __init__(self, config: FusionConfig, vocabulary: Tokens, feature_dim: int, feature_info: dict):
        super().__init__()
        width = config.width
        self.config, self.vocabulary = config, vocabulary
        self.feature_dim, self.feature_info = feature_dim, feature_info
        self.grid = grid_of(feature_info)
        self.W_v = nn.Linear(feature_dim, width, bias=False)
        self.words = nn.Embedding(len(vocabulary), width, padding_idx=PAD_ID)
        self.rows, self.columns = (nn.Parameter(torch.empty(self.grid, width)) for _ in range(2))
        self.positions = nn.Parameter(torch.empty(config.positions, width))
        self.numbers = nn.Parameter(torch.empty(config.sentences if config.combination == "concat" else 0, width))
        self.types = nn.Parameter(torch.empty(2, width))  # V_type, T_type
        self.start_token, self.mask_token = (nn.Parameter(torch.empty(width)) for _ in range(2))
        self.blocks = nn.ModuleList(Block(width, config.heads, dropout=config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, EPS)
        self.pool, self.match_head = nn.Linear(width, width), nn.Linear(width, 2)
        self.word_transform, self.word_norm = nn.Linear(width, width), nn.LayerNorm(width, EPS)
        self.word_bias = nn.Parameter(torch.zeros(len(vocabulary)))
        self.image_dropout, self.word_dropout = Dropout(config.image_dropout), Dropout(config.word_dropout)
        self._start()
        self.photos = GivenPhotos()
        self.precision = "auto"  # of `photo_tokens` and `logits`
        self.fingerprint = ""  # set when it is loaded

    def _start(self) -> None:
        """A random start: tokens of root mean square 1, blocks as CLIP's."""
        for block in self.blocks:
            block.start(len(self.blocks))
        for extra in (
            self.rows, self.columns, self.positions, self.numbers, self.types, self.start_token, self.mask_token,
        ):  # fmt: skip
            nn.init.normal_(extra, std=_SPREAD)
        nn.init.normal_(self.words.weight)
        nn.init.normal_(self.W_v.weight, std=self.feature_dim**-0.5)
        nn.init.zeros_(self.match_head.weight)  # the first loss is that of chance
        nn.init.zeros_(self.match_head.bias)
        with torch.no_grad():
            self.words.weight[PAD_ID] = 0.0

    @property
    def device(self) -> torch.device:
        return self.positions.device

    @torch.no_grad()
    def start_from(self, encoder: VSE, features: Float[np.ndarray, "n v r f"]) -> None:
        """Words and regions begin where a dual encoder puts them; regions of other features do not.

        A word is its vector as a sentence of one word, a region W_I q; both in those `width` directions of the joint
        space in which most of the two lies, scaled to a root mean square of 1 on all words and on `features`, a sample.
        Raises InputError for an encoder whose photos are no linear map of their regions.
        """
        images = encoder.image_encoder
        if not isinstance(images, ImageEncoder) or images.mlp:
            raise InputError("the encoder maps no regions by one matrix; give a run of the recipe best or paper")
        points = words = torch.from_numpy(encoder.encode_texts(self.vocabulary.tokens))
        W, starts = images.W_I.weight.cpu(), [(self.words.weight, words)]
        if W.shape[1] == self.feature_dim:
            sample = torch.from_numpy(np.array(features)).float().flatten(0, 2)
            points = torch.cat([words, nn.functional.normalize(sample @ W.T, dim=1)])
            starts.append((self.W_v.weight.T, W.T))
        main = torch.linalg.svd(points, full_matrices=False).Vh[: self.config.width]
        for weight, started in starts:
            weight.zero_()
            weight[:, : len(main)] = (started @ main.T).to(weight)
        self.words.weight[PAD_ID] = 0.0
        self.words.weight /= self.words.weight.square().mean().sqrt()
        if len(starts) == 1:
            self.scale_regions(features)
        else:
            self.W_v.weight /= self.W_v(sample.to(self.device)).square().mean().sqrt()

    @torch.no_grad()
    def scale_regions(self, features: Float[np.ndarray, "n v r f"]) -> None:
        """Without a start from elsewhere: on `features`, a sample, W_v q + V_type has a mean of 0 and a variance of 1.

        Features may be of any size; beside words of root mean square 1 small ones would not be seen.
        """
        mean, spread = mean_and_spread(self.W_v, features)
        self.W_v.weight /= spread
        self.types[0] = -mean / spread

    # ---- from features and words to tokens

    def embed_images(self, features: Float[Tensor, "b a r f"]) -> Regions:
        """v of each image: W_v q of its regions, the vectors of their rows and columns, V_type."""
        regions = self.W_v(self.image_dropout(features)).float() + self.types[0]
        if self.grid:
            regions = regions + (self.rows[:, None] + self.columns[None]).flatten(0, 1)
        return regions

    def embed_texts(
        self, tokens: Int[Tensor, "b s t"], lengths: Int[Tensor, "b s"], masked: Inside | None = None
    ) -> tuple[Float[Tensor, "b s u w"], Bool[Tensor, "b s u"]]:
        """(t of each sentence: its words, their positions, T_type; where there is one); what is too long is cut.

        `masked`: words that are replaced by the vector of the mask.
        """
        tokens = tokens[:, :, : len(self.positions)]
        words = self.words(tokens)
        if masked is not None:
            words = torch.where(masked[:, :, : tokens.shape[2], None], self.mask_token, words)
        words = self.word_dropout(words) + self.positions[: tokens.shape[2]] + self.types[1]
        if len(self.numbers):
            words = words + self.numbers[: tokens.shape[1], None]
        return words, torch.arange(tokens.shape[2], device=tokens.device) < lengths[:, :, None]

    def combine(self, images: Regions, texts: Words, inside: Inside) -> tuple[Tensor, Tensor]:
        """([CLS] and the tokens of both, combined (b, n, w); which of them there are (b, n))."""
        images = self.config.image_weight * images
        texts = self.config.text_weight * texts * inside[..., None]
        if self.config.combination == "concat":
            return self._stream(images.flatten(1, 2), texts.flatten(1, 2), inside.flatten(1, 2))
        return self._stream(images.sum(1), texts.sum(1), inside.any(1))

    def _stream(self, images: Tensor, texts: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        first = self.start_token.expand(len(images), 1, -1)
        there = inside.new_ones(len(images), 1 + images.shape[1])
        return torch.cat([first, images, texts], 1), torch.cat([there, inside], 1)

    # ---- the transformer and its heads

    def states(self, h: Float[Tensor, "b n w"], there: Bool[Tensor, "b n"]) -> Float[Tensor, "b n w"]:
        """What the blocks make of all tokens."""
        for block in self.blocks:
            h = block(h, there[:, None])
        return self.norm(h)

    def pooled(self, h: Float[Tensor, "b n w"], there: Bool[Tensor, "b n"]) -> Float[Tensor, "b w"]:
        """Y_p = tanh(W h_[CLS] + b); of the last block nothing else is computed."""
        for block in self.blocks[:-1]:
            h = block(h, there[:, None])
        first = torch.zeros(len(h), dtype=torch.long, device=h.device)
        return torch.tanh(self.pool(self.norm(self.blocks[-1].at(h, first, there[:, None]).squeeze(1))))

    def match_logits(self, pooled: Float[Tensor, "b w"]) -> Float[Tensor, " b"]:
        """log p(match) - log p(no match) of the matching head."""
        no, yes = self.match_head(pooled).float().unbind(1)
        return yes - no

    def matching(self, images: Regions, texts: Words, inside: Inside) -> Float[Tensor, " b"]:
        """The logit that images and sentences are of one scene; of "score" the weighted sum over pairs of them."""
        if self.config.combination != "score":
            return self.match_logits(self.pooled(*self.combine(images, texts, inside)))
        a, s = images.shape[1], texts.shape[1]
        photos = images.repeat_interleave(s, 1).flatten(0, 1)
        sentences, words = texts.repeat(1, a, 1, 1).flatten(0, 1), inside.repeat(1, a, 1).flatten(0, 1)
        logits = self.match_logits(self.pooled(*self._stream(photos, sentences * words[..., None], words)))
        return self.config.image_weight * self.config.text_weight * logits.view(-1, a * s).sum(1)

    def word_states(self, images: Regions, texts: Words, inside: Inside) -> Float[Tensor, "b t w"]:
        """The last states of the words of each first sentence; of "score" it is read with the first image alone."""
        first = 1 + images.shape[2] * (images.shape[1] if self.config.combination == "concat" else 1)
        if self.config.combination == "score":
            stream = self._stream(images[:, 0], texts[:, 0] * inside[:, 0, :, None], inside[:, 0])
        else:
            stream = self.combine(images, texts, inside)
        return self.states(*stream)[:, first : first + texts.shape[2]]

    def word_logits(self, states: Float[Tensor, "m w"]) -> Float[Tensor, "m v"]:
        """Of states of words that were masked the logits of all words; the last matrix is that of the words.

        It is scaled, for words have a root mean square of 1.
        """
        h = self.word_norm(gelu(self.word_transform(states))) * self.config.width**-0.5
        return linear(h, self.words.weight, self.word_bias)

    # ---- for users: photos and sentences

    def match(
        self, images: Images, texts: Sequence[str | Sequence[str]], progress: bool = False
    ) -> Float32[np.ndarray, "n m"]:
        """(N, M) probabilities that photo n and sentence m are of one scene; see `logits`."""
        tokens = self.photo_tokens(images)
        pairs = np.stack(np.meshgrid(np.arange(len(tokens)), np.arange(len(texts)), indexing="ij"), 2).reshape(-1, 2)
        logits = self.logits(tokens, texts, pairs, progress)
        return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32).reshape(len(tokens), len(texts))

    @torch.inference_mode()
    def photo_tokens(self, images: Images) -> Regions:
        """The tokens of photos, which no sentence changes: files, or features (N, F), (N, R, F), (N, V, R, F).

        Of several stored views the first `images` of the config are read. Raises InputError for fewer of them, for
        features of another CNN, and for unreadable photos.
        """
        check_listed(images)
        array = self.photos.features(images, self.feature_dim, self.feature_info, self.device)
        a = self.config.images
        if array.shape[1] < a:
            raise InputError(f"features of {array.shape[1]} views a photo: the model reads {a} of each; give as many")
        self.eval()
        starts = range(0, max(1, len(array)), _PHOTOS)  # of no photos an empty block
        blocks = [torch.from_numpy(np.array(array[i : i + _PHOTOS, :a])) for i in starts]
        with autocast(self.precision, self.device):
            return torch.cat([self.embed_images(block.float().to(self.device)) for block in blocks])

    @torch.inference_mode()
    def logits(
        self, photos: Regions, texts: Sequence[str | Sequence[str]], pairs: Int[np.ndarray, "p 2"],
        progress: bool = False,
    ) -> Float32[np.ndarray, " p"]:  # fmt: skip
        """The matching logit of each pair (row of `photos`, row of `texts`); `photos` are `photo_tokens`.

        A text is a sentence, or several of one scene that are combined; all texts have as many. Unknown words are read
        as <unk>. Raises InputError where texts have different numbers of sentences, or more than the model tells apart.
        """
        self.eval()
        out = np.empty(len(pairs), np.float32)
        bar = tqdm(total=len(pairs), desc="match", unit="pair", leave=False, disable=None if progress else True)
        for rows, embedded in self.embedded(photos, texts, pairs):
            with autocast(self.precision, self.device):
                out[rows] = self.matching(*embedded).cpu().numpy()
            bar.update(len(rows))
        bar.close()
        return out

    def embedded(
        self, photos: Regions, texts: Sequence[str | Sequence[str]], pairs: Int[np.ndarray, "p 2"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], tuple[Regions, Words, Inside]]]:
        """Batches of pairs of like length: (their rows in `pairs`, images, sentences and where these have words)."""
        groups = self._grouped(texts)
        tokens, lengths = pad(self.vocabulary.encode_all([sentence for group in groups for sentence in group]))
        tokens, lengths = (part.unflatten(0, (len(groups), -1)) for part in (tokens, lengths))
        longest = lengths.amax(1)
        order = np.argsort(longest.numpy()[pairs[:, 1]], kind="stable")  # so that little is padding
        for start in range(0, len(pairs), _PAIRS):
            rows = order[start : start + _PAIRS]
            of_photos, of_texts = torch.from_numpy(pairs[rows]).unbind(1)
            words = tokens[of_texts, :, : int(longest[of_texts].max())].to(self.device)
            with autocast(self.precision, self.device):
                sentences = self.embed_texts(words, lengths[of_texts].to(self.device))
            yield rows, (photos[of_photos.to(self.device)], *sentences)

    def _grouped(self, texts: Sequence[str | Sequence[str]]) -> list[Sequence[str]]:
        """Each text as a list of sentences."""
        if isinstance(texts, str):
            raise InputError(f"{texts!r}: expected a list of sentences; put it in one")
        groups = [[text] if isinstance(text, str) else text for text in texts]
        counts = sorted({len(group) for group in groups})
        if len(counts) != 1 or not counts[0]:
            raise InputError(f"texts of {' and '.join(map(str, counts)) or 'no'} sentences: expected as many in each")
        if self.config.combination == "concat" and counts[0] > len(self.numbers):
            raise InputError(f"texts of {counts[0]} sentences: the model was trained on up to {len(self.numbers)}")
        return groups
