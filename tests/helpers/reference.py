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
