"""Frozen, validated settings of an experiment: the content of YAML files and of the specs in a model bundle."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from audiocnn.files import digest_of

CONFIG_NAME = "audiocnn.yaml"  # of the file that holds an `Experiment`
DEFAULT_PRESET = "general"

# Limits on memory and time, as a bundle of unknown origin may contain any numbers.
_MAX_VALUES = 1 << 23  # in one window, and in the mel basis (n_fft x n_mels)
_MAX_TRANSFORMED = 1 << 27  # samples that enter the STFT of one window, overlaps counted each time
_MAX_MULTIPLIED = 1 << 34  # the same, times the number of mel bands
DELTA_WIDTH = 9  # frames; the default width of librosa.feature.delta
COPIES_KEYS = ("copies", "augment")  # two names of one setting of `FeatureSpec`; files are written with the first


class _Spec(BaseModel):
    # Validators are built on first use: 'predict' needs one of these models, not all.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


_Speed = Annotated[float, Field(ge=0.5, le=2)]
_Decay = Annotated[float, Field(ge=0.05, le=5)]
_Edge = Annotated[float, Field(ge=20, le=380_000)]
_Ratio = Annotated[float, Field(ge=-20, le=80)]


class AugmentSpec(_Spec):
    """One augmented version of every training recording: ranges (lowest, highest) of uniformly drawn parameters.

    ``speed`` 1.1 plays 10 % faster and higher. ``room_s`` is the reverberation time RT60: seconds until the sound has
    decayed by 60 dB. ``highpass_hz`` and ``lowpass_hz`` are cutoff frequencies (-6 dB) in hertz. ``snr_db`` is the
    level of the recording above that of the added noise.
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
            names = ", ".join(AugmentSpec.model_fields)
            raise ValueError(f"an augmented version without any change; set at least one of {names}")
        for name, (low, high) in ranges.items():
            if low > high:
                raise ValueError(f"{name} [{low:g}, {high:g}]: the lower value comes first")
        if self.highpass_hz and self.lowpass_hz and self.highpass_hz[1] >= self.lowpass_hz[0]:
            raise ValueError(
                f"highpass_hz up to {self.highpass_hz[1]:g} and lowpass_hz from {self.lowpass_hz[0]:g} may leave "
                "no frequencies; keep all of highpass_hz below lowpass_hz"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: limits for name, limits in handler(self).items() if limits is not None}


class FeatureSpec(_Spec):
    """All settings that turn samples into feature arrays; two equal specs give equal arrays.

    ``n_fft`` and ``hop_length`` are in samples at ``sample_rate``, ``fmin`` and ``fmax`` in hertz, ``window_frames``
    and ``hop_frames`` in frames (STFT columns). ``copies`` are the augmented versions of each training recording; YAML
    files may call them ``augment``.
    """

    kind: Literal["mfcc", "logmel"]
    sample_rate: int = Field(ge=1_000, le=768_000)
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
    copies: Annotated[tuple[AugmentSpec, ...], Field(max_length=16, strict=False)] = Field(
        default=(), validation_alias=AliasChoices(*COPIES_KEYS)
    )

    @model_validator(mode="before")
    @classmethod
    def _one_key_for_copies(cls, values: Any) -> Any:
        if isinstance(values, dict) and all(key in values for key in COPIES_KEYS):
            raise ValueError(f"{' and '.join(COPIES_KEYS)} are two names of one setting; keep one of them")
        return values

    @model_serializer(mode="wrap")
    def _without_empty_copies(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave empty ``copies`` out, so that digests, stores and bundles stay as in versions without them."""
        return {name: value for name, value in handler(self).items() if name != "copies" or value}

    @model_validator(mode="after")
    def _consistent(self) -> "FeatureSpec":
        if self.kind == "mfcc" and self.n_mfcc is None:
            raise ValueError("kind: mfcc needs n_mfcc; set it")
        if self.kind == "logmel" and self.n_mfcc is not None:
            raise ValueError("kind: logmel does not use n_mfcc; remove it")
        if self.n_mfcc is not None and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc ({self.n_mfcc}) is more than n_mels ({self.n_mels})")
        if self.n_fft % 2:
            raise ValueError(f"n_fft ({self.n_fft}) must be even")
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length ({self.hop_length}) above n_fft ({self.n_fft}) would skip samples")
        if not self.fmin < self.upper_hz <= self.sample_rate / 2:
            raise ValueError(f"fmin < fmax <= sample_rate / 2 ({self.sample_rate / 2:g} Hz) is needed")
        if self.n_fft * self.n_mels > _MAX_VALUES or math.prod(self.shape) > _MAX_VALUES:
            raise ValueError(f"a window or mel basis has more than {_MAX_VALUES:,} values; lower n_mels")
        if self.window_samples > _MAX_VALUES:
            raise ValueError(f"a window has more than {_MAX_VALUES:,} samples; lower window_frames")
        transformed = self.n_fft * self.window_frames
        if transformed > _MAX_TRANSFORMED or transformed * self.n_mels > _MAX_MULTIPLIED:
            raise ValueError(
                f"window_frames x n_fft ({transformed:,}) is above {_MAX_TRANSFORMED:,}, or its product with n_mels is "
                f"above {_MAX_MULTIPLIED:,}; lower n_fft or window_frames"
            )
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("channels contains the same channel twice; remove one")
        if "delta" in self.channels and self.window_frames < DELTA_WIDTH:
            raise ValueError(f"window_frames ({self.window_frames}) must be at least {DELTA_WIDTH} for a delta channel")
        for number, copy in enumerate(self.copies, start=1):
            for name, edge in (("highpass_hz", copy.highpass_hz), ("lowpass_hz", copy.lowpass_hz)):
                if edge and edge[1] >= self.sample_rate / 2:
                    raise ValueError(
                        f"augmented version {number}: {name} up to {edge[1]:g} must be below sample_rate / 2 "
                        f"({self.sample_rate / 2:g} Hz)"
                    )
        return self

    def n_tracks(self, n_channels: int) -> int:
        """Return the number of tracks of a recording with ``n_channels``: one, unless ``channel`` is each."""
        return n_channels if self.channel == "each" else 1

    @property
    def first_track(self) -> Literal["mix"] | int:
        """The channel of the first track, the one that reports show and explain."""
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
        """Shape of one window as network input: ``axes``, then channels."""
        if self.axes == "bins_frames":
            return (self.n_bins, self.window_frames, len(self.channels))
        return (self.window_frames, self.n_bins, len(self.channels))

    @property
    def window_samples(self) -> int:
        """Fewest samples n that fill one window: n samples give ``1 + n // hop_length`` centred frames."""
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


_Key = TypeVar("_Key")


def finest_member(features: Mapping[_Key, FeatureSpec]) -> _Key:
    """Return the key of the member whose windows are closest together, of several such members the first.

    A model with members has a score for each window of this one.
    """
    return min(features, key=lambda key: features[key].hop_s)


Rare = Literal["train", "drop", "refuse"]


class SplitSpec(_Spec):
    """How recordings are split: fractions of the recordings; a group is never divided."""

    test: float = Field(ge=0, lt=1)
    validation: float = Field(ge=0, lt=1)  # of the recordings outside test; 0: no validation part
    seed: int = Field(default=0, ge=0, lt=2**32)
    rare: Rare = "train"  # what becomes of a label with fewer groups than parts


class TrainSpec(_Spec):
    """How the network is trained.

    The learning rate of epoch e (from 0) is ``learning_rate`` times: ``decay`` ** e (exponential), 1 / (1 + ``decay`` *
    e) (inverse), or half a cosine from 1 to 0 over ``epochs`` (cosine). It first rises over ``warmup_epochs``.
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
                f"decay ({self.decay:g}) above 1 would increase the learning rate; schedule: exponential takes 0 to 1"
            )
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(f"weight_decay needs optimizer: adamw, not {self.optimizer}; set it to 0")
        return self


class DecideSpec(_Spec):
    """How scores become decisions: temperature and thresholds are fitted to held-out recordings.

    Held out is the validation part or, with ``folds``, all of training and validation: a network trained on the other
    folds scores each fold. ``wanted_precision`` or ``wanted_recall`` is the target for the threshold of every label.
    ``coverage`` is the target share of recordings whose set of labels contains the true one. ``unknown`` is the largest
    share of recordings with known labels that may be predicted as unknown.
    """

    folds: Annotated[int, Field(ge=0, le=1_000)] = 0
    wanted_precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    wanted_recall: Annotated[float, Field(gt=0, le=1)] | None = None
    coverage: float = Field(default=0.9, gt=0, lt=1)
    unknown: float = Field(default=0.02, ge=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> "DecideSpec":
        if self.folds == 1:
            raise ValueError("folds: 1 leaves no recordings for training; set 2 or more, or 0 for none")
        if self.wanted_precision is not None and self.wanted_recall is not None:
            raise ValueError("wanted_precision and wanted_recall exclude each other; set one to null")
        return self


_Threshold = Annotated[float, Field(gt=0, le=1)]


class EventSpec(_Spec):
    """How the scores of windows become events: intervals with one label.

    First each window's score is replaced by the mean over windows whose centres are within ``smooth_s`` / 2 of its own,
    so windows that are far apart keep their scores. An event starts where the score reaches ``threshold`` and lasts
    while it is at least ``release`` times the threshold. ``thresholds`` holds values for single labels; None is the
    threshold that the model has for the label, or 0.5. Events at most ``max_gap_s`` apart are merged; events shorter
    than ``min_duration_s`` are dropped.

    Only ``labels`` give events. If it is empty, all do; with two labels, the one with a threshold in the model. If
    labels are ``competing``, a window counts only for the label with its highest score. Windows that are too quiet to
    count for their recording give events only if ``quiet``.
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
    """How metrics and their intervals are computed, what the report shows, and which studies are run.

    ``worst`` and ``right`` are numbers of wrongly and correctly predicted recordings in the report; the ``explain``
    worst get an explanation. Each of the ``studies`` trains further networks: leak-gap on a random split of all
    windows, learning-curve on fewer recordings, unknown without some of the labels.
    """

    bootstrap: int = Field(default=2_000, ge=100, le=1_000_000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    worst: int = Field(default=10, ge=0, le=200)
    right: int = Field(default=10, ge=0, le=200)
    explain: int = Field(default=10, ge=0, le=200)
    studies: Annotated[tuple[Study, ...], Field(strict=False)] = ()


class NetworkSpec(_Spec):
    """The settings of one network: its features, its layers and its training."""

    features: FeatureSpec
    model: str = Field(min_length=1, max_length=10_000)
    train: TrainSpec

    @model_validator(mode="after")
    def _shift_needs_bands(self) -> Self:
        if self.train.shift_bins and self.features.kind == "mfcc":
            raise ValueError("train.shift_bins needs features.kind: logmel, not mfcc; set it to 0")
        return self


class MemberSpec(NetworkSpec):
    """One network of a model with several: its features, layers and training.

    ``weight`` is its share of the log-scores; None leaves that to the training.
    """

    weight: Annotated[float, Field(gt=0, lt=1)] | None = None


NAME_CHARACTERS = 100
Name = Annotated[str, Field(pattern=r"^[\w][\w. -]*$", max_length=NAME_CHARACTERS)]  # names a folder in ``runs/``
MEMBER_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,49}"  # names a folder of a model
MAX_MEMBERS = 8


class Members(_Spec):
    """The networks of a model that has several, by name, in the order of the file."""

    members: dict[str, MemberSpec]

    @model_validator(mode="after")
    def _consistent(self) -> "Members":
        if not 2 <= len(self.members) <= MAX_MEMBERS:
            raise ValueError(
                f"members: {len(self.members)} given; a model has 2 to {MAX_MEMBERS}, or none and its features, model "
                "and train at the top"
            )
        for name in self.members:
            if not re.fullmatch(MEMBER_NAME, name):
                raise ValueError(f"members: {name!r} cannot name a folder; use up to 50 letters, digits, _ and -")
        given = {name: member.weight for name, member in self.members.items() if member.weight is not None}
        if given and len(given) < len(self.members):
            missing = next(name for name in self.members if name not in given)
            raise ValueError(f"members.{missing}: has no weight, but others have; give all members one, or none")
        if given and abs(sum(given.values()) - 1) > 1e-6:
            raise ValueError(f"members: their weights sum to {sum(given.values()):g}; they must sum to 1")
        channels = {name: member.features.channel for name, member in self.members.items()}
        if len(set(channels.values())) > 1:
            shown = ", ".join(f"{name} {channel}" for name, channel in channels.items())
            raise ValueError(f"members: their features.channel differ ({shown}); set the same for all")
        return self


class Preset(NetworkSpec):
    """The content of a preset: all settings but the name, the data and the positive label.

    With ``members``, ``features``, ``model`` and ``train`` are those of the one that `finest_member` tells.
    """

    split: SplitSpec
    # Made when needed, as making one builds its validator.
    decide: DecideSpec = Field(default_factory=DecideSpec)
    evaluate: EvaluateSpec = Field(default_factory=EvaluateSpec)
    members: dict[str, MemberSpec] = {}

    @property
    def networks(self) -> dict[str, Self]:
        """The same settings for each network alone, by its name; that of a model of one has no name."""
        blocks = {
            name: {"features": one.features, "model": one.model, "train": one.train, "members": {}}
            for name, one in self.members.items()
        }
        return {name: self.model_copy(update=update) for name, update in blocks.items()} or {"": self}

    @property
    def widest(self) -> tuple[FeatureSpec, str]:
        """The features that keep the highest frequency, and the key of their block in the YAML file."""
        name, network = max(self.networks.items(), key=lambda item: item[1].features.upper_hz)
        return network.features, f"members.{name}.features" if name else "features"


class DataSpec(_Spec):
    """Where the recordings are; both paths are relative to the YAML file."""

    manifest: str = Field(min_length=1)
    root: str = Field(min_length=1)
    allow_outside: bool = False
    background: Annotated[str, Field(min_length=1)] | None = None  # label of the parts of a file without an annotation
    about: str = ""
    timezone: str | None = None  # of recorders that wrote local time without its offset


class Experiment(Preset):
    """A whole ``audiocnn.yaml``."""

    name: Name
    data: DataSpec
    positive: str | None = None


class Sweep(_Spec):
    """A ``sweep.yaml``: variants of an experiment to compare.

    ``common`` and each of the ``variants`` hold settings nested as in an ``audiocnn.yaml``. They override those of the
    ``preset`` or, without one, of the project.
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
            raise ValueError("variants: empty; add at least one: its name, then the settings that differ")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds contains the same seed twice; remove one")
        return self
