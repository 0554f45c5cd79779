"""The Python interface: a model asked about files and arrays, and their features; results that print and tabulate.

Takes the path of a sound file, or samples with their rate, and hears both as the command line hears files, but in this
process. The names are those of the package itself: ``audiocnn.load_model``, ``audiocnn.featurize``.
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

_ONLY = "0" * 64  # the name of the one recording in a store that is gone soon


class Prediction(prediction.RecordingPrediction):
    """What a model says about one recording, readable and as a table.

    ``status`` is ok, unknown or silent; ``label`` and ``score`` are what is heard, of an unknown recording the nearest,
    and '' and None of a silent one. ``scores`` (n_labels,) are in the order of ``labels``, ``window_scores``
    (n_windows, n_labels) are those of the windows from ``starts_s`` to ``ends_s``. ``domain`` says whether it is like
    what the model learned from, None if the model does not know. ``account`` says how long the recording is and what
    is odd about it; its ``sha256`` is that of the file, empty for samples. A prediction equals only itself.
    """

    def __repr__(self) -> str:
        said = f"{self.label} {self.score:.3f}" if self.has_scores else "nothing"
        return (
            f"<Prediction of {self.recording}: {self.status}, {said}, {len(self.starts_s)} windows in "
            f"{self.account.duration_s:.3f} s>"
        )

    def to_pandas(self, *, windows: bool = False) -> "pd.DataFrame":
        """Return the recording as one row, or its ``windows`` as one row each; columns are those of `predict`'s CSV."""
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
            known, account = self.has_scores and not self.doubt, self.account
            said = (self.label, self.score) if known else (None, None)
            scores = self.scores if self.has_scores else [None] * len(self.labels)
            rows = [(self.recording, self.status, *said, account.duration_s, account.analysed_s, self.reason, *scores)]
            columns = tables.COLUMNS
        return pd.DataFrame(rows, columns=[*columns, *(f"p_{label}" for label in self.labels)])


@dataclass(frozen=True, repr=False, eq=False)
class Embedding:
    """What the last layer but one says of a recording: sounds that the model takes for alike are near each other.

    ``values`` (size,) are the mean over the windows that count, ``windows`` (n_windows, size) those of each window,
    which begin at ``starts_s`` and end at ``ends_s``.
    """

    recording: str
    values: prediction.Scores
    windows: Array
    starts_s: prediction.Scores
    ends_s: prediction.Scores

    def __repr__(self) -> str:
        return f"<Embedding of {self.recording}: {len(self.values)} values, {len(self.windows)} windows>"

    def to_pandas(self) -> "pd.DataFrame":
        """Return one row a window: recording, start_s, end_s, and every value as e_0, e_1, ..."""
        with needs_extra("pandas"):
            import pandas as pd

        table = pd.DataFrame(self.windows, columns=[f"e_{i}" for i in range(self.windows.shape[1])])
        table.insert(0, "end_s", self.ends_s)
        table.insert(0, "start_s", self.starts_s)
        table.insert(0, "recording", self.recording)
        return table


@dataclass(frozen=True, repr=False, eq=False)
class Features:
    """The features of a recording: ``frames`` (n_frames, n_bins, n_channels) float32, centred on ``times_s``."""

    recording: str
    spec: FeatureSpec
    frames: Array

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Seconds from the start of the recording to the centre of each frame, (n_frames,)."""
        return extract.window_start_s(np.arange(len(self.frames)), self.spec)

    @property
    def windows(self) -> Array:
        """What a network would see: float32 (n_windows, *spec.shape)."""
        return extract.cut_windows(self.frames, extract.window_starts(len(self.frames), self.spec), self.spec)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.spec.shape))
        return f"<Features of {self.recording}: {len(self.frames)} frames of {self.spec.kind}, windows of {shape}>"

    def to_pandas(self) -> "pd.DataFrame":
        """Return one row a frame: recording, time_s, and every value as static_0, ..., delta_0, ..."""
        with needs_extra("pandas"):
            import pandas as pd

        names = [f"{channel}_{i}" for channel in self.spec.channels for i in range(self.spec.n_bins)]
        table = pd.DataFrame(np.moveaxis(self.frames, 2, 1).reshape(len(self.frames), -1), columns=names)
        table.insert(0, "time_s", self.times_s)
        table.insert(0, "recording", self.recording)
        return table


@dataclass(frozen=True, repr=False, eq=False)
class Model:
    """A trained model, checked when it was loaded. It must not be asked by two threads at once."""

    bundle: Bundle

    @property
    def name(self) -> str:
        return self.bundle.info.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.labels.names

    @property
    def spec(self) -> FeatureSpec:
        """What it hears: `featurize` computes the same with it."""
        return self.bundle.spec

    def __repr__(self) -> str:
        return (
            f"<Model '{self.name}': {len(self.labels)} labels, windows of {self.spec.window_s:.3g} s at "
            f"{self.spec.sample_rate:,} Hz>"
        )

    def predict(self, source: Source, *, sample_rate: float | None = None) -> Prediction:
        """Say what is heard in a sound file, or in samples (n,) or (n, n_channels) with their ``sample_rate``.

        Samples are floats with full scale 1.0, or int16. Raises `AudioError` for what cannot be heard, `ConfigError`
        for what is no such array.
        """
        opened, name = _opened(source, sample_rate)
        account, scores = scoring.score_recording(opened, self.bundle)
        _refuse_unreadable(account, name)
        if isinstance(opened, Path):
            account = replace(account, sha256=sha256_or_empty(opened))
        found = prediction.make_prediction(self.bundle, name, account, scores)
        return Prediction(
            **{field: getattr(found, field) for field in prediction.RecordingPrediction.__dataclass_fields__}
        )

    def embed(self, source: Source, *, sample_rate: float | None = None) -> Embedding:
        """Return the embedding of a recording, given as to `predict`; a silent one is an `AudioError`, too."""
        opened, name = _opened(source, sample_rate)
        by_window: list[Array] = []
        account, scores = scoring.score_recording(
            opened, self.bundle, on_scores=lambda _, embeddings: by_window.append(embeddings)
        )
        _refuse_unreadable(account, name)
        if scores is None:
            raise _silent(account)
        found = scores.prediction(self.bundle, name, account)
        return Embedding(name, found.embedding, np.concatenate(by_window), found.starts_s, found.ends_s)


def load_model(path: str | os.PathLike[str] | None = None) -> Model:
    """Load a model from its folder, or the instrument model that comes with audiocnn, and check every byte of it.

    Raises `ConfigError` where there is no model, `IntegrityError` for a damaged one.
    """
    return Model(bundle.load(SHIPPED if path is None else Path(path)))


def featurize(
    source: Source, *, sample_rate: float | None = None, spec: FeatureSpec | str = DEFAULT_PRESET
) -> Features:
    """Return the features of a sound file, or of samples with their ``sample_rate``, as `Model.predict` takes them.

    ``spec`` is a `FeatureSpec`, such as ``model.spec``, or the name or file of a preset. Raises what `predict` raises,
    and `AudioError` for a silent recording.
    """
    wanted = spec if isinstance(spec, FeatureSpec) else read_preset(spec).features
    if wanted.channel == "each":
        raise ConfigError("features.channel: each: tracks have features of their own; choose a channel, or mix")
    opened, name = _opened(source, sample_rate)
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as scratch:
        store = FeatureStore(Path(scratch), wanted, durable=False)
        with store.writer(_ONLY) as writer:
            account = analyze(opened, spec=wanted, frontend=frontend.make(wanted), keep=writer.append, sha256=_ONLY)
            _refuse_unreadable(account, name)
            writer.finish(account)
        if account.status == "silent":
            raise _silent(account)
        kept = np.array(store.frames(account)[0 : account.n_frames], np.float32)
    return Features(name, wanted, kept)


def _opened(source: Source, sample_rate: float | None) -> tuple[Path | Decoder, str]:
    """A file or an array as a source of samples, and the name of the recording."""
    if isinstance(source, str | os.PathLike):
        if sample_rate is not None:
            raise ConfigError(f"{source}: a file says its own sample rate; leave out sample_rate={sample_rate}")
        return Path(source), encode_path(os.fspath(source))
    if sample_rate is None:
        raise ConfigError("samples without a sample rate; say sample_rate=, in hertz")
    return Decoder(ArraySource(source, sample_rate=sample_rate)), "array"


def _refuse_unreadable(account: RecordingStatus, name: str) -> None:
    if account.status == "unreadable":
        raise AudioError(account.codes[0], f"{name}: {account.detail}")


def _silent(account: RecordingStatus) -> AudioError:
    return AudioError("silent", f"silent: {account.detail}")
