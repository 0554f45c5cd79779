"""The task of an explanation method, its result (a section of the page and files), and shared drawing."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from markupsafe import Markup

from audiocnn.audio import decode
from audiocnn.config import Project
from audiocnn.draw import spectrogram
from audiocnn.draw.spectrogram import HeatMap
from audiocnn.explain import model_occlusion
from audiocnn.explain.segments import ExplainInput, banded
from audiocnn.features.extract import Array
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model.bundle import Bundle
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.progress import Progress
from audiocnn.wording import NBSP, clock

if TYPE_CHECKING:
    from audiocnn.explain.gradients import Gradients


Neutral = Literal["mean", "noise"]  # level that hidden places get: training mean, or background noise
LIMIT_QUANTILE = 0.98  # of the values of a map, at which the colour is strongest
_LONG_S = 600.0  # segments that start later have a time axis from 0: nobody reads 9,001 s


@dataclass(frozen=True, eq=False)  # comparing arrays gives no single bool
class ExplainTask:
    """A prediction to explain.

    ``inputs`` are the explained parts, the strongest first: the whole recording, or segments of a long one.
    ``neutral`` is the level that hidden places get. ``top`` limits how many segments are shown. ``project`` is the
    project in which the model may have been trained. Other recordings are decoded in ``jobs`` processes. ``filters``
    is the number of filters shown of a layer. ``truth`` are the labels that the recording has in the project.
    """

    model: LoadedModel
    prediction: RecordingPrediction
    inputs: Sequence[ExplainInput]
    whole: bool
    neutral: Neutral
    top: int
    progress: Progress
    project: Project | None = None
    jobs: int = 1
    filters: int = 16
    truth: Sequence[str] = ()

    def label_of(self, subject: ExplainInput) -> str:
        return self.model.labels[subject.label]

    @property
    def bundle(self) -> Bundle:
        """The model if it has one network, which methods that look into the network need."""
        assert isinstance(self.model, Bundle)
        return self.model

    # Several methods share these; the first one computes them.

    @cached_property
    def gradients(self) -> "Gradients":
        """The network with its gradients, see `Gradients` for errors. TensorFlow takes a few seconds to load."""
        from audiocnn.explain.gradients import Gradients

        with self.progress.step("load the network with its gradients"):
            return Gradients(self.bundle)

    @property
    def own_rate(self) -> int:
        """The sample rate of the recording."""
        return self.prediction.recording_status.sample_rate

    @cached_property
    def occlusion_maps(self) -> list[Array]:
        """The occlusion map (n_frames, n_mels) of each input."""
        maps: list[Array] = []
        total = sum(int(subject.counted.sum()) for subject in self.inputs)
        with self.progress.task("occlusion", total=total, unit="windows") as advance:
            for subject in self.inputs:
                maps += model_occlusion.importance(self.model, subject, [subject.label], self.neutral, advance=advance)
        return maps


@dataclass(frozen=True)
class Section:
    """A section of the page: ``id`` is its anchor, ``body`` its markup without the h2 heading."""

    id: str
    title: str
    body: Markup


@dataclass(frozen=True)
class MethodResult:
    """The result of a method: a section, files by their names in the folder, and facts for ``explanation.json``."""

    section: Section
    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def colour_limit(maps: Sequence[Array]) -> float:
    """Return the value, above 0, at which the colour of these maps is strongest."""
    values = np.concatenate([np.abs(values).ravel() for values in maps]) if maps else np.zeros(1)
    values = values[values > 0]
    return max(float(np.quantile(values, LIMIT_QUANTILE)), 1e-6) if len(values) else 1e-6


def draw_spectrogram(
    subject: ExplainInput,
    *,
    title: str,
    values: Array | None = None,
    limit: float = 1.0,
    part: slice | None = None,
    strips: Sequence[spectrogram.Strip] = (),
    max_columns: int = spectrogram.MAX_COLUMNS,
    own_rate: int = 0,
) -> Markup:
    """Return the spectrogram of a segment, up to the highest frequency of the features.

    ``values`` (n_frames, n_mels) are coloured over it. Only the frames of ``part`` are shown if it is given. Nothing is
    drawn above half of ``own_rate``, the sample rate of the recording, if that is known.
    """
    spec = subject.spec
    samples, begin_s = subject.samples, subject.start_s
    if part is not None:
        begin_s += part.start * spec.hop_length / spec.sample_rate
        samples = samples[part.start * spec.hop_length : part.stop * spec.hop_length]
        values = None if values is None else values[part]
    view = spectrogram.drawing_spec(spec)
    heat = None if values is None else HeatMap(values, banded(spec, subject.frontend)[0], limit)
    return spectrogram.draw(
        decode.resample(samples, spec.sample_rate, view.sample_rate),
        view.sample_rate,
        title=title,
        heat=heat,
        highest_hz=min(spec.upper_hz, own_rate / 2 or spec.upper_hz),
        strips=strips,
        max_columns=max_columns,
        begin_s=begin_s if begin_s < _LONG_S else 0.0,
        spec=view,
    )


def npy_bytes(values: Array) -> bytes:
    """Return an array as the content of a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


@dataclass(frozen=True)
class ShownMap:
    """A map over the spectrogram of a segment; ``agreement`` compares it with the occlusion map, in words."""

    title: str
    label: str
    picture: Markup
    agreement: str


def show_maps(
    work: ExplainTask, maps: Sequence[Array], agreements: Sequence[float | None], method: str
) -> list[ShownMap]:
    """Return the drawn map of each input, all on one colour scale."""
    end = colour_limit(maps)
    return [
        ShownMap(
            title=f"{clock(subject.start_s)} to {clock(subject.end_s)}",
            label=work.label_of(subject),
            picture=draw_spectrogram(
                subject,
                title=f"{method} for {work.label_of(subject)}",
                values=values,
                limit=end,
                own_rate=work.own_rate,
            ),
            agreement=describe_agreement(correlation),
        )
        for subject, values, correlation in zip(work.inputs, maps, agreements, strict=True)
    ]


def map_files(work: ExplainTask, maps: Sequence[Array], name: str) -> dict[str, bytes]:
    """Return the maps as ``.npy`` files by name."""
    suffixes = [""] if work.whole else [f"-{number}" for number in range(1, len(maps) + 1)]
    return {f"{name}{suffix}.npy": npy_bytes(values) for suffix, values in zip(suffixes, maps, strict=True)}


def describe_agreement(correlation: float | None) -> str:
    """Return a rank correlation with the occlusion map, in words.

    >>> describe_agreement(0.684).replace(NBSP, " ")
    'Agreement with occlusion: rank correlation 0.68, which is high.'
    """
    if correlation is None:
        return "The map is the same everywhere, so it cannot be compared with occlusion."
    written = f"{correlation:.2f}".replace("-", "\N{MINUS SIGN}")
    much = "which is high" if correlation >= 0.6 else "which is fair" if correlation >= 0.3 else "which is low"
    advice = "" if correlation >= 0.3 else ": trust what both show, and occlusion more than this map"
    return f"Agreement with occlusion: rank correlation{NBSP}{written}, {much}{advice}."
