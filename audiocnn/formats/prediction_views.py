"""The predictions of the Python interface: arrays, events, tables of pandas, and views in notebooks."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from audiocnn.errors import ConfigError, needs_extra
from audiocnn.formats import tables
from audiocnn.inference import events, prediction
from audiocnn.inference.events import Event
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.specs import EventSpec
from audiocnn.text import printable
from audiocnn.wording import clause

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_LABELS, _SHOWN_RECORDINGS = 5, 100  # in notebooks


@dataclass(frozen=True, repr=False, eq=False)
class Prediction(prediction.RecordingPrediction):
    """The prediction of a model for one recording. `Model.predict` returns it.

    A prediction cannot be changed and equals only itself.

    Attributes
    ----------
    recording : str
        The path of the file, or ``"array"``.
    status : {"ok", "unknown", "silent", "unreadable"}
        ``"unknown"`` if a rule of the model rejects the label, ``"silent"`` if no window is above the silence level,
        ``"unreadable"`` for one of several files that cannot be decoded.
    label : str
        The predicted label. For an unknown recording it is the nearest label, without scores ``""``.
    score : float or None
        The score of ``label``, from 0 to 1; None without scores.
    reason : str
        Codes of warnings, joined by semicolons.
    doubt : {"", "unsure", "unfamiliar"}
        Why the recording is unknown: the score is below the threshold, or the embedding is unlike training.
    labels : Labels, length n_labels
        The labels, in the order of ``scores``.
    scores : ndarray of float64, shape (n_labels,)
        Scores of the recording. They sum to 1. Empty for a silent or unreadable recording, like all arrays below.
    label_scores : dict of str to float
        The same by label, the highest first.
    starts_s, ends_s : ndarray of float64, shape (n_windows,)
        Start and end of each window, in seconds from the start of the recording.
    window_scores : ndarray of float64, shape (n_windows, n_labels)
        Scores of each window.
    counted : ndarray of bool, shape (n_windows,)
        The windows that count for ``scores``: those loud enough.
    embedding : ndarray of float64, shape (embedding_size,)
        Mean embedding over the windows that count.
    label_set : tuple of str
        The labels that the recording may have, most likely first.
    domain : DomainCheck or None
        How similar the recording is to the training recordings: ``grade`` and ``sentences``. None if not known.
    recording_status : RecordingStatus
        Duration in seconds, sample rate in hertz, number of channels, warnings, and the SHA-256 of a file (empty for an
        array).

    Examples
    --------
    >>> import audiocnn
    >>> import numpy as np
    >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
    >>> prediction = audiocnn.load_model().predict(tone, sample_rate=44_100)
    >>> prediction.scores.shape, prediction.window_scores.shape
    ((10,), (3, 10))
    >>> prediction.starts_s, prediction.ends_s
    (array([0. , 0.5, 1. ]), array([0.99, 1.49, 1.99]))
    """

    bundle: LoadedModel | None = None

    def __repr__(self) -> str:
        said = f"{self.label} {self.score:.3f}" if self.has_scores else "nothing"
        return (
            f"<Prediction of {self.recording}: {self.status}, {said}, "
            f"{clause(len(self.starts_s), 'window', 'windows')} in {self.recording_status.duration_s:.3f} s>"
        )

    def _repr_html_(self) -> str:
        """Return the labels with the highest scores as bars, for notebooks."""
        bars = [
            f"<tr><td style='text-align:left'>{_escaped(label)}</td><td>{score:.3f}</td><td style='text-align:left'>"
            f"<div style='background:currentColor;opacity:.6;height:.6em;width:{100 * score:.1f}px'></div></td></tr>"
            for label, score in list(self.label_scores.items())[:_SHOWN_LABELS]
        ]
        about = ", ".join(filter(None, (self.status, self.reason, f"{self.recording_status.duration_s:.1f} s")))
        return f"<div><b>{_escaped(self.recording)}</b> ({_escaped(about)})</div><table>{''.join(bars)}</table>"

    @property
    def label_scores(self) -> dict[str, float]:
        """The scores of the recording by label, the highest first; empty without scores."""
        pairs = zip(self.labels, self.scores.tolist(), strict=True) if self.has_scores else ()
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def events(
        self,
        threshold: float | None = None,
        *,
        thresholds: Mapping[str, float] | None = None,
        smooth_s: float | None = None,
        min_duration_s: float | None = None,
        max_gap_s: float | None = None,
    ) -> list[Event]:
        """Return the events of the recording: windows of one label, merged, as ``audiocnn predict --events`` does.

        Parameters
        ----------
        threshold : float, optional
            Lowest score of an event, above 0 and up to 1. By default that of the model for each label, or 0.5.
        thresholds : dict of str to float, optional
            Thresholds of single labels.
        smooth_s : float, optional
            Seconds over which scores are averaged. By default as chosen by ``audiocnn tune-events``, or 0.3.
        min_duration_s : float, optional
            Shorter events are dropped, in seconds. By default as chosen by ``audiocnn tune-events``, or 0.
        max_gap_s : float, optional
            Events of one label that are closer than this are merged, in seconds. By default 0.2.

        Returns
        -------
        list of Event
            ``label``, ``start_s``, ``end_s``, ``score`` and ``peak_s`` of each, in order of time.

        Raises
        ------
        ConfigError
            If a value is out of range, or the model does not have a label.

        Examples
        --------
        >>> import audiocnn
        >>> import numpy as np
        >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
        >>> prediction = audiocnn.load_model().predict(tone, sample_rate=44_100)
        >>> [(event.start_s, event.end_s) for event in prediction.events(threshold=0.3)]
        [(0.0, 0.745)]
        """
        timing = {"smooth_s": smooth_s, "min_duration_s": min_duration_s, "max_gap_s": max_gap_s}
        chosen: dict[str, Any] = {name: value for name, value in timing.items() if value is not None}
        try:
            spec = EventSpec(threshold=threshold, thresholds=dict(thresholds or {}), **chosen)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(map(str, problem["loc"]))
            raise ConfigError(f"{place}: {problem['input']!r}: {problem['msg'].removeprefix('Input ')}") from error
        return events.find_events(self, spec if self.bundle is None else self.bundle.settle_events(spec))

    def to_pandas(self, *, windows: bool = False) -> "pd.DataFrame":
        """Return the prediction as a table with the columns of the CSV of ``audiocnn predict``.

        Parameters
        ----------
        windows : bool, default=False
            Return one row per window instead of one row for the recording.

        Returns
        -------
        pandas.DataFrame, shape (1, 7 + n_labels) or (n_windows, 5 + n_labels)
            Label and score of an unknown or silent recording are None.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> import audiocnn
        >>> import numpy as np
        >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
        >>> prediction = audiocnn.load_model().predict(tone, sample_rate=44_100)
        >>> list(prediction.to_pandas(windows=True).columns[:6])
        ['recording', 'start_s', 'end_s', 'label', 'score', 'p_Acoustic_guitar']
        """
        return _to_pandas([self], self.labels, windows=windows)

    def _rows(self, *, windows: bool) -> list[tuple[Any, ...]]:
        """Return the rows of `to_pandas`."""
        if windows:
            return [
                (self.recording, start_s, end_s, label, scores.max(), *scores)
                for start_s, end_s, label, scores in zip(
                    self.starts_s, self.ends_s, self.window_labels(), self.window_scores, strict=True
                )
            ]
        known, status = self.has_scores and not self.doubt, self.recording_status
        said = (self.label, self.score) if known else (None, None)
        scores = self.scores if self.has_scores else [None] * len(self.labels)
        return [(self.recording, self.status, *said, status.duration_s, status.analysed_s, self.reason, *scores)]


class Predictions(list[Prediction]):
    """The predictions of several files, in their order. `Model.predict` returns it.

    Examples
    --------
    >>> import audiocnn
    >>> audiocnn.load_model().predict([]).to_pandas().shape
    (0, 17)
    """

    def __init__(self, found: Sequence[Prediction], labels: Sequence[str]) -> None:
        super().__init__(found)
        self._labels = tuple(labels)

    def to_pandas(self, *, windows: bool = False) -> "pd.DataFrame":
        """Return all predictions as one table.

        Parameters
        ----------
        windows : bool, default=False
            Return one row per window instead of one per recording.

        Returns
        -------
        pandas.DataFrame, shape (n_recordings, 7 + n_labels) or (n_windows, 5 + n_labels)
            The columns of `Prediction.to_pandas`.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        return _to_pandas(self, self._labels, windows=windows)

    def _repr_html_(self) -> str:
        """Return the first recordings as a table, for notebooks."""
        rows = [
            "".join(
                f"<td style='text-align:left'>{_escaped(cell)}</td>"
                for cell in (p.recording, p.label, "" if p.score is None else f"{p.score:.3f}", p.status, p.reason)
            )
            for p in self[:_SHOWN_RECORDINGS]
        ]
        more = f"<div>and {len(self) - len(rows):,} more</div>" if len(self) > len(rows) else ""
        head = "".join(f"<th>{name}</th>" for name in ("recording", "label", "score", "status", "reason"))
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>{more}"


def _to_pandas(found: Sequence[Prediction], labels: Sequence[str], *, windows: bool) -> "pd.DataFrame":
    with needs_extra("pandas"):
        import pandas as pd

    columns = tables.WINDOW_COLUMNS if windows else tables.COLUMNS
    rows = [row for one in found for row in one._rows(windows=windows)]
    return pd.DataFrame(rows, columns=[*columns, *(f"p_{label}" for label in labels)])


def _escaped(text: str) -> str:
    return html.escape(printable(text))
