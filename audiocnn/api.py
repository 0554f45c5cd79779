"""The Python interface: predictions, embeddings and features of audio files and arrays.

Files and arrays are decoded as on the command line, but in the calling process. All public names are also those of the
package: ``audiocnn.load_model``, ``audiocnn.featurize``, ``audiocnn.Model`` and the classes of the results.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiocnn.audio import search, workers
from audiocnn.audio.decode import Decoder
from audiocnn.audio.source import ArraySource
from audiocnn.errors import AudioError, ConfigError, needs_extra
from audiocnn.features import extract, frontend
from audiocnn.features.analyze import RecordingStatus, analyze
from audiocnn.features.extract import Array
from audiocnn.features.store import FeatureStore
from audiocnn.formats.prediction_views import Prediction, Predictions
from audiocnn.inference import prediction, scoring
from audiocnn.inference.events import Event
from audiocnn.model import thresholds_file
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.model.locate import SHIPPED, find_model
from audiocnn.model.open_model import open_model
from audiocnn.specs import DEFAULT_PRESET, FeatureSpec
from audiocnn.text import encode_path
from audiocnn.wording import clause

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Embedding",
    "Event",
    "Features",
    "Model",
    "Prediction",
    "Predictions",
    "featurize",
    "load",
    "load_model",
]

File = str | os.PathLike[str]
Files = list[str] | list[Path] | list[str | Path] | tuple[File, ...] | Iterator[str] | Iterator[Path]
Source = File | ArrayLike

_ONLY = "0" * 64  # name of the one recording in a temporary store


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
        windows = clause(len(self.windows), "window", "windows")
        return f"<Embedding of {self.recording}: {len(self.values)} values, {windows}>"

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
    bundle : LoadedModel
        The model as it is stored: network, features, decision rules and provenance.

    Examples
    --------
    >>> load_model()
    <Model 'instrument': 10 labels, windows of 0.99 s at 32,000 Hz>
    """

    bundle: LoadedModel

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

    @overload
    def predict(self, source: File) -> Prediction: ...
    @overload
    def predict(self, source: Files) -> Predictions: ...
    @overload
    def predict(self, source: ArrayLike, *, sample_rate: float) -> Prediction: ...
    def predict(self, source: "Source | Files", *, sample_rate: float | None = None) -> "Prediction | Predictions":
        """Classify an audio file, several files, or an array of samples.

        Parameters
        ----------
        source : str, path-like, list of these, or array-like, shape (n_samples,) or (n_samples, n_channels)
            The path of an audio file, a list of paths, or samples: floats with full scale 1.0, or int16. Any sample
            rate and number of channels; they are resampled and mixed as the model requires. In paths ``~`` is the home
            folder.
        sample_rate : float, optional
            Sample rate of an array, in hertz. Required for an array, not accepted for a file.

        Returns
        -------
        Prediction or Predictions
            Scores of the recording and of its windows. For several files a list of predictions in their order; a file
            that cannot be decoded has the status ``"unreadable"``.

        Raises
        ------
        AudioError
            If the one file or the samples cannot be decoded; ``code`` names the fault.
        ConfigError
            If ``source`` is a pattern such as ``*.flac``, an address, or not an array of samples, or ``sample_rate`` is
            missing, wrong or not accepted.

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
        if (files := _files(source)) is None or (not files and sample_rate is not None):
            return self._predict(*_opened(source, sample_rate), strict=True)
        opened = [_opened(file, sample_rate) for file in files]
        return Predictions([self._predict(*one, strict=False) for one in opened], self.labels)

    def with_thresholds(self, thresholds: "Mapping[str, float] | str | os.PathLike[str]") -> "Model":
        """Return this model with other thresholds of recordings.

        Parameters
        ----------
        thresholds : mapping of str to float, or path-like
            Thresholds by label, from 0 to 1, or the path of a ``thresholds.json`` that a report saved.

        Returns
        -------
        Model
            Of more than two labels, a recording whose predicted label has a score below its threshold is
            ``"unknown"``. Of two, the label with a threshold is predicted where the score reaches it.

        Raises
        ------
        ConfigError
            If the file cannot be read, a label is not one of the model, or a threshold is not from 0 to 1.

        Examples
        --------
        >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(88_200) / 44_100)
        >>> model = load_model()
        >>> strict = model.with_thresholds(dict.fromkeys(model.labels, 1.0))
        >>> strict.predict(tone, sample_rate=44_100).status
        'unknown'
        """
        if isinstance(thresholds, str | os.PathLike):
            name = os.fspath(thresholds)
            chosen = thresholds_file.read(Path(os.path.expanduser(name)))
        else:
            name = "thresholds"
            chosen = thresholds_file.parse({"schema": thresholds_file.SCHEMA, "thresholds": dict(thresholds)}, name)
        return Model(thresholds_file.with_thresholds(self.bundle, chosen.values, name))

    def _predict(self, opened: Path | Decoder, name: str, *, strict: bool) -> Prediction:
        """Predict one recording; with ``strict``, raise `AudioError` if it cannot be decoded."""
        recording_status, scores = scoring.score_recording(opened, self.bundle)
        if strict:
            _refuse_unreadable(recording_status, name)
        if isinstance(opened, Path):
            recording_status = replace(recording_status, sha256=workers.sha256_or_empty(opened))
        found = prediction.make_prediction(self.bundle, name, recording_status, scores)
        fields = {field: getattr(found, field) for field in prediction.RecordingPrediction.__dataclass_fields__}
        return Prediction(**fields, bundle=self.bundle)

    def embed(self, source: "Source", *, sample_rate: float | None = None) -> Embedding:
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
        Folder of the model, such as ``runs/birds/model``, or of its run, or the name of a model that ships with
        audiocnn; ``~`` is the home folder. By default the instrument model that ships.

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
    return Model(open_model(SHIPPED if path is None else find_model(path)))


load = load_model


def featurize(
    source: "Source", *, sample_rate: float | None = None, spec: FeatureSpec | str = DEFAULT_PRESET
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
    from audiocnn.config import read_preset

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


def _files(source: Any) -> list[File] | None:
    """Return the files that ``source`` lists; None if it is something else than a list of paths."""
    if not isinstance(source, list | tuple | Iterator):
        return None
    listed = list(source)
    return listed if all(isinstance(one, str | os.PathLike) for one in listed) else None


def _opened(source: Any, sample_rate: float | None) -> tuple[Path | Decoder, str]:
    """Return what the decoder reads, and the name of the recording."""
    if isinstance(source, str | os.PathLike):
        if sample_rate is not None:
            raise ConfigError(f"{source}: a file has its own sample rate; leave out sample_rate={sample_rate}")
        named = search.find_named(os.fspath(source))
        home = os.path.expanduser(source)
        if len(named) > 1 or named[0] not in (Path(source), Path(home)):
            n = clause(len(named), "file", "files")
            raise ConfigError(f"{source}: a pattern for {n}; expand it first, as with sorted(glob.glob({home!r}))")
        (path,) = named
        return path, encode_path(os.fspath(path))
    if source is None:
        raise ConfigError("None: neither a file, a list of files, nor samples")
    if sample_rate is None:
        raise ConfigError("samples without a sample rate; pass sample_rate= in hertz")
    return Decoder(ArraySource(source, sample_rate=sample_rate)), "array"


def _refuse_unreadable(recording_status: RecordingStatus, name: str) -> None:
    if recording_status.status == "unreadable":
        raise AudioError(recording_status.codes[0], f"{name}: {recording_status.detail}")


def _silent(recording_status: RecordingStatus) -> AudioError:
    return AudioError("silent", f"silent: {recording_status.detail}")
