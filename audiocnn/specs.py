"""The frozen, validated descriptions that everything else is computed from: what a YAML file or a bundle may say."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from audiocnn.files import digest_of

_MAX_VALUES = 1 << 23  # of one window, and of n_fft x n_mels: a bundle of unknown origin may ask for anything
_MAX_TRANSFORMED = 1 << 27  # samples that the spectra of one window are computed from, overlaps counted each time
_MAX_MULTIPLIED = 1 << 34  # of those, times the mel bands
DELTA_WIDTH = 9  # frames; the default width of librosa.feature.delta


class _Spec(BaseModel):
    # Built when first used: 'predict' needs one of these models, not all.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


_Speed = Annotated[float, Field(ge=0.5, le=2)]
_Decay = Annotated[float, Field(ge=0.05, le=5)]
_Edge = Annotated[float, Field(ge=20, le=90_000)]
_Ratio = Annotated[float, Field(ge=-20, le=80)]


class AugmentSpec(_Spec):
    """An altered copy of every recording, to learn from: ranges, lowest and highest, from which each one draws evenly.

    ``speed`` 1.1 is a tenth faster and higher. ``room_s`` is the time in which the sound of a room decays by 60 dB.
    Filters lose 6 dB at their edge, which is in hertz. ``snr_db`` is the level of the recording over that of noise.
    """

    speed: Annotated[tuple[_Speed, _Speed], Field(strict=False)] | None = None
    room_s: Annotated[tuple[_Decay, _Decay], Field(strict=False)] | None = None
    highpass_hz: Annotated[tuple[_Edge, _Edge], Field(strict=False)] | None = None
    lowpass_hz: Annotated[tuple[_Edge, _Edge], Field(strict=False)] | None = None
    snr_db: Annotated[tuple[_Ratio, _Ratio], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "AugmentSpec":
        ranges = {name: limits for name in AugmentSpec.model_fields if (limits := getattr(self, name)) is not None}
        if not ranges:
            raise ValueError(f"a copy that nothing is done to; give it one of {', '.join(AugmentSpec.model_fields)}")
        for name, (low, high) in ranges.items():
            if low > high:
                raise ValueError(f"{name} [{low:g}, {high:g}]: the lower end comes first")
        if self.highpass_hz and self.lowpass_hz and self.highpass_hz[1] >= self.lowpass_hz[0]:
            raise ValueError(
                f"highpass_hz up to {self.highpass_hz[1]:g} and lowpass_hz from {self.lowpass_hz[0]:g} on may leave "
                "nothing; let the first end below the second"
            )
        return self

    @model_serializer(mode="wrap")
    def _what_is_done(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: limits for name, limits in handler(self).items() if limits is not None}


class FeatureSpec(_Spec):
    """Everything that turns samples into an array; two equal specs give equal arrays.

    ``n_fft`` and ``hop_length`` are samples at ``sample_rate``, ``fmin`` and ``fmax`` hertz, ``window_frames`` and
    ``hop_frames`` frames (STFT columns).
    """

    kind: Literal["mfcc", "logmel"]
    sample_rate: int = Field(ge=1_000, le=192_000)
    channel: Literal["mix", "each"] | Annotated[int, Field(ge=0, le=255)] = "mix"
    n_fft: int = Field(ge=32, le=65_536)
    hop_length: int = Field(ge=1, le=65_536)
    n_mels: int = Field(ge=1, le=1_024)
    n_mfcc: Annotated[int, Field(ge=1, le=1_024)] | None = None
    fmin: float = Field(default=0.0, ge=0)
    fmax: Annotated[float, Field(gt=0)] | None = None
    channels: Annotated[tuple[Literal["static", "delta"], ...], Field(min_length=1, max_length=2, strict=False)]
    window_frames: int = Field(ge=1, le=65_536)
    hop_frames: int = Field(ge=1, le=65_536)
    axes: Literal["bins_frames", "frames_bins"]
    tail: Literal["drop", "cover"] = "drop"
    silence_dbfs: float = Field(default=-60.0, le=0)
    quiet_db: Annotated[float, Field(gt=0, le=1_000)] | None = None
    dtype: Literal["float32", "float16"] = "float32"
    copies: Annotated[tuple[AugmentSpec, ...], Field(max_length=16, strict=False)] = ()

    @model_serializer(mode="wrap")
    def _without_no_copies(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Where there are none, digests, stores and bundles are as they were before there could be any."""
        return {name: value for name, value in handler(self).items() if name != "copies" or value}

    @model_validator(mode="after")
    def _consistent(self) -> "FeatureSpec":
        if self.kind == "mfcc" and self.n_mfcc is None:
            raise ValueError("n_mfcc is needed for kind: mfcc")
        if self.kind == "logmel" and self.n_mfcc is not None:
            raise ValueError("n_mfcc has no meaning for kind: logmel; remove it")
        if self.n_mfcc is not None and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc ({self.n_mfcc}) is more than n_mels ({self.n_mels})")
        if self.n_fft % 2:
            raise ValueError(f"n_fft ({self.n_fft}) must be even")
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length ({self.hop_length}) above n_fft ({self.n_fft}) would skip samples")
        if not self.fmin < self.upper_hz <= self.sample_rate / 2:
            raise ValueError(f"fmin < fmax <= sample_rate / 2 ({self.sample_rate / 2:g} Hz) is needed")
        if self.n_fft * self.n_mels > _MAX_VALUES or math.prod(self.shape) > _MAX_VALUES:
            raise ValueError(f"a window or mel basis of more than {_MAX_VALUES:,} values is not made; lower n_mels")
        if self.window_samples > _MAX_VALUES:
            raise ValueError(f"a window of more than {_MAX_VALUES:,} samples is not made; lower window_frames")
        transformed = self.n_fft * self.window_frames
        if transformed > _MAX_TRANSFORMED or transformed * self.n_mels > _MAX_MULTIPLIED:
            raise ValueError(
                f"window_frames x n_fft ({transformed:,}) is above {_MAX_TRANSFORMED:,}, or that times n_mels above "
                f"{_MAX_MULTIPLIED:,}; lower n_fft or window_frames"
            )
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("channels names the same channel twice")
        if "delta" in self.channels and self.window_frames < DELTA_WIDTH:
            raise ValueError(f"window_frames ({self.window_frames}) must be at least {DELTA_WIDTH} for a delta")
        for number, copy in enumerate(self.copies, start=1):
            for name, edge in (("highpass_hz", copy.highpass_hz), ("lowpass_hz", copy.lowpass_hz)):
                if edge and edge[1] >= self.sample_rate / 2:
                    raise ValueError(
                        f"copy {number} has {name} up to {edge[1]:g}; it must be below half of sample_rate "
                        f"({self.sample_rate / 2:g} Hz)"
                    )
        return self

    def n_tracks(self, n_channels: int) -> int:
        """How many tracks a recording of so many channels becomes: one, unless ``channel`` is each."""
        return n_channels if self.channel == "each" else 1

    @property
    def first_track(self) -> Literal["mix"] | int:
        """The channel of the first track, which is the one that is shown and explained."""
        return 0 if self.channel == "each" else self.channel

    @property
    def upper_hz(self) -> float:
        """Upper edge of the highest mel band, in hertz."""
        return self.sample_rate / 2 if self.fmax is None else self.fmax

    @property
    def n_bins(self) -> int:
        """Values per frame and channel: coefficients for MFCC, mel bands for log-mel."""
        return self.n_mels if self.n_mfcc is None else self.n_mfcc

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one window as the network sees it."""
        if self.axes == "bins_frames":
            return (self.n_bins, self.window_frames, len(self.channels))
        return (self.window_frames, self.n_bins, len(self.channels))

    @property
    def window_samples(self) -> int:
        """Fewest samples that fill one window: ``1 + n // hop_length`` frames are centred on them."""
        return (self.window_frames - 1) * self.hop_length

    @property
    def window_s(self) -> float:
        """Duration of one window in seconds."""
        return self.window_samples / self.sample_rate

    @property
    def hop_s(self) -> float:
        """Seconds from the start of one window to the start of the next."""
        return self.hop_frames * self.hop_length / self.sample_rate

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the spec."""
        return digest_of(self.model_dump(mode="json"))


class SplitSpec(_Spec):
    """How recordings are divided; fractions count recordings, whole groups are dealt."""

    test: float = Field(ge=0, lt=1)
    validation: float = Field(ge=0, lt=1)  # of what is not test; 0: none
    seed: int = Field(default=0, ge=0, lt=2**32)


class TrainSpec(_Spec):
    """How the network is trained.

    The learning rate of epoch e (from 0) is ``learning_rate`` times: ``decay`` ** e (exponential), 1 / (1 + ``decay`` *
    e) (inverse), or half a cosine from 1 to 0 over ``epochs`` (cosine); before that it rises over ``warmup_epochs``.
    """

    loss: Literal["auto", "cross_entropy", "mse"] = "auto"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    schedule: Literal["constant", "exponential", "inverse", "cosine"] = "constant"
    decay: float = Field(default=1.0, gt=0, le=10)
    warmup_epochs: int = Field(default=0, ge=0, le=1_000_000)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    average: float = Field(default=0.0, ge=0, lt=1)
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=1_000_000)] = 32
    precision: Literal["float32", "mixed"] = "float32"
    windows_per_recording: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    mixup: float = Field(default=0.0, ge=0, le=10)
    shift_frames: float = Field(default=0.0, ge=0, lt=1)
    shift_bins: float = Field(default=0.0, ge=0, lt=1)
    gain_db: float = Field(default=0.0, ge=0, le=60)
    mask_frames: float = Field(default=0.0, ge=0, le=1)
    mask_bins: float = Field(default=0.0, ge=0, le=1)
    epochs: int = Field(ge=1, le=1_000_000)
    freeze_epochs: int = Field(default=0, ge=0, le=1_000_000)
    patience: int = Field(ge=1, le=1_000_000)
    monitor: Literal["loss", "accuracy", "none"] = "loss"
    class_weight: Literal["balanced", "none"] = "balanced"
    standardize: Literal["bin", "channel", "none"] = "bin"
    max_bad_fraction: float = Field(default=0.05, ge=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _consistent(self) -> "TrainSpec":
        if self.schedule == "exponential" and self.decay > 1:
            raise ValueError(
                f"decay ({self.decay:g}) above 1 would make the learning rate grow; with exponential it is 0 to 1"
            )
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(f"weight_decay is for optimizer: adamw, not {self.optimizer}; set it to 0")
        return self


class DecideSpec(_Spec):
    """How scores become decisions, by recordings that the network has not learned from.

    Those are the validation part or, with ``folds``, all of training and validation: each fold is judged by a network
    that learned from the others. ``wanted_precision`` or ``wanted_recall`` is what every label's threshold is to reach,
    ``coverage`` is how often the true label is to be in a recording's set of labels, ``unknown`` the share of
    recordings of known labels that may be called unknown.
    """

    folds: Annotated[int, Field(ge=0, le=1_000)] = 0
    wanted_precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    wanted_recall: Annotated[float, Field(gt=0, le=1)] | None = None
    coverage: float = Field(default=0.9, gt=0, lt=1)
    unknown: float = Field(default=0.02, ge=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> "DecideSpec":
        if self.folds == 1:
            raise ValueError("folds: 1 leaves nothing to learn from; two or more are needed, or 0 for none")
        if self.wanted_precision is not None and self.wanted_recall is not None:
            raise ValueError("a threshold can be set by precision or by recall, not by both; set one to null")
        return self


_Threshold = Annotated[float, Field(gt=0, le=1)]


class EventSpec(_Spec):
    """How windows become events: stretches of one label.

    ``threshold`` is the score from which on a label is heard, ``thresholds`` are those of single labels; None: the
    model's own for the label, or 0.5. An event goes on while the score is at least ``release`` times the threshold.
    Before that a window's score becomes the mean over windows whose middles are within ``smooth_s`` / 2 of its own, so
    windows that are far apart stay as they are. Events with at most ``max_gap_s`` between them become one; those
    shorter than ``min_duration_s`` are dropped.

    Only ``labels`` make events; none named: all, or of two the one that has a threshold in the model. ``competing``
    labels share the time out: a window is for the label with the highest score. Windows too quiet to count for their
    recording make no event unless ``quiet``.
    """

    threshold: _Threshold | None = None
    thresholds: dict[str, _Threshold] = {}
    release: float = Field(default=0.8, gt=0, le=1)
    smooth_s: float = Field(default=0.3, ge=0, le=10)
    min_duration_s: float = Field(default=0.0, ge=0, le=86_400)
    max_gap_s: float = Field(default=0.2, ge=0, le=86_400)
    labels: Annotated[tuple[str, ...], Field(strict=False)] = ()
    competing: bool = True
    quiet: bool = False


Study = Literal["leak-gap", "learning-curve", "unknown"]


class EvaluateSpec(_Spec):
    """How figures and their intervals are computed, what the report shows, and which further networks are trained.

    Of the ``explain`` worst recordings the report shows what the network went by. Of ``studies`` each trains networks
    of its own: leak-gap on a random part of all windows, learning-curve on fewer recordings, unknown without some of
    the labels.
    """

    bootstrap: int = Field(default=2_000, ge=100, le=1_000_000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    worst: int = Field(default=10, ge=0, le=200)
    right: int = Field(default=10, ge=0, le=200)
    explain: int = Field(default=10, ge=0, le=200)
    studies: Annotated[tuple[Study, ...], Field(strict=False)] = ()


class Preset(_Spec):
    """What a preset fixes: everything but the data."""

    features: FeatureSpec
    split: SplitSpec
    model: str = Field(min_length=1, max_length=10_000)
    train: TrainSpec
    decide: DecideSpec = DecideSpec()
    evaluate: EvaluateSpec = EvaluateSpec()

    @model_validator(mode="after")
    def _consistent(self) -> "Preset":
        if self.train.shift_bins and self.features.kind == "mfcc":
            raise ValueError("train.shift_bins is for features.kind: logmel; coefficients of mfcc have no neighbours")
        return self


class DataSpec(_Spec):
    """Where the recordings are; both paths are relative to the YAML file."""

    manifest: str = Field(min_length=1)
    root: str = Field(min_length=1)
    allow_outside: bool = False
    background: Annotated[str, Field(min_length=1)] | None = None  # label of what no stretch of a file covers
    about: str = ""


NAME_CHARACTERS = 100
Name = Annotated[str, Field(pattern=r"^[\w][\w. -]*$", max_length=NAME_CHARACTERS)]  # fit for a folder of ``runs/``


class Experiment(Preset):
    """A whole ``audiocnn.yaml``."""

    name: Name
    data: DataSpec
    positive: str | None = None


class Sweep(_Spec):
    """A ``sweep.yaml``: variants of an experiment to compare.

    Settings of ``common`` and of each of the ``variants`` are nested as in an ``audiocnn.yaml``; they take the place of
    what the ``preset`` or, without one, the project says.
    """

    name: Name
    about: str = ""
    preset: Annotated[str, Field(min_length=1)] | None = None
    folds: Annotated[int, Field(ge=2, le=1_000)] | None = None  # None: 5, or as many as the groups allow
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1, strict=False)] = (0,)
    common: dict[str, Any] = {}
    variants: dict[Annotated[str, Field(min_length=1, max_length=100)], dict[str, Any]]

    @model_validator(mode="after")
    def _consistent(self) -> "Sweep":
        if not self.variants:
            raise ValueError("variants: there are none; give each a name and what is different in it")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names the same seed twice")
        return self
