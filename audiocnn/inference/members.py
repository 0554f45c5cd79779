"""One score from several networks: the weighted mean of the log-scores of the members of a model.

Members cut their windows at times of their own. The model has a score for each window of the finest member, the one
whose windows are closest together; of the others, the window whose centre is nearest counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.features import extract
from audiocnn.features.analyze import RecordingStatus
from audiocnn.inference import spill
from audiocnn.inference.prediction import RecordingPrediction, RecordingScores, Scores, usable_window_starts
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.specs import FeatureSpec, finest_member

_PIECE_ROWS = 1 << 13  # windows at a time
_TINY = 1e-300  # stands for scores of 0, whose logarithm is not finite

_MemberScores = tuple[Scores, RecordingScores]  # the centre of each window in seconds, and the scores of a member


@dataclass(frozen=True)
class Combination:
    """How the members of a model are combined: their specs, embedding sizes and weights, which sum to 1.

    ``temperature`` divides the mean log-scores.
    """

    specs: Sequence[FeatureSpec]
    embedding_sizes: Sequence[int]
    weights: Sequence[float]
    temperature: float = 1.0

    @classmethod
    def of(cls, model: LoadedModel) -> "Combination":
        """Return how the members of a model are combined."""
        networks = model.networks
        sizes = [network.runtime.embedding_size for network in networks]
        return cls([network.spec for network in networks], sizes, model.weights, model.temperature)

    @property
    def finest(self) -> int:
        """The number of the member whose windows are closest together."""
        return finest_member(dict(enumerate(self.specs)))

    def scores(
        self,
        statuses: Sequence[RecordingStatus],
        members: Sequence[RecordingScores | None],
        stretch: tuple[float, float] | None = None,
        folder: Path | None = None,
    ) -> tuple[RecordingStatus, RecordingScores | None]:
        """Return the status and the scores of a recording, or of a ``stretch`` of it, given those of each member.

        A member that cannot score the recording does not count; if the finest cannot, there are no scores. ``folder``
        is where large arrays are kept; those of the members are removed.
        """
        parts = [
            None if one is None else (_centres_s(usable_window_starts(spec, status, stretch), spec), one)
            for spec, status, one in zip(self.specs, statuses, members, strict=True)
        ]
        combined = None if parts[self.finest] is None else self._combined(parts, folder)
        for one in members:
            if one is not None:
                spill.discard(one.log_scores)
        return statuses[self.finest], combined

    def prediction(self, members: Sequence[RecordingPrediction]) -> RecordingPrediction:
        """Return the prediction for a recording, given that of each member; without decision and training range."""
        own = members[self.finest]
        if not own.has_scores:
            return own
        combined = self._combined([_of_prediction(one, spec) for one, spec in zip(members, self.specs, strict=True)])
        return replace(
            own,
            scores=combined.scores,
            window_scores=np.exp(combined.log_scores, dtype=np.float64),
            embedding=combined.embedding,
            decision=None,
            training_domain=None,
        )

    def _combined(self, members: Sequence[_MemberScores | None], folder: Path | None = None) -> RecordingScores:
        """Return the scores for the windows of the finest member, which must have scores."""
        weights = np.array([0.0 if one is None else w for one, w in zip(members, self.weights, strict=True)])
        counted = [(w, *one) for one, w in zip(members, weights / weights.sum(), strict=True) if one is not None]
        finest = members[self.finest]
        assert finest is not None
        centres_s, own = finest
        shape = (len(centres_s), len(own.scores))
        nearest = [_nearest(others_s, centres_s) for _, others_s, _ in counted]

        def pieces() -> Iterator[Scores]:
            for first in range(0, len(centres_s), _PIECE_ROWS):
                mean = np.zeros((min(_PIECE_ROWS, shape[0] - first), shape[1]))
                for rows, (weight, _, one) in zip(nearest, counted, strict=True):
                    some = rows[first : first + _PIECE_ROWS]
                    mean += weight * spill.read_rows(one.log_scores, some[0], some[-1] + 1)[some - some[0]]
                yield self._normalized(mean)

        log = np.stack([weight * np.log(np.maximum(one.scores, _TINY)) for weight, _, one in counted])
        return replace(
            own,
            log_scores=spill.store_rows(pieces(), shape, folder),
            scores=np.exp(self._normalized(log.sum(axis=0)[None])[0]),
            embedding=self._embedding([None if one is None else one[1].embedding for one in members]),
        )

    def _normalized(self, mean: Scores) -> Scores:
        log = mean / self.temperature
        log = log - log.max(axis=1, keepdims=True)
        return np.asarray(log - np.log(np.exp(log).sum(axis=1, keepdims=True)))

    def _embedding(self, members: Sequence[Scores | None]) -> Scores:
        """Return the embeddings of all members behind each other, so that a cosine is the weighted mean of theirs."""
        parts = []
        for one, size, weight in zip(members, self.embedding_sizes, self.weights, strict=True):
            length = 0.0 if one is None else float(np.linalg.norm(one))
            parts.append(np.zeros(size) if one is None or not length else np.sqrt(weight) * one / length)
        return np.concatenate(parts)


def _of_prediction(member: RecordingPrediction, spec: FeatureSpec) -> _MemberScores | None:
    if not member.has_scores:
        return None
    log_scores = np.log(np.maximum(member.window_scores, _TINY)).astype(np.float32)
    scores = RecordingScores(log_scores, member.scores, member.embedding, member.loud, member.signal_stats)
    return member.starts_s + spec.window_s / 2, scores


def _centres_s(starts: NDArray[np.int64], spec: FeatureSpec) -> Scores:
    return extract.window_start_s(starts, spec) + spec.window_s / 2


def _nearest(centres: Scores, wanted: Scores) -> NDArray[np.int64]:
    """Return the number of the nearest of ``centres``, which are sorted, to each of those ``wanted``; the first of two.

    >>> _nearest(np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.5, 2.9, 3.1, 9.0])).tolist()
    [0, 0, 1, 2, 2]
    """
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, wanted)
