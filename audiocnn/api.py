"""The Python interface: predictions, embeddings and features of audio files and arrays.

Files and arrays are decoded as on the command line, but in the calling process. All public names are also those of the
package: ``audiocnn.load_model``, ``audiocnn.featurize``, ``audiocnn.Model`` and the classes of the results.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiocnn.audio.decode import Decoder
from audiocnn.audio.source import ArraySource
from audiocnn.config import DEFAULT_PRESET, read_preset
from audiocnn.errors import AudioError, ConfigError, needs_extra
from audiocnn.features import extract, frontend
from audiocnn.features.analyze import RecordingStatus, analyze
from audiocnn.features.build_store import sha256_or_empty
from audiocnn.features.extract import Array
from audiocnn.features.store import FeatureStore
from audiocnn.formats import tables
from audiocnn.inference import prediction, scoring
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.specs import FeatureSpec
from audiocnn.stages.predict import SHIPPED
from audiocnn.text import encode_path

if TYPE_CHECKING:
    import pandas as pd

Source = str | os.PathLike[str] | ArrayLike

_ONLY = "0" * 64  # name of the one recording in a temporary store


class Prediction(prediction.RecordingPrediction):
    """The prediction of a model for one recording. `Model.predict` returns it.

    A prediction cannot be changed and equals only itself.

    Attributes
    ----------
    recording : str
        The path of the file, or ``"array"``.
    status : {"ok", "unknown", "silent"}
        ``"unknown"`` if a rule of the model rejects the label, ``"silent"`` if no window is above the silence level.
    label : str
        The predicted label. For an unknown recording it is the nearest label, for a silent one ``""``.
    score : float or None
        The score of ``label``, from 0 to 1; None for a silent recording.
    reason : str
        Codes of warnings, joined by semicolons.
    doubt : {"", "unsure", "unfamiliar"}
        Why the recording is unknown: the score is below the threshold, or the embedding is unlike training.
    labels : Labels, length n_labels
        The labels, in the order of ``scores``.
    scores : ndarray of float64, shape (n_labels,)
        Scores of the recording. They sum to 1. Empty for a silent recording, like all arrays below.
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
    >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
    >>> prediction = load_model().predict(tone, sample_rate=44_100)
    >>> prediction.scores.shape, prediction.window_scores.shape
    ((10,), (3, 10))
    >>> prediction.starts_s, prediction.ends_s
    (array([0. , 0.5, 1. ]), array([0.99, 1.49, 1.99]))
    """

    def __repr__(self) -> str:
        said = f"{self.label} {self.score:.3f}" if self.has_scores else "nothing"
        return (
            f"<Prediction of {self.recording}: {self.status}, {said}, {len(self.starts_s)} windows in "
            f"{self.recording_status.duration_s:.3f} s>"
        )

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
        >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
        >>> prediction = load_model().predict(tone, sample_rate=44_100)
        >>> list(prediction.to_pandas(windows=True).columns[:6])
        ['recording', 'start_s', 'end_s', 'label', 'score', 'p_Acoustic_guitar']
        """
        with needs_extra("pandas"):
            import pandas as pd

        if windows:
            rows: list[tuple[Any, ...]] = [
                (self.recording, start_s, end_s, label, scores.max(), *scores)
                for start_s, end_s, label, scores in zip(
                    self.starts_s, self.ends_s, self.window_labels(), self.window_scores, strict=True
                )
            ]
            columns: tuple[str, ...] = tables.WINDOW_COLUMNS
        else:
            known, recording_status = self.has_scores and not self.doubt, self.recording_status
            said = (self.label, self.score) if known else (None, None)
            scores = self.scores if self.has_scores else [None] * len(self.labels)
            rows = [
                (
                    self.recording,
                    self.status,
                    *said,
                    recording_status.duration_s,
                    recording_status.analysed_s,
                    self.reason,
                    *scores,
                )
            ]
            columns = tables.COLUMNS
        return pd.DataFrame(rows, columns=[*columns, *(f"p_{label}" for label in self.labels)])


@dataclass(frozen=True, repr=False, eq=False)
class Embedding:
    """The embedding of one recording: the input of the network's last layer. `Model.embed` returns it.

    Recordings that sound alike to the model have similar embeddings.

    Attributes
    ----------
    recording : str
        The path of the file, or ``"array"``.
    values : ndarray of float64, shape (embedding_size,)
        Mean over the windows that count.
    windows : ndarray of float32, shape (n_windows, embedding_size)
        Embedding of each window.
    starts_s, ends_s : ndarray of float64, shape (n_windows,)
        Start and end of each window, in seconds from the start of the recording.
    """

    recording: str
    values: prediction.Scores
    windows: Array
    starts_s: prediction.Scores
    ends_s: prediction.Scores

    def __repr__(self) -> str:
        return f"<Embedding of {self.recording}: {len(self.values)} values, {len(self.windows)} windows>"

    def to_pandas(self) -> "pd.DataFrame":
        """Return the embeddings of the windows as a table.

        Returns
        -------
        pandas.DataFrame, shape (n_windows, 3 + embedding_size)
            Columns ``recording``, ``start_s``, ``end_s``, ``e_0``, ``e_1`` and so on.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
        >>> load_model().embed(tone, sample_rate=44_100).to_pandas().shape
        (3, 259)
        """
        with needs_extra("pandas"):
            import pandas as pd

        table = pd.DataFrame(self.windows, columns=[f"e_{i}" for i in range(self.windows.shape[1])])
        table.insert(0, "end_s", self.ends_s)
        table.insert(0, "start_s", self.starts_s)
        table.insert(0, "recording", self.recording)
        return table


@dataclass(frozen=True, repr=False, eq=False)
class Features:
    """The features of one recording. `featurize` returns it.

    Attributes
    ----------
    recording : str
        The path of the file, or ``"array"``.
    spec : FeatureSpec
        The settings of the features.
    frames : ndarray of float32, shape (n_frames, n_bins, n_channels)
        Level of each mel band in dB (``kind: logmel``) or cepstral coefficients (``kind: mfcc``); with the channel
        ``delta`` also their slopes.
    """

    recording: str
    spec: FeatureSpec
    frames: Array

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Centres of the frames, in seconds from the start of the recording.

        Returns
        -------
        ndarray of float64, shape (n_frames,)
        """
        return extract.window_start_s(np.arange(len(self.frames)), self.spec)

    @property
    def windows(self) -> Array:
        """The windows that a network takes as input, not yet standardized.

        Returns
        -------
        ndarray of float32, shape (n_windows, *spec.shape)

        Examples
        --------
        >>> featurize(np.sin(np.arange(44_100)), sample_rate=44_100, spec="general").windows.shape
        (1, 100, 128, 1)
        """
        return extract.cut_windows(self.frames, extract.window_starts(len(self.frames), self.spec), self.spec)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.spec.shape))
        return f"<Features of {self.recording}: {len(self.frames)} frames of {self.spec.kind}, windows of {shape}>"

    def to_pandas(self) -> "pd.DataFrame":
        """Return the frames as a table.

        Returns
        -------
        pandas.DataFrame, shape (n_frames, 2 + n_channels * n_bins)
            Columns ``recording``, ``time_s``, ``static_0``, ``static_1`` and so on, then ``delta_0`` and so on.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> featurize(np.sin(np.arange(44_100)), sample_rate=44_100, spec="general").to_pandas().shape
        (101, 130)
        """
        with needs_extra("pandas"):
            import pandas as pd

        names = [f"{channel}_{i}" for channel in self.spec.channels for i in range(self.spec.n_bins)]
        table = pd.DataFrame(np.moveaxis(self.frames, 2, 1).reshape(len(self.frames), -1), columns=names)
        table.insert(0, "time_s", self.times_s)
        table.insert(0, "recording", self.recording)
        return table


@dataclass(frozen=True, repr=False, eq=False)
class Model:
    """A trained model. `load_model` returns it.

    A model must not be used by two threads at the same time; load it once in each.

    Attributes
    ----------
    bundle : Bundle
        The model as it is stored: network, features, decision rules and provenance.

    Examples
    --------
    >>> load_model()
    <Model 'instrument': 10 labels, windows of 0.99 s at 32,000 Hz>
    """

    bundle: Bundle

    @property
    def name(self) -> str:
        """The name of the model, by default that of its project."""
        return self.bundle.info.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores."""
        return self.bundle.labels.names

    @property
    def spec(self) -> FeatureSpec:
        """The settings of the features that the network takes; pass it to `featurize` to compute the same."""
        return self.bundle.spec

    def __repr__(self) -> str:
        return (
            f"<Model '{self.name}': {len(self.labels)} labels, windows of {self.spec.window_s:.3g} s at "
            f"{self.spec.sample_rate:,} Hz>"
        )

    def predict(self, source: Source, *, sample_rate: float | None = None) -> Prediction:
        """Classify an audio file or an array of samples.

        Parameters
        ----------
        source : str, path-like or array-like, shape (n_samples,) or (n_samples, n_channels)
            The path of an audio file, or samples: floats with full scale 1.0, or int16. Any sample rate and number of
            channels; they are resampled and mixed as the model requires.
        sample_rate : float, optional
            Sample rate of an array, in hertz. Required for an array, not accepted for a file.

        Returns
        -------
        Prediction
            Scores of the recording and of its windows.

        Raises
        ------
        AudioError
            If the file or the samples cannot be decoded; ``code`` names the fault.
        ConfigError
            If ``source`` is not an array of samples, or ``sample_rate`` is missing, wrong or not accepted.

        Examples
        --------
        >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
        >>> model = load_model()
        >>> prediction = model.predict(tone, sample_rate=44_100)
        >>> prediction.label == model.labels[prediction.scores.argmax()]
        True
        >>> model.predict(np.zeros(88_200), sample_rate=44_100).status
        'silent'
        """
        opened, name = _opened(source, sample_rate)
        recording_status, scores = scoring.score_recording(opened, self.bundle)
        _refuse_unreadable(recording_status, name)
        if isinstance(opened, Path):
            recording_status = replace(recording_status, sha256=sha256_or_empty(opened))
        found = prediction.make_prediction(self.bundle, name, recording_status, scores)
        return Prediction(
            **{field: getattr(found, field) for field in prediction.RecordingPrediction.__dataclass_fields__}
        )

    def embed(self, source: Source, *, sample_rate: float | None = None) -> Embedding:
        """Compute the embedding of an audio file or an array of samples.

        Parameters
        ----------
        source : str, path-like or array-like, shape (n_samples,) or (n_samples, n_channels)
            As in `predict`.
        sample_rate : float, optional
            Sample rate of an array, in hertz.

        Returns
        -------
        Embedding
            Embedding of the recording and of its windows.

        Raises
        ------
        AudioError
            If the recording cannot be decoded or is silent.
        ConfigError
            As in `predict`.

        Examples
        --------
        >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
        >>> embedding = load_model().embed(tone, sample_rate=44_100)
        >>> embedding.values.shape, embedding.windows.shape
        ((256,), (3, 256))
        """
        opened, name = _opened(source, sample_rate)
        by_window: list[Array] = []
        recording_status, scores = scoring.score_recording(
            opened, self.bundle, on_scores=lambda _, embeddings: by_window.append(embeddings)
        )
        _refuse_unreadable(recording_status, name)
        if scores is None:
            raise _silent(recording_status)
        found = scores.prediction(self.bundle, name, recording_status)
        return Embedding(name, found.embedding, np.concatenate(by_window), found.starts_s, found.ends_s)


def load_model(path: str | os.PathLike[str] | None = None) -> Model:
    """Load a trained model and check it.

    The hashes of all files are checked, and the stored example must give the stored result.

    Parameters
    ----------
    path : str or path-like, optional
        Folder of the model, such as ``runs/birds/model``. By default the instrument model that ships with audiocnn.

    Returns
    -------
    Model
        The model, ready to predict.

    Raises
    ------
    ConfigError
        If the folder is not a model, or of a format that this version does not read.
    IntegrityError
        If a file of the model is damaged.

    Examples
    --------
    >>> model = load_model()
    >>> model.name, len(model.labels), model.spec.sample_rate
    ('instrument', 10, 32000)
    """
    return Model(bundle.load(SHIPPED if path is None else Path(path)))


def featurize(
    source: Source, *, sample_rate: float | None = None, spec: FeatureSpec | str = DEFAULT_PRESET
) -> Features:
    """Compute the features of an audio file or an array of samples.

    Parameters
    ----------
    source : str, path-like or array-like, shape (n_samples,) or (n_samples, n_channels)
        As in `Model.predict`.
    sample_rate : float, optional
        Sample rate of an array, in hertz. Required for an array, not accepted for a file.
    spec : FeatureSpec or str, default="general"
        Settings of the features: the ``spec`` of a model, the name of a preset, or the path of its YAML file.

    Returns
    -------
    Features
        Frames, their times, and windows.

    Raises
    ------
    AudioError
        If the recording cannot be decoded or is silent.
    ConfigError
        As in `Model.predict`, and if the preset cannot be read or has ``channel: each``.

    Examples
    --------
    >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
    >>> featurize(tone, sample_rate=44_100)
    <Features of array: 201 frames of logmel, windows of 100×128×1>
    >>> featurize(tone, sample_rate=44_100, spec="instrument").frames.shape
    (161, 13, 1)
    """
    settings = spec if isinstance(spec, FeatureSpec) else read_preset(spec).features
    if settings.channel == "each":
        raise ConfigError("features.channel: each: gives features for each channel; set a channel number or mix")
    opened, name = _opened(source, sample_rate)
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as scratch:
        store = FeatureStore(Path(scratch), settings, durable=False)
        with store.writer(_ONLY) as writer:
            recording_status = analyze(
                opened, spec=settings, frontend=frontend.make(settings), keep=writer.append, sha256=_ONLY
            )
            _refuse_unreadable(recording_status, name)
            writer.finish(recording_status)
        if recording_status.status == "silent":
            raise _silent(recording_status)
        kept = np.array(store.frames(recording_status)[0 : recording_status.n_frames], np.float32)
    return Features(name, settings, kept)


def _opened(source: Source, sample_rate: float | None) -> tuple[Path | Decoder, str]:
    """Return what the decoder reads, and the name of the recording."""
    if isinstance(source, str | os.PathLike):
        if sample_rate is not None:
            raise ConfigError(f"{source}: a file has its own sample rate; leave out sample_rate={sample_rate}")
        return Path(source), encode_path(os.fspath(source))
    if sample_rate is None:
        raise ConfigError("samples without a sample rate; pass sample_rate= in hertz")
    return Decoder(ArraySource(source, sample_rate=sample_rate)), "array"


def _refuse_unreadable(recording_status: RecordingStatus, name: str) -> None:
    if recording_status.status == "unreadable":
        raise AudioError(recording_status.codes[0], f"{name}: {recording_status.detail}")


def _silent(recording_status: RecordingStatus) -> AudioError:
    return AudioError("silent", f"silent: {recording_status.detail}")
