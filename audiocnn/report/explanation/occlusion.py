"""Occlusion: places whose removal changes the score, as pictures and sounds."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from audiocnn.audio import decode, encode
from audiocnn.explain import load, model_occlusion, occlusion, resynthesis
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import extract, frontend
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.extract import Array
from audiocnn.inference import scoring
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.report import page
from audiocnn.report.explanation import method
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Section
from audiocnn.report.sound import Sound, make_sound
from audiocnn.wording import NBSP, clock, decimal, join_names, power_of_two, quoted

_MAIN_SHARE = 0.8  # of the importance that counts for the label, in the places that a sentence names
_MOST_RUNS = 3  # ranges that are named one by one
_ZOOM_SHARE = 0.7  # of a recording; a longer segment is not shown in detail


@dataclass(frozen=True)
class SoundPlayer:
    """A player: its sound, and what the model predicts for that sound alone."""

    caption: str
    prediction: str
    sound: Sound
    name: str


@dataclass(frozen=True)
class ShownSegment:
    """A segment of a recording with its map: a picture, sounds, and a sentence on its main part."""

    title: str
    picture: Markup
    sounds: Sequence[SoundPlayer]
    sentence: str
    label: str
    strongest: float
    zooms: Sequence["ShownSegment"] = ()


def explain_by_occlusion(work: ExplainTask) -> MethodResult:
    """Hide each place of each input in turn, and return the change of the score."""
    maps = work.occlusion_maps
    end = method.colour_limit(maps)
    shown: list[ShownSegment] = []
    files: dict[str, bytes] = {}
    for number, (subject, values) in enumerate(zip(work.inputs, maps, strict=True), start=1):
        suffix = "" if work.whole else f"-{number}"
        made, sounds = _shown(work, subject, values, end)
        shown.append(made)
        files |= {
            f"importance{suffix}.npy": method.npy_bytes(values),
            f"importance{suffix}.csv": _csv(subject, values),
        }
        files |= {
            f"{name}{suffix}.wav": encode.wav_bytes(samples, subject.spec.sample_rate)
            for name, samples in sounds.items()
        }
    by = model_occlusion.neutral_kind(work.model, work.inputs[0], work.neutral)
    body = page.render_markup(
        "sections/occlusion.html.j2",
        shown=shown,
        whole=work.whole,
        members=list(work.model.members),
        neutral=by,
        requested=work.neutral,
        ends=power_of_two(end),
    )
    facts = {"neutral": by, "strongest": [round(one.strongest, 4) for one in shown], "unit": "log2 of the odds"}
    return MethodResult(Section("mattered", "What mattered", body), files, facts)


def predict_samples(model: LoadedModel, samples: Array, rate: int) -> tuple[str, float] | None:
    """Return the label and score predicted for samples (n,) at ``rate``, in hertz; None if they are silent."""
    if float(np.abs(samples).max(initial=0)) < 10 ** (model.spec.silence_dbfs / 20):
        return None
    stored = []
    for network in model.networks:
        own = decode.resample(samples, rate, network.spec.sample_rate)
        frames = np.concatenate(list(extract.compute_frames([own], spec=network.spec, frontend=network.frontend)))
        status = RecordingStatus("ok", n_frames=len(frames), n_channels=1, duration_s=len(samples) / rate)
        stored.append((status, frames))
    said = scoring.predict_stored(model, "", stored)
    return said.label, float(said.score or 0.0)


def _shown(
    work: ExplainTask, subject: ExplainInput, values: Array, end: float
) -> tuple[ShownSegment, dict[str, Array]]:
    model, label = work.model, work.label_of(subject)
    kept, rest = resynthesis.separate(
        subject.samples, resynthesis.mask(values), spec=subject.spec, frontend=subject.frontend
    )
    sounds = {"original": subject.samples, "what-mattered": kept, "the-rest": rest}
    gain = 1 / max(1.0, *(float(np.abs(samples).max()) for samples in sounds.values()))
    sounds = {name: gain * samples for name, samples in sounds.items()}
    answers = {name: predict_samples(model, samples, subject.spec.sample_rate) for name, samples in sounds.items()}
    doubt = describe_doubt(label, answers)
    if doubt:
        work.progress.warn(f"{work.prediction.recording}: {doubt}")
    title = "The recording" if work.whole else f"{clock(subject.start_s)} to {clock(subject.end_s)}"
    shown = ShownSegment(
        title=title,
        picture=method.draw_spectrogram(
            subject, title=f"What mattered for {label}", values=values, limit=end, own_rate=work.own_rate
        ),
        sounds=_players(sounds, subject.spec.sample_rate, title, answers),
        sentence=" ".join(filter(None, (describe_places(subject, values, label), doubt))),
        label=label,
        strongest=float(values.max(initial=0)),
        zooms=_zooms(work, subject, values, end, sounds) if work.whole else (),
    )
    return shown, sounds


def _zooms(
    work: ExplainTask, subject: ExplainInput, values: Array, end: float, sounds: dict[str, Array]
) -> list[ShownSegment]:
    """The strongest segments of a recording that is explained as a whole, in detail."""
    spec, label = subject.spec, work.label_of(subject)
    found = []
    for moment in load.strongest(work.prediction, work.model, subject.label, work.top):
        first = round(work.prediction.starts_s[moment.first] * spec.sample_rate / spec.hop_length)
        end_s = work.prediction.starts_s[moment.last - 1] + work.model.spec.window_s
        last = round(end_s * spec.sample_rate / spec.hop_length) + 1
        if last - first > _ZOOM_SHARE * subject.n_frames:
            continue
        start_s, end_s = (frame * spec.hop_length / spec.sample_rate for frame in (first, last - 1))
        part = slice(first, last)
        cut = {
            name: samples[first * spec.hop_length : (last - 1) * spec.hop_length] for name, samples in sounds.items()
        }
        title = f"{clock(start_s)} to {clock(end_s)}"
        found.append(
            ShownSegment(
                title=title,
                picture=method.draw_spectrogram(
                    subject,
                    title=f"What mattered for {label}, {title}",
                    values=values,
                    limit=end,
                    part=part,
                    own_rate=work.own_rate,
                ),
                sounds=_players(cut, spec.sample_rate, title),
                sentence="",
                label=label,
                strongest=float(values[part].max(initial=0)),
            )
        )
    return found


def _players(
    sounds: dict[str, Array], rate: int, title: str, answers: Mapping[str, tuple[str, float] | None] | None = None
) -> list[SoundPlayer]:
    """Players of the original, what mattered and the rest, each with its prediction if ``answers`` has them."""
    captions = {"original": "Original", "what-mattered": "What mattered", "the-rest": "The rest"}
    return [
        SoundPlayer(
            captions[name],
            "" if answers is None else _answer(answers[name]),
            make_sound(samples, rate),
            f"{captions[name]}, {title}",
        )
        for name, samples in sounds.items()
    ]


def _answer(answer: tuple[str, float] | None) -> str:
    return "silent" if answer is None else f"{quoted(answer[0])} {decimal(answer[1])}"


def describe_doubt(label: str, answers: Mapping[str, tuple[str, float] | None]) -> str:
    """Return a sentence if the original is predicted as the label and what mattered alone is not; else an empty one."""
    original, alone = answers["original"], answers["what-mattered"]
    if original is None or original[0] != label or (alone is not None and alone[0] == label):
        return ""
    prediction = "silent" if alone is None else f"predicted as {_answer(alone)}"
    return (
        f"The explanation does not hold: what mattered alone is {prediction} and not {quoted(label)}, so the model "
        "needs more than these places."
    )


def describe_places(subject: ExplainInput, values: Array, label: str) -> str:
    """Return a sentence on the places with most of the positive importance, and on the strongest of them.

    ``values`` (n_frames, n_mels) are the map of the ``label``. The strongest place is in the ranges that are named.
    """
    positive = np.maximum(values, 0).astype(np.float64)
    if not positive.any():
        return f"Hiding no place lowered the score of {quoted(label)}: check what the model predicts instead."
    spec = subject.spec
    hz, frame_s = frontend.mel_edges_hz(spec)[1:-1], spec.hop_length / spec.sample_rate
    t, b = np.unravel_index(int(positive.argmax()), positive.shape)
    bands = _runs(positive.sum(axis=0), int(b), spec.n_mels // occlusion.SHARE // 2)
    times = _runs(positive.sum(axis=1), int(t), spec.window_frames // occlusion.SHARE // 2)

    def at(frame: int) -> str:
        return clock(subject.start_s + frame * frame_s)

    in_bands = [f"at {_hertz(hz[i])}" if i == j else f"between {_hertz(hz[i])} and {_hertz(hz[j])}" for i, j in bands]
    at_times = [f"at {at(i)}" if i == j else f"from {at(i)} to {at(j)}" for i, j in times]
    return (
        f"Most of what counts for {quoted(label)} lies {join_names(in_bands)}, {join_names(at_times)}. The strongest "
        f"place is at {at(int(t))} and {_hertz(hz[b])}: without it, the odds of "
        f"{quoted(label)} are {power_of_two(float(positive.max()))} times lower."
    )


def _runs(mass: "np.typing.NDArray[np.float64]", strongest: int, gap: int) -> list[tuple[int, int]]:
    """Return the first and last index of each run of the places with most of the ``mass`` (n,), and the strongest.

    Runs with up to ``gap`` places between them are one. If there are more than `_MOST_RUNS`, all are one.

    >>> _runs(np.array([0.0, 5, 5, 0, 0, 0, 9, 0, 1]), 6, 1)
    [(1, 2), (6, 6)]
    """
    order = np.argsort(-mass, kind="stable")
    n = int(np.searchsorted(np.cumsum(mass[order]), _MAIN_SHARE * mass.sum())) + 1
    places = np.union1d(order[:n], [strongest])
    runs = np.split(places, np.flatnonzero(np.diff(places) > gap + 1) + 1)
    return [(int(run[0]), int(run[-1])) for run in (runs if len(runs) <= _MOST_RUNS else [places])]


def _hertz(hz: float) -> str:
    return f"{round(hz, -1):.0f}{NBSP}Hz" if hz < 1_000 else f"{hz / 1_000:.1f}{NBSP}kHz"


def _csv(subject: ExplainInput, values: Array) -> bytes:
    """Return one row a frame: its time in the recording and the importance of each band, named by its centre."""
    spec = subject.spec
    names = [f"{hz:.1f}_hz" for hz in frontend.mel_edges_hz(spec)[1:-1]]
    times_s = subject.start_s + np.arange(len(values)) * spec.hop_length / spec.sample_rate
    text = io.StringIO()
    text.write(",".join(["time_s", *names]) + "\n")
    np.savetxt(text, np.column_stack([times_s, values]), fmt="%.5g", delimiter=",")
    return text.getvalue().encode()
