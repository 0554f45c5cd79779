"""The training recordings whose embeddings are nearest, as pictures and sounds.

`explain_by_nearest` returns the section, `compare` its numbers, `conclusions` their meaning in sentences.
"""

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import encode
from audiocnn.dataset import missing_files
from audiocnn.dataset.manifest import Recording
from audiocnn.draw import spectrogram
from audiocnn.errors import ConfigError, IntegrityError, NotReadyError
from audiocnn.explain import model_occlusion, nearest
from audiocnn.files import sha256_of
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.report import page
from audiocnn.report.evaluation import clips
from audiocnn.report.evaluation.clips import Media, make_media
from audiocnn.report.evaluation.page_data import name_recording
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Section
from audiocnn.text import decode_path
from audiocnn.training import train_embeddings
from audiocnn.training.train_embeddings import TrainingEmbeddings
from audiocnn.wording import join_names, percent, quoted

N_NEAREST = 5
N_OTHERS = 3  # nearest recordings of labels that are not among them
_SHOWN_S = 10.0  # of a recording, less of one that is played slower
_FEW = 0.05  # share of training recordings below which a similarity counts as unusually low


@dataclass(frozen=True)
class Neighbour:
    """A training recording, its similarity (-1 to 1), and its rank, from 1."""

    recording: Recording
    similarity: float
    rank: int

    @property
    def called(self) -> str:
        return name_recording(self.recording.path, self.recording.stretch)

    @property
    def similarity_text(self) -> str:
        """The similarity as text."""
        return format_similarity(self.similarity)


@dataclass(frozen=True)
class Comparison:
    """A recording compared with ``n_learned`` training recordings.

    ``nearest`` are the `N_NEAREST` most similar ones, ``others`` the most similar ones of labels that are not among
    these. ``same`` are training recordings of the very same file; they are in neither. ``usual`` (n,) is the
    similarity of each training recording to the nearest one of another group; it is empty if there is one group only.
    """

    nearest: Sequence[Neighbour]
    others: Sequence[Neighbour]
    same: Sequence[Recording]
    usual: NDArray[np.float64]
    n_learned: int


def explain_by_nearest(work: ExplainTask) -> MethodResult:
    """Return the section, which reports if there is nothing to compare with."""
    try:
        if work.project is None:
            raise NotReadyError("the model came without the project in which it was trained")
        known = train_embeddings.read(work.project, work.model, progress=work.progress)
        missing_files.warn(work.project, known.recordings, work.progress)
    except (ConfigError, IntegrityError) as error:
        work.progress.warn(f"nothing to compare with: {error}")
        return _finding({"absent": str(error)}, {"absent": str(error)})
    prediction = work.prediction
    file = Path(decode_path(prediction.recording))
    asked = {prediction.label, *map(work.label_of, work.inputs)}
    found = compare(prediction, known, sha256=prediction.recording_status.sha256 or sha256_of(file), asked=asked)
    media = _media([one.recording for one in (*found.nearest, *found.others)], work.project.root, "learned", work)
    n = len(found.nearest)
    content = {
        "absent": "",
        "members": list(work.model.members),
        "prediction": prediction,
        "conclusions": conclusions(prediction, found),
        "n_learned": found.n_learned,
        "itself": _media([_as_recording(prediction)], Path(), "explained", work)[0],
        "nearest": list(zip(found.nearest, media[:n], strict=True)),
        "others": list(zip(found.others, media[n:], strict=True)),
        "shown_s": _shown_s(work),
    }
    return _finding(content, facts(found))


def compare(
    prediction: RecordingPrediction, known: TrainingEmbeddings, *, sha256: str, asked: Collection[str]
) -> Comparison:
    """Compare a recording, whose file has this SHA-256, with all training recordings.

    The nearest recording of each label in ``asked`` is included, however far.
    """
    same = [content == sha256 for content in known.contents]
    rows = np.flatnonzero(np.logical_not(same))
    usual = nearest.among(known.embeddings, known.groups)
    found = nearest.find(prediction.embedding, known.embeddings[rows])
    order = [
        Neighbour(known.recordings[rows[i]], float(similarity), rank)
        for rank, (i, similarity) in enumerate(zip(found.order, found.similarity, strict=True), start=1)
    ]
    return Comparison(
        nearest=order[:N_NEAREST],
        others=_others(order, asked, usual),
        same=[r for r, it in zip(known.recordings, same, strict=True) if it],
        usual=usual,
        n_learned=len(known.recordings),
    )


def _others(order: Sequence[Neighbour], asked: Collection[str], usual: NDArray[np.float64]) -> list[Neighbour]:
    """The nearest of each label not among the first, if it is as near as usual or the label is in ``asked``."""
    among = {one.recording.label for one in order[:N_NEAREST]}
    first_of: dict[str, Neighbour] = {}
    for one in order[N_NEAREST:]:
        if one.recording.label not in among:
            first_of.setdefault(one.recording.label, one)
    close = float(np.median(usual)) if len(usual) else np.inf
    kept = [one for label, one in first_of.items() if label in asked or one.similarity >= close]
    first_asked = sorted(kept, key=lambda one: one.recording.label not in asked)
    return sorted(first_asked[:N_OTHERS], key=lambda one: one.rank)


def conclusions(prediction: RecordingPrediction, found: Comparison) -> list[str]:
    """Return conclusions on the same file, on the labels of the nearest and on how near they are."""
    sentences = []
    if found.same:
        labels = join_names(sorted({quoted(r.label) for r in found.same}))
        sentences.append(
            f"The network was trained on this very file, as {labels}. So this prediction shows what it remembers, not "
            "how it generalises. The file itself is left out below."
        )
    if not found.nearest:
        return [*sentences, "There are no other training recordings."]
    sentences.append(_of_labels(prediction.label, [one.recording.label for one in found.nearest]))
    if len(found.usual):
        sentences.append(_of_distance(found.nearest[0].similarity, found.usual, learned=bool(found.same)))
    if prediction.doubt == "unfamiliar":
        sentences.append("The model reports it as unknown, because it is unlike the training recordings.")
    return sentences


def _of_labels(predicted: str, labels: Sequence[str]) -> str:
    n, alike = len(labels), list(labels).count(predicted)
    if alike == n:
        return f"{f'All {n} nearest are' if n > 1 else 'The nearest is'} {quoted(predicted)}, as predicted."
    others = Counter(label for label in labels if label != predicted).most_common()
    rest = join_names([f"{k} {quoted(label)}" for label, k in others])
    if 2 * alike > n:
        return f"{alike} of the {n} nearest are {quoted(predicted)}, as predicted; the rest: {rest}."
    if alike:
        return (
            f"Only {alike} of the {n} nearest {'is' if alike == 1 else 'are'} {quoted(predicted)}, as predicted; the "
            f"rest: {rest}. It lies between labels: check the prediction by listening."
        )
    return (
        f"None of the {n} nearest is {quoted(predicted)}, which the model predicts; they are {rest}. Few training "
        "recordings support the prediction: check it by listening."
    )


def _of_distance(similarity: float, usual: NDArray[np.float64], *, learned: bool) -> str:
    """Compare the similarity of the nearest with what is usual; ``learned``: the recording itself was trained on."""
    median, share = float(np.median(usual)), float(np.mean(usual <= similarity))
    comparison = (
        f"The nearest has a similarity of {format_similarity(similarity)}. A training recording has a similarity of "
        f"{format_similarity(median)} (median) to the nearest one of another group, and for {percent(share)} of the "
        f"training recordings that similarity is at most {format_similarity(similarity)}."
    )
    if share < _FEW:
        alone = "It is unlike the other training recordings."
        so = alone if learned else "No training recording is really similar: treat the label with care."
    elif similarity < median:
        so = "" if learned else "That is usual for a recording that the network was not trained on."
    else:
        so = "So it is as near as training recordings are to each other."
    return f"{comparison} {so}".rstrip()


def format_similarity(similarity: float) -> str:
    """Return a similarity with three decimals, as most are near 1; "1.000" is for exactly 1 only.

    >>> format_similarity(0.98765), format_similarity(0.99996), format_similarity(1.0), format_similarity(-0.5)
    ('0.988', '0.999', '1.000', '−0.500')
    """
    nearly = min(round(similarity, 3), 0.999) if similarity < 1 - 1e-6 else 1.0
    return f"{nearly:.3f}".replace("-", "\N{MINUS SIGN}")


def facts(found: Comparison) -> dict[str, Any]:
    """Return the numbers of the section for ``explanation.json``."""

    def row(one: Neighbour) -> dict[str, Any]:
        r = one.recording
        kept = {"recording": r.path, "label": r.label, "group": r.group, "similarity": round(one.similarity, 6)}
        return {**kept, "rank": one.rank, **({} if r.stretch is None else {"start_s": r.start_s, "end_s": r.end_s})}

    return {
        "n_learned": found.n_learned,
        "learned_from_itself": bool(found.same),
        "nearest": [row(one) for one in found.nearest],
        "nearest_of_other_labels": [row(one) for one in found.others],
        "usual_similarity": round(float(np.median(found.usual)), 6) if len(found.usual) else None,
    }


def _as_recording(prediction: RecordingPrediction) -> Recording:
    return Recording(prediction.recording, prediction.label, prediction.recording)


def _shown_s(work: ExplainTask) -> float:
    return _SHOWN_S / encode.slowdown(model_occlusion.map_kind(work.model)[0].sample_rate)


def _media(recordings: Sequence[Recording], root: Path, name: str, work: ExplainTask) -> list[Media | None]:
    """Draw and encode the start of each recording; None if the file cannot be read any more."""
    view = spectrogram.drawing_spec(model_occlusion.map_kind(work.model)[0])
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as folder:
        excerpts = clips.save_excerpts(
            recordings, root, view, folder=Path(folder), jobs=work.jobs, longest_s=_shown_s(work)
        )
        return [
            None
            if clip is None
            else make_media(f"{name}-{i}", name_recording(r.path, r.stretch), clip[:], view, own_rate=clip.own_rate)
            for i, (r, clip) in enumerate(zip(recordings, excerpts, strict=True))
        ]


def _finding(content: Mapping[str, Any], found: Mapping[str, Any]) -> MethodResult:
    body = page.render_markup("sections/nearest.html.j2", **content)
    return MethodResult(Section("nearest", "Nearest training recordings", body), facts=found)
