"""The language models in the paper's order, so that each step is seen to be added: `LBL` (section 2.3),
`MultiplicativeLM` (2.4), `SCNLM` (2.5).

Each maps whole sentences at once: position t predicts word t from the words before it, from the tags from t on and
from u. Reads no file and knows no words. Shapes: b sentences, t positions, v words, w word_dim (the paper's K),
f num_factors (F), d content_dim (of u), g gate_dim (the paper's G), y tag_dim, k forward tags.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scnlm.configs import LMConfig
from vse.data.vocabulary import BOS_ID

Tokens = Int[Tensor, "b t"]
Tags = Int[Tensor, "b t"]
Content = Float[Tensor, "b d"]
NO_TAG = 0  # beyond the end of a sentence


class LBL(nn.Module):
    """r_hat = sum_i C_i r_{w_i};  P(w_n = i) = softmax_i(r_hat . r_i + b_i).  Knows neither tags nor u.

    Symbols: r_w a word's vector (a row of R, K numbers), C_i the K x K matrix of the i-th place before the predicted
    word, b_i a word's bias.
    """

    def __init__(self, config: LMConfig, vocabulary_size: int):
        super().__init__()
        self.config = config
        self.R = nn.Parameter(torch.empty(vocabulary_size, self.columns(config)))
        self.C = nn.Parameter(torch.empty(config.context, config.word_dim, config.word_dim))
        self.b = nn.Parameter(torch.zeros(vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.R, std=0.1)
        nn.init.normal_(self.C, std=(config.context * config.word_dim) ** -0.5)

    @staticmethod
    def columns(config: LMConfig) -> int:
        """Numbers a word has in the output table."""
        return config.word_dim

    def word_vectors(self, ids: Tokens) -> Float[Tensor, "b t w"]:
        """r_w."""
        return self.R[ids]

    def r_hat(self, tokens: Tokens) -> Float[Tensor, "b t w"]:
        """sum_i C_i r_{w_i} over the `context` words before each position, <s> before the first."""
        n = self.config.context
        before = nn.functional.pad(tokens[:, :-1], (n, 0), value=BOS_ID)
        r = self.word_vectors(before)
        context = torch.cat([r[:, n - 1 - i : n - 1 - i + tokens.shape[1]] for i in range(n)], 2)  # nearest first
        return self.dropout(context @ self.C.flatten(0, 1))

    def states(self, tokens: Tokens, tags: Tags, u: Content) -> Tensor:
        """What meets the output table: (b, t, K) here, (b, t, F) in the factored models."""
        return self.r_hat(tokens)

    def logits(self, states: Tensor) -> Tensor:
        """(..., V) unnormalised log-probabilities of the next word."""
        return states @ self.R.T + self.b

    def forward(self, tokens: Tokens, tags: Tags, u: Content) -> Float[Tensor, "b t v"]:
        """log P of every word at every position; position t sees tokens before t alone."""
        return self.logits(self.states(tokens, tags, u)).log_softmax(-1)


class MultiplicativeLM(LBL):
    """Words become a tensor gated by u: T^u = W_fv^T diag(W_fu u) W_fk.

    E = W_fk^T W_fv;  r_hat = sum_i C_i E[:, w_i];  f = (W_fk r_hat) * (W_fu u);
    P(w_n = i) = softmax_i(W_fv[:, i] . f + b_i).  `R` is W_fv transposed: a row of F factors a word.
    """

    def __init__(self, config: LMConfig, vocabulary_size: int, content_dim: int):
        super().__init__(config, vocabulary_size)
        self.W_fk = nn.Parameter(torch.empty(config.num_factors, config.word_dim))
        self.W_fu = nn.Parameter(torch.empty(config.num_factors, self.gate_columns(config, content_dim)))
        nn.init.normal_(self.R, std=config.num_factors**-0.5)
        nn.init.normal_(self.W_fk, std=config.word_dim**-0.5)
        nn.init.normal_(self.W_fu, std=1.0)

    @staticmethod
    def columns(config: LMConfig) -> int:
        return config.num_factors

    @staticmethod
    def gate_columns(config: LMConfig, content_dim: int) -> int:
        """Numbers of what gates the factors: u itself."""
        return content_dim

    def word_vectors(self, ids: Tokens) -> Float[Tensor, "b t w"]:
        """E[:, w]."""
        return self.R[ids] @ self.W_fk

    def gate(self, tags: Tags, u: Content) -> Tensor:
        """(b, t or 1, F): W_fu u, the same at every position."""
        return (u @ self.W_fu.T)[:, None]

    def states(self, tokens: Tokens, tags: Tags, u: Content) -> Float[Tensor, "b t f"]:
        """f = (W_fk r_hat) * gate."""
        return (self.r_hat(tokens) @ self.W_fk.T) * self.gate(tags, u)


class SCNLM(MultiplicativeLM):
    """u becomes u_hat = ReLU(sum_{i=n..n+k} T_i t_i + T_u u + b): structure decides which factors are open.

    t_i: the learned embedding of the tag of word i; T_i its matrix, one a place of the tag window.
    """

    def __init__(self, config: LMConfig, vocabulary_size: int, content_dim: int, num_tags: int):
        super().__init__(config, vocabulary_size, content_dim)
        self.t = nn.Parameter(torch.empty(num_tags, config.tag_dim))
        self.T = nn.Parameter(torch.empty(config.tag_context + 1, config.tag_dim, config.gate_dim))
        self.T_u = nn.Parameter(torch.empty(config.gate_dim, content_dim))
        self.b_u = nn.Parameter(torch.zeros(config.gate_dim))
        nn.init.normal_(self.t, std=1.0)
        nn.init.normal_(self.T, std=((config.tag_context + 1) * config.tag_dim) ** -0.5)
        nn.init.normal_(self.T_u, std=1.0)  # u has norm 1
        nn.init.normal_(self.W_fu, std=(config.gate_dim / 2) ** -0.5)

    @staticmethod
    def gate_columns(config: LMConfig, content_dim: int) -> int:
        return config.gate_dim

    def u_hat(self, tags: Tags, u: Content) -> Float[Tensor, "b t g"]:
        """ReLU(sum_{i=n..n+k} T_i t_i + T_u u + b); beyond the end of a sentence stands NO_TAG."""
        k = self.config.tag_context
        t = self.t[nn.functional.pad(tags, (0, k), value=NO_TAG)]
        window = torch.cat([t[:, i : i + tags.shape[1]] for i in range(k + 1)], 2)
        return torch.relu(window @ self.T.flatten(0, 1) + (u @ self.T_u.T + self.b_u)[:, None])

    def gate(self, tags: Tags, u: Content) -> Float[Tensor, "b t f"]:
        """W_fu u_hat, another one at every position."""
        return self.u_hat(tags, u) @ self.W_fu.T


MODELS = {"lbl": LBL, "multiplicative": MultiplicativeLM, "scnlm": SCNLM}


def make_model(config: LMConfig, vocabulary_size: int, content_dim: int, num_tags: int) -> LBL:
    """The model that `config` names."""
    sizes = {"lbl": (), "multiplicative": (content_dim,), "scnlm": (content_dim, num_tags)}[config.model]
    return MODELS[config.model](config, vocabulary_size, *sizes)
