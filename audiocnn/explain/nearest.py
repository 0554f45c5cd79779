"""Which of many recordings a network takes for the most alike: embeddings in, an order and cosines out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_COMPARED = 2_000  # recordings whose nearest others are looked for; a median of more is no better
_AT_A_TIME = 256  # of them, so that a table of 100,000 needs some 200 MB

Embeddings = NDArray[np.floating]


@dataclass(frozen=True)
class Nearest:
    """The rows of a table, the most alike first: their numbers (n,), and how alike each is, from -1 to 1 (n,)."""

    order: NDArray[np.int64]
    similarity: NDArray[np.float64]


def find(embedding: Embeddings, table: Embeddings) -> Nearest:
    """Order the rows of ``table`` (n, d) by the cosine of the angle to ``embedding`` (d,), equal ones as they stand.

    The angle is what the rule for unknown recordings goes by, too (`audiocnn.model.decision.resemblance`). Nothing is
    like an embedding of zeros: its cosine to all is 0.

    >>> find(np.array([1.0, 0.0]), np.array([[0.0, 2.0], [3.0, 0.0], [-1.0, 0.0]])).order.tolist()
    [1, 0, 2]
    """
    similarity = _directions(table) @ _directions(embedding[None])[0]
    order = np.argsort(-similarity, kind="stable")
    return Nearest(order, similarity[order])


def among(table: Embeddings, groups: Sequence[str]) -> NDArray[np.float64]:
    """Return how alike each row of ``table`` (n, d) and the nearest row of another group are, in the table's order.

    Recordings of one group are from one session or player and alike for that alone. Of many rows `MOST_COMPARED`, as
    far apart as they can be, are looked at. Empty if there is only one group.
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
    """Rows of length 1; a row of zeros stays one."""
    table = np.asarray(table, np.float64)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(lengths > 0, lengths, 1.0)
