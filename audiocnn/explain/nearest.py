"""Find the recordings with the most similar embeddings, by cosine similarity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_COMPARED = 2_000  # recordings whose nearest neighbours are searched; the median of more is no better
_AT_A_TIME = 256  # of them, so that a table of 100,000 needs some 200 MB

Embeddings = NDArray[np.floating]


@dataclass(frozen=True)
class Nearest:
    """Rows of a table, the most similar first: their numbers (n,) and cosine similarities (n,)."""

    order: NDArray[np.int64]
    similarity: NDArray[np.float64]


def find(embedding: Embeddings, table: Embeddings) -> Nearest:
    """Sort the rows of ``table`` (n, d) by cosine similarity to ``embedding`` (d,), stable for equal ones.

    The rule for unknown recordings uses the same similarity (`audiocnn.model.decision.resemblance`). The similarity to
    an embedding of zeros is 0.

    >>> find(np.array([1.0, 0.0]), np.array([[0.0, 2.0], [3.0, 0.0], [-1.0, 0.0]])).order.tolist()
    [1, 0, 2]
    """
    similarity = _directions(table) @ _directions(embedding[None])[0]
    order = np.argsort(-similarity, kind="stable")
    return Nearest(order, similarity[order])


def among(table: Embeddings, groups: Sequence[str]) -> NDArray[np.float64]:
    """Return the similarity of each row of ``table`` (n, d) to the nearest row of another group, in the table's order.

    Recordings of one group share a session or player and are similar for that reason alone. Of many rows,
    `MOST_COMPARED` evenly spaced ones are used. Empty if there is only one group.
    """
    number = np.unique(np.asarray(groups, str), return_inverse=True)[1]
    if not len(number) or not number.any():
        return np.zeros(0)
    directions = _directions(table)
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), MOST_COMPARED)).round().astype(np.int64))
    found = []
    for first in range(0, len(rows), _AT_A_TIME):
        some = rows[first : first + _AT_A_TIME]
        similarity = directions[some] @ directions.T
        similarity[number[some][:, None] == number] = -np.inf
        found.append(similarity.max(axis=1))
    return np.concatenate(found)


def _directions(table: Embeddings) -> NDArray[np.float64]:
    """Normalize rows to length 1; a row of zeros stays zero."""
    table = np.asarray(table, np.float64)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(lengths > 0, lengths, 1.0)
