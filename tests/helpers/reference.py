"""Naive float64 loops written from the paper and nothing else: what the fast code must equal.

Plain numpy on lists of rows; no code of `vse` is used here.
"""

import math

import numpy as np


def ranking_loss(images, captions, owner, margin):
    """Section 2.2: for each pair, all contrastive items of both directions; mean over pairs."""
    total = 0.0
    for i, x in enumerate(images):
        for k in range(len(captions)):
            if owner[k] == owner[i]:
                continue
            right = float(np.dot(x, captions[i]))
            total += max(0.0, margin - right + float(np.dot(x, captions[k])))  # v_k against x
            total += max(0.0, margin - right + float(np.dot(images[k], captions[i])))  # x_k against v
    return total / len(images)


def hardest_loss(images, captions, owner, margin):
    """VSE++: the worst contrastive item of each direction only; mean over pairs."""
    total = 0.0
    for i in range(len(images)):
        right = float(np.dot(images[i], captions[i]))
        others = [k for k in range(len(images)) if owner[k] != owner[i]]
        total += max([0.0] + [margin - right + float(np.dot(images[i], captions[k])) for k in others])
        total += max([0.0] + [margin - right + float(np.dot(images[k], captions[i])) for k in others])
    return total / len(images)


def info_nce(images, captions, owner, temperature):
    """-log softmax of the right pair among itself and the pairs of other images; mean of both directions."""
    total = 0.0
    for i in range(len(images)):
        among = [k for k in range(len(images)) if k == i or owner[k] != owner[i]]
        right = float(np.dot(images[i], captions[i])) / temperature
        to_captions = [np.dot(images[i], captions[k]) for k in among]
        to_images = [np.dot(images[k], captions[i]) for k in among]
        for scores in (to_captions, to_images):
            total += math.log(sum(math.exp(s / temperature) for s in scores)) - right
    return total / (2 * len(images))


def nt_xent(first, second, owner, temperature):
    """-log softmax of the other view of a row among all rows of both views that are not of its image."""
    rows, owners, n = [*first, *second], [*owner, *owner], len(first)
    total = 0.0
    for i, row in enumerate(rows):
        pair = (i + n) % (2 * n)
        among = [k for k in range(2 * n) if k == pair or owners[k] != owners[i]]
        scores = [float(np.dot(row, rows[k])) / temperature for k in among]
        total += math.log(sum(map(math.exp, scores))) - float(np.dot(row, rows[pair])) / temperature
    return total / (2 * n)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def peephole_lstm(words, W, U, b, peep_i, peep_f, peep_o):
    """Section 2.1: the states M_1 .. M_T of one sentence, words (T, w).

    W[gate] (h, w), U[gate] (h, h), b[gate] (h,) of the gates i, f, g, o; I and F see C_{t-1}, O sees C_t.
    """
    M = C = np.zeros(len(b["i"]))
    states = []
    for x in words:
        inputs = {gate: W[gate] @ x + U[gate] @ M + b[gate] for gate in "ifgo"}
        I_t = sigmoid(inputs["i"] + peep_i * C)
        F_t = sigmoid(inputs["f"] + peep_f * C)
        C = F_t * C + I_t * np.tanh(inputs["g"])
        O_t = sigmoid(inputs["o"] + peep_o * C)
        M = O_t * np.tanh(C)
        states.append(M)
    return np.array(states)


def conv_states(words, filters, width):
    """The filters' answers (T, h) to the window that starts at each word; zeros behind the end."""
    weight, bias = filters
    padded = [*words, *(np.zeros_like(words[0]) for _ in range(width - 1))]
    answers = []
    for t in range(len(words)):
        z = weight @ np.concatenate(padded[t : t + width]) + bias
        answers.append(np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in z]))  # GELU
    return np.array(answers)


def i2t_rank(scores, owner, image):
    """1 + number of wrong captions scoring at least as high as the best right one; None without one."""
    right = [scores[image][j] for j in range(len(owner)) if owner[j] == image]
    if not right:
        return None
    best = math.nan if any(math.isnan(s) for s in right) else max(right)
    return 1 + sum(1 for j in range(len(owner)) if owner[j] != image and not scores[image][j] < best)


def t2i_rank(scores, owner, caption):
    """1 + number of wrong images scoring at least as high as the right one."""
    right = scores[owner[caption]][caption]
    return 1 + sum(1 for i in range(len(scores)) if i != owner[caption] and not scores[i][caption] < right)


def layer_norm(x, gain, bias, eps=1e-5):
    """Of one vector."""
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    return np.array([(v - mean) / math.sqrt(variance + eps) for v in x]) * gain + bias


def gelu(z, quick=False):
    """z Phi(z), or z sigmoid(1.702 z)."""
    if quick:
        return np.array([v * sigmoid(1.702 * v) for v in z])
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in z])


def attention(queries, keys, values, heads, visible):
    """Multi-head attention of projected rows: row i mixes the values of visible(i), head by head."""
    size = queries.shape[1] // heads
    mixed = np.zeros((len(queries), values.shape[1]))
    for i in range(len(queries)):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            seen = list(visible(i))
            logits = [float(queries[i, part] @ keys[j, part]) / math.sqrt(size) for j in seen]
            weights = [math.exp(z - max(logits)) for z in logits]
            mixed[i, part] = sum(w / sum(weights) * values[j, part] for w, j in zip(weights, seen, strict=True))
    return mixed


def transformer_block(h, W, heads, visible, quick=False, post_norm=False):
    """One block on the states (T, w) of one sequence; `W` has the module's parameters by name."""

    def attend(x):
        qkv = np.array([W["attention.qkv.weight"] @ row + W["attention.qkv.bias"] for row in x])
        mixed = attention(*np.split(qkv, 3, axis=1), heads, visible)
        return np.array([W["attention.out.weight"] @ row + W["attention.out.bias"] for row in mixed])

    def mlp(x):
        inner = [gelu(W["inner.weight"] @ row + W["inner.bias"], quick) for row in x]
        return np.array([W["outer.weight"] @ row + W["outer.bias"] for row in inner])

    def norm(x, which):
        return np.array([layer_norm(row, W[f"norm_{which}.weight"], W[f"norm_{which}.bias"]) for row in x])

    if post_norm:
        h = norm(h + attend(h), 1)
        return norm(h + mlp(h), 2)
    h = h + attend(norm(h, 1))
    return h + mlp(norm(h, 2))


def text_tower(tokens, W, layers, heads, quick=False):
    """CLIP's text tower on the ids of one caption, [SOS] = 2 and [EOS] = 3 added: the unit vector."""
    ids = [2, *tokens, 3]
    h = np.array([W["words.vectors.weight"][i] @ W.get("project.weight", np.eye(len(W["positions"][0]))).T
                  + W["positions"][t] for t, i in enumerate(ids)])  # fmt: skip
    for layer in range(layers):
        block = {name.removeprefix(f"blocks.{layer}."): value for name, value in W.items()}
        h = transformer_block(h, block, heads, lambda i: range(i + 1), quick)
    out = W["out.weight"] @ layer_norm(h[-1], W["norm.weight"], W["norm.bias"])
    return out / np.linalg.norm(out)


def attention_pool(regions, W, heads):
    """CLIP's attention pooling of the regions (R, w) of one photo."""
    u = np.array([sum(regions) / len(regions), *regions]) + W["positions"]
    q, k, v = (np.array([W[f"{name}.weight"] @ row + W[f"{name}.bias"] for row in u]) for name in "qkv")
    mixed = attention(q[:1], k, v, heads, lambda i: range(len(u)))
    return W["out.weight"] @ mixed[0] + W["out.bias"]
