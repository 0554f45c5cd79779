"""Predictions in a journal: each is read when it is used, and its windows some at a time."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from audiocnn.inference.journal import Journal
from audiocnn.inference.prediction import (
    PredictionRules,
    RecordingPrediction,
    Scores,
    make_prediction,
    usable_window_starts,
)
from audiocnn.text import encode_path

_NO_WINDOWS: Final = slice(0, 0)


class StoredPrediction(RecordingPrediction):
    """A prediction whose windows stay in a journal: `part` reads some of them, and each of its arrays all of them."""

    _stored: tuple[Journal, int, PredictionRules, str]
    _n_windows: int

    def __init__(self, journal: Journal, offset: int, rules: PredictionRules, recording: str) -> None:
        """Read the prediction of a ``recording`` in the record at an offset, without its windows."""
        self.__dict__.update(vars(_read(journal, offset, rules, recording, _NO_WINDOWS)))  # the class is frozen
        n_windows = len(usable_window_starts(rules.spec, self.recording_status, None))
        self.__dict__.update(_stored=(journal, offset, rules, recording), _n_windows=n_windows)

    @property
    def n_windows(self) -> int:
        return self._n_windows

    def part(self, first: int, last: int) -> RecordingPrediction:
        return _read(*self._stored, slice(first, last))

    @property
    def starts_s(self) -> Scores:
        return self.part(0, self.n_windows).starts_s

    @property
    def ends_s(self) -> Scores:
        return self.part(0, self.n_windows).ends_s

    @property
    def window_scores(self) -> Scores:
        return self.part(0, self.n_windows).window_scores

    @property
    def loud(self) -> NDArray[np.bool_]:
        return self.part(0, self.n_windows).loud


class StoredPredictions(Sequence[RecordingPrediction]):
    """The predictions of ``files``, in this order, at their offsets in a journal."""

    def __init__(self, files: Sequence[Path], offsets: Sequence[int], journal: Journal, rules: PredictionRules) -> None:
        self._files, self._offsets, self._journal, self._rules = files, offsets, journal, rules

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> RecordingPrediction: ...
    @overload
    def __getitem__(self, index: slice) -> "StoredPredictions": ...

    def __getitem__(self, index: int | slice) -> "RecordingPrediction | StoredPredictions":
        if isinstance(index, slice):
            return StoredPredictions(self._files[index], self._offsets[index], self._journal, self._rules)
        recording = encode_path(os.fspath(self._files[index]))
        return StoredPrediction(self._journal, self._offsets[index], self._rules, recording)


def _read(journal: Journal, offset: int, rules: PredictionRules, recording: str, windows: slice) -> RecordingPrediction:
    return make_prediction(rules, recording, *journal.read(offset, windows))
