"""Scores of classes, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.model.output import Activation


@dataclass(frozen=True)
class TopK:
    """The k largest classes of each row, best first: int32 and float32, shape (rows, k); see `scores`."""

    index: NDArray[np.int32]
    score: NDArray[np.float32]


def top_k(logits: NDArray[np.float32], k: int, activation: Activation = "softmax") -> TopK:
    """Return the k best classes of each row, at most all of them, with their scores.

    Equal scores are ordered by class index, so that the same logits always give the same rows. Logits are
    float32, shape (rows, classes), or (rows, 1): the larger, the more likely class 1.
    """
    values = scores(logits, activation)
    # A softmax or a sigmoid keeps the order, but may make equal what was not.
    order = logits if logits.shape[1] > 1 else values
    index = np.argsort(-order, axis=1, kind="stable")[:, :k].astype(np.int32)
    return TopK(index, np.take_along_axis(values, index, axis=1))


def scores(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Return a score for each class: 0 to 1 if there is an activation or the network contains one.

    By a softmax the scores of a row add up to 1; a sigmoid is per class. Logits are float32, shape (rows,
    classes), or (rows, 1) for two classes, whose scores are, of a value p, 1 - p and p.
    """
    values = logits
    if activation == "softmax":
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        values = exponent / exponent.sum(axis=1, keepdims=True)
    elif activation == "sigmoid":
        values = np.exp(-np.logaddexp(np.float32(0), -logits))  # 1 / (1 + exp(-x)), which would overflow
    if logits.shape[1] == 1:
        values = np.concatenate([1 - values, values], axis=1)
    return values.astype(np.float32)
