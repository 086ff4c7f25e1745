"""The settings of the encoder and of its training: the paper's, with its section or "open" beside them.

They stand apart from what they configure, so that the command line lists and checks all options without loading torch.
"""

from dataclasses import dataclass, field
from typing import Literal

from vse.system.errors import InputError
from vse.system.settings import SIZE, Precision, check_settings


@dataclass(frozen=True)
class ImageConfig:
    """How a feature becomes a point of the space; the defaults are the paper's x = W_I q."""

    # of the regions; "attention": learned weights, a softmax a head; "qkv": CLIP's, the mean looks at all regions
    pooling: Literal["mean", "attention", "qkv"] = "mean"
    heads: int = 4  # of "attention": each weights the regions for its own part of the feature; of "qkv"
    width: int = 512  # of "qkv": what the features are projected to first
    hidden: int = 0  # units of an MLP added to W_I q; 0 = none
    dropout: float = 0.0  # on the features
    tune: bool = False  # train the CNNs on from where they were cut (features of CNN@BLOCK)
    grid: int = 3  # of "tune": the CNNs' last maps are pooled to so many regions a side
    crop: float = 1.0  # of "tune": in training the CNNs see a square of this share of the map's side or more; 1 = all

    def __post_init__(self):
        check_settings(
            self, "image.", grid="[1, 64]", crop="(0, 1]", heads=SIZE, width=SIZE, hidden="[0, 65536]",
            dropout="[0, 1)",
        )  # fmt: skip


@dataclass(frozen=True)
class PixelConfig:
    """An image half that learns from pixels, in place of frozen features (CLIP, Radford 2021)."""

    tower: Literal["none", "resnet", "vit"] = "none"  # "none": the features of a CNN
    size: int = 64  # side of the square pictures, in pixels
    width: int = 64  # channels of the ResNet's first stage; the ViT's width
    stages: tuple[int, ...] = (1, 1, 1, 1)  # blocks of the ResNet's stages
    layers: int = 4  # blocks of the ViT
    patch: int = 8  # side of the ViT's patches, in pixels
    crop: float = 0.4  # a training crop covers this share of the photo or more; 1 = no crops
    flip: bool = True  # half of the training crops are mirrored
    jitter: float = 0.0  # brightness, contrast and saturation change by up to this share

    def __post_init__(self):
        check_settings(
            self, "pixels.", size="[8, 1024]", width=SIZE, layers="[1, 1000]", patch="[1, 1024]", crop="(0, 1]",
            jitter="[0, 1]",
        )  # fmt: skip


@dataclass(frozen=True)
class TextConfig:
    """How a sentence becomes a point of the space; the defaults are the paper's LSTM."""

    # "lstm", "peephole" (the paper's cell), "gru", "conv" (windows of 1 to 3 words, Kim 2014), "bow" (sum of words),
    # "transformer" (CLIP, Radford 2021)
    encoder: Literal["lstm", "peephole", "gru", "conv", "bow", "transformer"] = "lstm"
    tokens: Literal["words", "bpe"] = "words"  # "bpe": pieces of words, learned from the training captions or read
    merges: int = 4000  # of "bpe": pieces learned, beside single bytes
    word_dim: int = 300  # word2vec's (section 3.1)
    hidden: int = 300  # units a direction (section 3.1); the transformer's width
    layers: int = 4  # blocks of the transformer
    heads: int = 0  # of the transformer; 0: one for 64 units
    activation: Literal["gelu", "quick_gelu"] = "gelu"  # of the transformer; "quick_gelu": of OpenAI's weights
    positions: int = 77  # the transformer reads so many tokens at most, start and end included (CLIP)
    bidirectional: bool = False  # a second reader from the right
    pooling: Literal["last", "max", "mean"] = "last"  # over time; "last": the last state (the paper)
    forget_bias: float = 1.0  # an LSTM's forget gates start at it, so that first words reach the last state (open)
    tune_words: bool = True  # train the word vectors (open in the paper)
    dropout: float = 0.0  # on the word vectors and on the pooled state
    block_dropout: float = 0.0  # inside the transformer's blocks: on attention weights and on what each branch adds
    word_dropout: float = 0.0  # chance of a word to be read as <unk>
    length_groups: int = 1  # groups of like length a batch is read in, for speed: each pads to its own longest

    def __post_init__(self):
        check_settings(
            self, "text.", word_dim=SIZE, hidden=SIZE, length_groups=SIZE, dropout="[0, 1)", block_dropout="[0, 1)",
            word_dropout="[0, 1)", merges=">= 1", layers="[1, 1000]", heads="[0, 65536]",
            positions="[3, 65536]",
        )  # fmt: skip


@dataclass(frozen=True)
class VSEConfig:
    """The two encoders and their common space."""

    embed_dim: int = 300  # D (section 3.1)
    image: ImageConfig = field(default_factory=ImageConfig)
    text: TextConfig = field(default_factory=TextConfig)
    pixels: PixelConfig = field(default_factory=PixelConfig)
    init_range: float = 0.08  # weights uniform in [-init_range, init_range] (supplement); 0 = PyTorch's own

    def __post_init__(self):
        check_settings(self, "model.", embed_dim=SIZE, init_range=">= 0")


@dataclass(frozen=True)
class LossConfig:
    """Which objective and its settings; the defaults are the paper's."""

    # "ranking" (section 2.2), "hardest" (VSE++, Faghri 2018), "infonce" (van den Oord 2018)
    name: Literal["ranking", "hardest", "infonce"] = "ranking"
    margin: float = 0.2  # a of the ranking loss, in cosine (supplement)
    num_contrastive: int = 0  # contrastive items drawn per pair from the batch; 0 = all of them (open in the paper)
    # over contrastive items, of "ranking" and of the epochs before "hardest": a factor on the learning rate; Adam keeps
    # the scale of past gradients for long, so "mean" before "hardest", whose costs it is near
    reduction: Literal["sum", "mean"] = "sum"
    warmup_epochs: int = 0  # "hardest": epochs of all contrastive items first
    temperature: float = 0.05  # starting temperature of "infonce", in cosine
    learn_temperature: bool = True  # "infonce": the temperature is trained (CLIP, Radford 2021)
    distill: float = 0.0  # weight of the distillation from teachers, beside 1 - distill of the objective
    teacher_temperature: float = 0.05  # of the teachers' and the student's scores in the distillation, in cosine

    def __post_init__(self):
        check_settings(
            self, "loss.", margin="> 0", num_contrastive=">= 0", warmup_epochs=">= 0", temperature="> 0",
            distill="[0, 1]", teacher_temperature="> 0",
        )  # fmt: skip


@dataclass(frozen=True)
class ViewsConfig:
    """Which views of a pair meet in a step, and what each pair of views weighs (ERNIE-ViL 2.0, Shan 2022).

    I1, I2: two crops of the photo. T1, T2: two passes of its sentence, each with its own dropout; the sentence is a
    caption or the photo's tag sentence. The defaults are one photo and one caption.
    """

    image_image: float = 0.0  # weight of (I1, I2)
    text_text: float = 0.0  # of (T1, T2)
    image_text: float = 1.0  # of (I1, T1)
    second_image_text: float = 0.0  # of (I2, T2)
    tags: float = 0.0  # chance of a step to read the tag sentences in place of the captions
    coin: Literal["step", "pair"] = "step"  # "pair": each pair of a step draws for itself
    # of (I1, I2) and (T1, T2): the other view's rows alone are negatives, or those of both (SimCLR, Chen 2020)
    negatives: Literal["other", "both"] = "other"
    temperatures: Literal["one", "own"] = "one"  # "own": one for image and text, one for images, one for texts

    def __post_init__(self):
        check_settings(
            self, "views.", image_image=">= 0", text_text=">= 0", image_text=">= 0", second_image_text=">= 0",
            tags="[0, 1]",
        )  # fmt: skip
        if not any((self.image_image, self.text_text, self.image_text, self.second_image_text)):
            raise InputError("views: all weights are 0, so nothing would be learned; give image_text or another one")

    @property
    def crops(self) -> int:
        """How many views of a photo a step needs."""
        return 2 if self.image_image or self.second_image_text else 1

    @property
    def passes(self) -> int:
        """How many passes of a sentence a step needs."""
        return 2 if self.text_text or self.second_image_text else 1


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How a training run goes: what every system's has in common; the defaults are those of the paper's encoder."""

    epochs: int = 12  # open in the paper; chosen on Flickr8K dev
    batch_size: int = 40  # pairs (supplement: 40 on Flickr8K, 100 on Flickr30K)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"  # "sgd": without momentum (supplement)
    learning_rate: float = 1.0  # at the start (supplement)
    schedule: Literal["exponential", "cosine", "constant"] = "exponential"  # (supplement); "cosine": to 0
    decay: float = 0.85  # of "exponential": factor per epoch (open in the paper; chosen on Flickr8K dev)
    warmup_steps: int = 0  # steps of linear rise to the learning rate
    weight_decay: float = 0.0  # of "adamw", on matrices alone
    beta2: float = 0.999  # of "adam" and "adamw": decay per step of the mean of squared gradients
    gradient_norm: float = 0.5  # gradients are clipped to it, 0 = never (open in the paper; chosen on Flickr8K dev)
    min_count: int = 1  # a word enters the vocabulary when training captions have it as often
    precision: Precision = "auto"  # of the products; "auto": bfloat16 (autocast) where it runs and pays

    def __post_init__(self):
        check_settings(
            self, epochs=">= 1", batch_size=">= 1", learning_rate="> 0", decay="> 0", warmup_steps=">= 0",
            weight_decay=">= 0", beta2="[0, 1)", gradient_norm=">= 0", min_count=">= 1",
        )  # fmt: skip


@dataclass(frozen=True)
class TrainConfig(OptimizerConfig):
    """Everything that decides the weights, apart from data and seed; the defaults are the paper's."""

    model: VSEConfig = field(default_factory=VSEConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    extra_pairs: int = 0  # pairs of captions of one image per step, from the extra text; 0 = none
    average: float = 0.0  # decay per step of the running mean of the weights that is evaluated and kept; 0 = none
    cnn_rate: float = 0.05  # factor on the learning rate of CNNs that are tuned
    by_photo: bool = False  # batches of photos with all their captions, each photo encoded once
    chunk_size: int = 0  # pairs encoded at once, for batches larger than memory (GradCache, Gao 2021); 0 = the batch

    def __post_init__(self):
        super().__post_init__()
        check_settings(
            self, batch_size=">= 2", extra_pairs=">= 0", average="[0, 1)", chunk_size=">= 0", cnn_rate=">= 0"
        )
        self._check_views()

    def _check_views(self) -> None:
        """Raises InputError for views that this training would not tell apart, or could not use."""
        text = self.model.text
        if self.views.passes > 1 and not (text.dropout or text.block_dropout or text.word_dropout):
            raise InputError(
                "views: two passes of a sentence are the same without dropout; set model.text.dropout, such as 0.1"
            )
        if self.views.negatives == "both" and self.loss.name != "infonce":
            raise InputError(f'views.negatives = "both" is of loss.name = "infonce", this is {self.loss.name!r}')
        if self.views.tags and self.loss.distill:
            raise InputError("loss.distill: a teacher scores captions, not tag sentences; set views.tags to 0")


@dataclass(frozen=True)
class FusionConfig:
    """A transformer that reads photo and sentence together (patent CN114298158A; all of it is open there).

    It reads a photos and b sentences of one scene, combined with the weights xi and mu (the patent's: 1).
    """

    width: int = 256
    layers: int = 2
    heads: int = 16
    dropout: float = 0.1  # inside the blocks
    image_dropout: float = 0.2  # on the features
    word_dropout: float = 0.1  # on the word vectors
    positions: int = 77  # so many words of a sentence are read at most
    # "sum": the weighted sum of their tokens; "concat": all in a row; "score": the weighted sum of the pairs' scores
    combination: Literal["sum", "concat", "score"] = "sum"
    images: int = 1  # a: the first stored views of the photo; in training any
    sentences: int = 1  # b: captions of the photo that are read together in training
    image_weight: float = 1.0  # xi
    text_weight: float = 1.0  # mu

    def __post_init__(self):
        check_settings(
            self, "model.", width=SIZE, layers="[1, 1000]", heads=SIZE, dropout="[0, 1)", image_dropout="[0, 1)",
            word_dropout="[0, 1)", positions="[1, 65536]", images="[1, 64]", sentences="[1, 64]", image_weight="> 0",
            text_weight="> 0",
        )  # fmt: skip


@dataclass(frozen=True)
class _ReaderTrainConfig(OptimizerConfig):
    """What trainings of a fusion transformer have in common."""

    model: FusionConfig = field(default_factory=FusionConfig)
    average: float = 0.99  # decay per step of the running mean of the weights that is evaluated and kept; 0 = none
    batch_size: int = 128  # true pairs, each with two wrong ones; or questions
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    schedule: Literal["exponential", "cosine", "constant"] = "cosine"
    warmup_steps: int = 100
    weight_decay: float = 0.01
    beta2: float = 0.98
    gradient_norm: float = 2.0

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, average="[0, 1)")


@dataclass(frozen=True)
class FusionTrainConfig(_ReaderTrainConfig):
    """How a fusion transformer is trained, beside an encoder that finds what is hard to tell apart."""

    epochs: int = 8
    learning_rate: float = 1e-3
    matching: float = 1.0  # weight of image-text matching
    words: float = 1.0  # weight of masked words
    # A negative's chance is exp(hardness x its cosine to the query): 0 draws any, 20 what the encoder finds near.
    hardness: float = 10.0
    hardening: float = 4.0  # epochs in which the hardness rises from 0

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, batch_size=">= 2", matching=">= 0", words=">= 0", hardness=">= 0", hardening=">= 0")
        if not self.matching + self.words:
            raise InputError("matching = 0, words = 0: nothing is learned; set one of them to 1")


@dataclass(frozen=True)
class AnswerTrainConfig(_ReaderTrainConfig):
    """How a fusion transformer is trained to answer questions."""

    epochs: int = 10
    learning_rate: float = 5e-4
    min_answers: int = 1  # an answer is told apart when training questions have it as often

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, min_answers=">= 1")
