"""The settings of the language models, of their training and of captioning; what the paper leaves open is marked.

They stand apart from what they configure, so that the command line lists and checks all options without loading torch.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from tyro.conf import Suppress

from vse.configs import OptimizerConfig
from vse.data.part_of_speech import SPACY_MODEL, TagSet
from vse.system.errors import InputError
from vse.system.settings import SIZE, check_settings

Content = Literal["image", "sentences", "words"]  # what a candidate can be decoded from
CONTENTS = get_args(Content)


@dataclass(frozen=True)
class LMConfig:
    """Which model and its sizes; what the paper leaves open was chosen on Flickr8K dev."""

    model: Literal["lbl", "multiplicative", "scnlm"] = "scnlm"
    word_dim: int = 150  # K (open)
    num_factors: int = 100  # F (section 3.3)
    context: int = 5  # words before the predicted one, n - 1 (open)
    gate_dim: int = 300  # G, of u_hat (open)
    tag_context: int = 2  # k, tags after the predicted word's own (open)
    tag_dim: int = 50  # of a tag's embedding t_i (open)
    dropout: float = 0.0  # on r_hat (open)

    def __post_init__(self):
        check_settings(
            self, word_dim=SIZE, num_factors=SIZE, context=SIZE, gate_dim=SIZE, tag_context="[0, 65535]",
            tag_dim=SIZE, dropout="[0, 1)",
        )  # fmt: skip


@dataclass(frozen=True)
class LMTrainConfig(OptimizerConfig):
    """Everything that decides the weights, apart from data, encoder and seed; all open in the paper."""

    lm: LMConfig = field(default_factory=LMConfig)
    # universal tags; "fine": Penn tags; "none": a model that reads no tags, and cannot caption by structures
    tag_set: Literal[TagSet, "none"] = "coarse"
    spacy_model: str = SPACY_MODEL
    # u in training: "caption": its own (section 2.5), "image": the mean of its image's
    content: Literal["caption", "image"] = "image"
    content_noise: float = 0.7  # norm of the noise on u in training: an image is not where its caption is
    epochs: int = 4
    batch_size: int = 200  # captions
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = 3e-3
    schedule: Literal["exponential", "cosine", "constant"] = "cosine"
    warmup_steps: int = 100
    weight_decay: float = 1e-2
    gradient_norm: float = 2.0  # gradients are clipped to it; 0 = never
    min_count: int = 5  # a word enters the vocabulary when training captions have it as often

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, content_noise=">= 0")
        if self.tag_set == "none" and self.lm.model == "scnlm":
            raise InputError("tag_set none: lm.model scnlm reads tags; expected coarse or fine, or another lm.model")


@dataclass(frozen=True)
class GITConfig:
    """A decoder of text beside image tokens (Wang 2022); sizes were chosen on Flickr8K dev."""

    width: int = 384
    layers: int = 4
    heads: int = 6
    # "self": image tokens go through the blocks with the words; "cross": words look at them in a second attention
    attention: Literal["self", "cross"] = "self"
    dropout: float = 0.1
    image_dropout: float = 0.0  # on the features
    positions: int = 40  # of a text, its start among them; longer ones are cut
    frames: int = 1  # read together; more than 1: of a video, each with a vector of its own

    def __post_init__(self):
        check_settings(
            self, "model.", width=SIZE, layers="[1, 1000]", heads=SIZE, dropout="[0, 1)", image_dropout="[0, 1)",
            positions="[2, 65536]", frames="[1, 64]",
        )  # fmt: skip


@dataclass(frozen=True)
class GITTrainConfig(OptimizerConfig):
    """How a GIT is trained; a batch is photos with all their captions."""

    model: GITConfig = field(default_factory=GITConfig)
    tokens: Literal["words", "bpe"] = "words"
    merges: int = 4000  # of "bpe", learned from the training captions
    text_only: bool = False  # a language model of captions, photos left out: to start another training from
    # Share of the CIDEr of drawn captions in what is raised, the rest being log P (self-critical); needs a start.
    reward: float = 0.0
    draws: int = 5  # captions of a photo that are drawn for it
    smoothing: float = 0.1  # of the target's mass goes to other words
    average: float = 0.99  # decay per step of the running mean of the weights that is evaluated and kept; 0 = none
    epochs: int = 20
    batch_size: int = 64  # photos
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = 5e-4
    schedule: Literal["exponential", "cosine", "constant"] = "cosine"
    warmup_steps: int = 300
    weight_decay: float = 0.05
    beta2: float = 0.98
    gradient_norm: float = 1.0
    min_count: int = 5

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, merges=">= 1", reward="[0, 1]", draws=">= 2", smoothing="[0, 1)", average="[0, 1)")
        if self.text_only and self.reward:
            raise InputError("text_only with a reward: captions are drawn for photos; set one of the two")


@dataclass(frozen=True)
class CaptionConfig:
    """How candidates are made; the supplement's, and what it leaves open chosen on Flickr8K dev but for the vote."""

    candidates: int = 1000  # an image (supplement)
    # who writes candidates, of a set with a GIT; "auto": as it was tuned. `scnlm caption --decoder` sets it
    writes: Annotated[Literal["auto", "scnlm", "git", "both"], Suppress] = "auto"
    git_beam: int = 20  # candidates of a GIT's beam of that width
    git_draws: int = 50  # and drawn from it
    # drawn from with equal chances; "words" brings nothing on dev
    contents: tuple[Content, ...] = ("image", "sentences")
    beam: int = 1  # width of the search for the most probable sentence; 1 = greedy (open)
    structured: bool = True  # the most probable sentence of a structure; False: sentences drawn word by word
    vote: float = 0.15  # temperature of the vote of the best-scored candidates, see rerank.ranked; 0 for none
    kept: int = 5  # captions returned (supplement)

    def __post_init__(self):
        check_settings(
            self,
            candidates=">= 1",
            beam=">= 1",
            kept=">= 1",
            vote=">= 0",
            git_beam="[0, 1000]",
            git_draws="[0, 100000]",
        )
        if not self.git_beam + self.git_draws:
            raise InputError("git_beam = 0, git_draws = 0: a GIT would write nothing; set one of them")
        if self.beam > 1 and not self.structured:
            raise InputError(f"beam {self.beam} without structure: words are drawn one by one then; expected beam 1")
        if not self.contents:
            raise InputError(f"contents: none given; expected some of {', '.join(CONTENTS)}")
