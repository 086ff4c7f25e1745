"""The language models word by word in float64, written from the equations of sections 2.3 to 2.5 and nothing else.

Plain numpy on one sentence: `words` and `tags` are lists of ids, the end of the sentence is one of the words. Matrices
stand as in the equations, so a word's vector is a column and C_i multiplies from the left. No code of `scnlm` is used.
"""

import math

import numpy as np

BEGIN = 2  # the id of <s>
NO_TAG = 0  # the id of a tag beyond the end


def softmax(scores):
    exps = [math.exp(s - max(scores)) for s in scores]
    return [e / math.fsum(exps) for e in exps]


def r_hat(words, n, C, vectors):
    """sum_i C_i vectors[:, w_{n-i}]; the i-th word before the first ones is <s>."""
    total = np.zeros(len(vectors))
    for i, matrix in enumerate(C, start=1):
        word = words[n - i] if n - i >= 0 else BEGIN
        total = total + matrix @ vectors[:, word]
    return total


def lbl(words, R, C, b):
    """P(w_n = i | the words before) for each n, with R (K, V) of a column r_i each."""
    rows = []
    for n in range(len(words)):
        predicted = r_hat(words, n, C, R)
        rows.append(softmax([predicted @ R[:, i] + b[i] for i in range(len(b))]))
    return np.array(rows)


def multiplicative(words, us, W_fv, W_fk, W_fu, C, b):
    """P(w_n = i | the words before, u_n) through factors; `us` has the u of each word."""
    E = W_fk.T @ W_fv
    rows = []
    for n, u in enumerate(us):
        f = (W_fk @ r_hat(words, n, C, E)) * (W_fu @ u)
        rows.append(softmax([W_fv[:, i] @ f + b[i] for i in range(len(b))]))
    return np.array(rows)


def full_tensor(W_fv, W_fk, W_fu):
    """T (V, K, G) of which W_fv, W_fk, W_fu are the factors."""
    F, V, K, G = len(W_fv), W_fv.shape[1], W_fk.shape[1], W_fu.shape[1]
    T = np.zeros((V, K, G))
    for i in range(V):
        for k in range(K):
            for g in range(G):
                for f in range(F):
                    T[i, k, g] += W_fv[f, i] * W_fk[f, k] * W_fu[f, g]
    return T


def gated_tensor(words, us, T, E, C, b):
    """The same without factors: T^u = sum_g u_g T[:, :, g] has a row for each word, which meets r_hat."""
    rows = []
    for n, u in enumerate(us):
        T_u = sum(u[g] * T[:, :, g] for g in range(len(u)))
        predicted = r_hat(words, n, C, E)
        rows.append(softmax([T_u[i] @ predicted + b[i] for i in range(len(b))]))
    return np.array(rows)


def u_hat(tags, n, u, t, T, T_u, b):
    """ReLU(sum_{i=n..n+k} T_i t_i + T_u u + b), with t (Y, tags) of a column a tag and T a matrix a place."""
    total = T_u @ u + b
    for i, matrix in enumerate(T):
        tag = tags[n + i] if n + i < len(tags) else NO_TAG
        total = total + matrix @ t[:, tag]
    return np.array([max(0.0, x) for x in total])


def scnlm(words, tags, u, t, T, T_u, b_u, W_fv, W_fk, W_fu, C, b):
    """P(w_n = i | the words before, the tags from n on, u): the multiplicative model, gated by u_hat."""
    us = [u_hat(tags, n, u, t, T, T_u, b_u) for n in range(len(words))]
    return multiplicative(words, us, W_fv, W_fk, W_fu, C, b)
