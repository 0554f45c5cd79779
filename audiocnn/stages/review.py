"""``review``: draw stretches of an archive, keep the answers of a person about them, and estimate from these."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn.audio import search
from audiocnn.audio.start_time import StartTime
from audiocnn.config import Project
from audiocnn.dataset import manifest, positive_label, reserved
from audiocnn.errors import ConfigError, IntegrityError, NotReadyError
from audiocnn.files import digest_of, sha256_of, size_and_mtime, write_atomic, write_json
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import stored_thresholds
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.progress import Progress
from audiocnn.review import answers, clips, sampling, units
from audiocnn.review import result as review_result
from audiocnn.review.answers import AnswerFile
from audiocnn.review.draw import Archive, Draw, choose_strata, draw_units, find_groups
from audiocnn.review.page import render_review
from audiocnn.review.result import ReviewResult
from audiocnn.review.units import Strata
from audiocnn.text import printable

DRAW, RESULT, PAGE = "draw.json", "review.json", "review.html"
N_CLIPS = 200


@dataclass(frozen=True)
class DrawOptions:
    """What to draw: ``n_clips`` of ``labels`` (by default all), groups by a regular expression, the seed."""

    n_clips: int = N_CLIPS
    labels: tuple[str, ...] = ()
    group_by: str | None = None
    seed: int = 0


def has_draw(folder: Path) -> bool:
    """Return whether a review has begun in ``folder``."""
    return (folder / DRAW).is_file()


def plan(model: LoadedModel, options: DrawOptions) -> Strata:
    """Return the strata to draw from; call it before the long work.

    Raises `ConfigError` for labels that the model does not have, too few clips for them, or an invalid expression.
    """
    thresholds = dict(model.operating.thresholds) if model.operating is not None else {}
    find_groups([], options.group_by)
    return choose_strata(
        model.labels, positive_label.find_rest(model.labels), thresholds, options.labels, options.n_clips
    )


def draw(
    folder: Path,
    model: LoadedModel,
    files: Sequence[Path],
    predictions: Sequence[RecordingPrediction],
    strata: Strata,
    *,
    start_of: Callable[[Path], StartTime],
    own: frozenset[str],
    options: DrawOptions,
    progress: Progress,
) -> Draw:
    """Draw the units to review and write ``draw.json`` and ``reserved.csv`` into ``folder``.

    ``own`` are the SHA-256 of the project's recordings: a group with one of them is not reserved. Hold the lock of
    the folder.
    """
    groups, grouped_by = find_groups(files, options.group_by)
    length_s = units.unit_s(max(network.spec.window_s for network in model.networks))
    digests = [prediction.recording_status.sha256 for prediction in predictions]
    known = {group for group, digest in zip(groups, digests, strict=True) if digest in own}
    hidden = sampling.reserved_groups(groups, options.seed, known)
    archive = Archive(files, predictions, groups, start_of, hidden)
    with progress.step("draw the clips"):
        drawn, n_units, hours = draw_units(
            archive, strata, length_s=length_s, n_clips=options.n_clips, seed=options.seed
        )
    found = Draw(
        model=model.scores_digest,
        model_name=model.info.name,
        labels=tuple(model.labels),
        positive=model.labels.positive,
        edges={label: tuple(edges) for label, edges in strata.edges.items()},
        strata=strata.all,
        unit_s=length_s,
        n_units=n_units,
        hours=hours,
        n_recordings=len(files),
        n_groups=len(set(groups)),
        grouped_by=grouped_by,
        recordings=recordings_digest(files),
        seed=options.seed,
        units=tuple(drawn),
        reserved={digest: group for group, digest in zip(groups, digests, strict=True) if group in hidden and digest},
    )
    reserved.write(folder, found.reserved)
    write_json(folder / DRAW, found.as_dict())
    return found


def read_draw(folder: Path, model: LoadedModel, files: Sequence[Path]) -> Draw:
    """Return the draw in ``folder``.

    Raises `NotReadyError` if there is none, `ConfigError` if it was made with another model or, where ``files`` are
    given, from other recordings, and `IntegrityError` if it is damaged.
    """
    path = folder / DRAW
    if not path.is_file():
        raise NotReadyError(f"{folder}: no review has begun here; name the recordings: audiocnn review AUDIO")
    try:
        found = Draw.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path}: damaged or of another version ({error}); restore it from a copy") from error
    if found.model != model.scores_digest:
        raise ConfigError(
            f"{path}: was drawn with another model ({printable(found.model_name)}, {found.model[:12]}) than this one "
            f"({model.scores_digest[:12]}); pass -o DIR for a new review, or --model with the old one"
        )
    if files and found.recordings != recordings_digest(files):
        raise ConfigError(
            f"{path}: was drawn from {found.n_recordings:,} other recordings; name the same ones or none to resume, or "
            "pass -o DIR for a new review"
        )
    return found


def own_digests(project: Project, files: Sequence[Path]) -> frozenset[str]:
    """Return the SHA-256 of the recordings of a project that have the size of one of ``files``."""
    sizes = {found[0] for file in files if (found := size_and_mtime(file))}
    allow_outside = project.experiment.data.allow_outside
    rows = manifest.read(project.manifest, root=project.root, allow_outside=allow_outside)
    own = {row.file(project.root) for row in rows}
    return frozenset(sha256_of(file) for file in own if (found := size_and_mtime(file)) and found[0] in sizes)


def recordings_digest(files: Sequence[Path]) -> str:
    """Return a digest of the paths of recordings."""
    return digest_of(sorted({os.fsencode(file.resolve()).hex() for file in files}))


def find_files(arguments: Sequence[str]) -> list[Path]:
    """Return every file that is named, or lies below a folder that is named."""
    return [file for argument in arguments for file in search.find_inputs(argument)]


def cut_clips(folder: Path, drawn: Draw, model: LoadedModel, *, jobs: int, progress: Progress) -> list[str]:
    """Cut the clips that are missing; return a line for each recording that has changed or is gone since the draw."""
    return clips.cut(folder, drawn, model.widest_spec, jobs=jobs, progress=progress)


def take_answers(folder: Path, drawn: Draw, file: Path, reviewer: str) -> int:
    """Keep the answers of a table in ``review.csv``; return the number of those that are new or changed.

    Raises `ConfigError` before anything is kept if a line is invalid.
    """
    kept = AnswerFile(folder, drawn)
    new = {clip: one for clip, one in answers.read_answers(file, drawn).items() if kept.answers.get(clip) != one}
    for clip, answer in new.items():
        kept.add(clip, answer, reviewer)
    return len(new)


def write_clips(folder: Path, drawn: Draw, model: LoadedModel, out: Path) -> int:
    """Write the drawn units as WAV files, and a table to fill in, into ``out``; return the number of clips."""
    n = clips.export(folder, drawn, out, model.widest_spec)
    write_atomic(out / answers.FILE_NAME, answers.table(drawn))
    return n


def serve(
    folder: Path,
    drawn: Draw,
    model: LoadedModel,
    *,
    port: int | None,
    blind: bool,
    reviewer: str,
    ready: Callable[[str], None],
) -> None:
    """Serve the page of a review until it is finished; raise `ConfigError` if the port is in use."""
    from audiocnn.review import server  # needs an extra

    with server.listen(port) as listening:
        kept = AnswerFile(folder, drawn)
        server.ReviewServer(folder, kept, model.widest_spec, blind=blind, reviewer=reviewer).run(listening, ready)


def write_result(folder: Path, drawn: Draw, *, wanted_precision: float) -> ReviewResult:
    """Estimate from the answers so far, and write ``review.json`` and ``review.html``."""
    found = review_result.estimate(drawn, AnswerFile(folder, drawn).answers, wanted_precision=wanted_precision)
    write_json(folder / RESULT, found.as_dict())
    write_atomic(folder / PAGE, render_review(found))
    return found


def apply(found: ReviewResult, model: LoadedModel) -> dict[str, float]:
    """Store the thresholds in the model and return them; raise `ConfigError` if there is none to store."""
    stored_thresholds.refuse_shipped(model.folder, "copy it")
    point = found.operating_point()
    if point is None:
        raise ConfigError(
            f"no threshold to store: no label has a precision of at least {found.wanted_precision:g} with 95 % "
            "confidence from some score on; review more clips, or pass a lower --precision"
        )
    stored_thresholds.store(model.folder, point)
    return dict(point.thresholds)
