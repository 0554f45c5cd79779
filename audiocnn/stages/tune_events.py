"""``rehearse``: held-out sounds spliced into hours of background, to choose when windows are an event."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import audiocnn
from audiocnn.audio import sniff
from audiocnn.audio.clips import SavedClip
from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.errors import AudioError, ConfigError, UnusableError, needs_extra
from audiocnn.event_tuning import background, held_out_sounds, soundscapes, threshold_sweep
from audiocnn.event_tuning.background import Background
from audiocnn.event_tuning.held_out_sounds import HeldOutSounds
from audiocnn.event_tuning.result import TuningResult
from audiocnn.event_tuning.soundscapes import Soundscape, SoundscapePlan
from audiocnn.files import TEMPORARY, lock, remove_temporaries, write_atomic, write_json
from audiocnn.inference import journal, prediction
from audiocnn.inference.batch import score_files
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import bundle, card
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.report.event_tuning import render_event_tuning
from audiocnn.specs import EventSpec
from audiocnn.text import printable

_HALVES = ("chosen on", "checked on")
_FEWEST_PER_HOUR, _PER_LABEL = 60, 20  # events an hour, unless it is said
_SHORTEST_S = 0.5  # of the background that a half needs
_BACKGROUND = 2  # what a generator is for, besides the halves


@dataclass(frozen=True)
class TuneEventsOptions:
    """What is asked for; None is for what follows from the model and its recordings.

    ``hours`` of scenes, half of them to choose on and half to check on, with ``per_hour`` sounds of ``labels`` in them,
    ``snr_db`` (lowest, highest) above the background, and at most ``false_alarms`` an hour of each label.
    """

    hours: float = 2.0
    per_hour: int | None = None
    snr_db: tuple[float, float] = (0.0, 20.0)
    false_alarms: float = 1.0
    labels: tuple[str, ...] = ()
    part: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class TuneEventsResult:
    """What was found, where it is, what could not be used, and where it was stored, if it was."""

    rehearsal: TuningResult
    folder: Path
    unusable: Sequence[tuple[str, AudioError]]
    stored_in: Path | None


def run(
    project: Project,
    arguments: Sequence[str],
    *,
    wanted: TuneEventsOptions,
    model: Path | None,
    store: bool,
    output: Path | None,
    jobs: int,
    progress: Progress,
) -> TuneEventsResult:
    """Rehearse the project's model, or ``model``, in the background of these recordings and folders, or in noise.

    Writes ``rehearsal.json``, ``rehearsal.csv`` and ``rehearsal.html`` into ``output``, by default ``rehearsal/`` in
    the run, and the chosen point into the model if it is to ``store`` it. What the network said of scenes is kept, so
    that another limit takes little time.

    Raises `ConfigError` for what is not there or cannot be, `UnusableError` if no background can be used,
    `MissingExtraError` without scipy, which computes the intervals.
    """
    with needs_extra("train"):  # now, not after hours of work
        import scipy.special  # noqa: F401
    folder = model or project.model()
    if store and Path(audiocnn.__file__).resolve().parent in folder.resolve().parents:
        raise ConfigError(f"{folder}: the model that comes with audiocnn stays as it is; say --no-store, or copy it")
    kept = project.run / "rehearsal"
    with lock(project.run):
        judge = bundle.load(folder)
        files = _named(arguments)
        kept.mkdir(parents=True, exist_ok=True)
        remove_temporaries(kept)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=kept, ignore_cleanup_errors=True) as scratch:
            found, unusable = _rehearsed(
                project, judge, files, wanted, model is None, kept, Path(scratch), jobs, progress
            )
        out = output or kept
        write_json(out / "rehearsal.json", found.figures())
        write_atomic(out / "rehearsal.csv", found.csv())
        write_atomic(out / "rehearsal.html", render_event_tuning(found))
        if store:
            _store(judge, found)
    return TuneEventsResult(found, out, unusable, folder if store else None)


def _rehearsed(
    project: Project,
    judge: Bundle,
    files: Sequence[Path],
    wanted: TuneEventsOptions,
    own: bool,
    kept: Path,
    scratch: Path,
    jobs: int,
    progress: Progress,
) -> tuple[TuningResult, list[tuple[str, AudioError]]]:
    sounds = held_out_sounds.collect(
        project,
        judge,
        own=own,
        labels=wanted.labels,
        part=wanted.part,
        seed=wanted.seed,
        folder=scratch / "sounds",
        jobs=jobs,
        progress=progress,
    )
    smoothings_s = threshold_sweep.smoothings(judge.spec.hop_s)
    gap_s = judge.spec.window_s + max(smoothings_s)
    n_sounds = _n_sounds(wanted, gap_s, len(sounds.labels))
    place = background.collect(
        files,
        wanted_s=3600 * wanted.hours,
        folder=scratch / "background",
        spec=judge.spec,
        jobs=jobs,
        seed=(wanted.seed, _BACKGROUND),
    )
    unusable = [*sounds.unusable, *((str(files[i]), error) for i, error in place.unusable)]
    if files and not place.kept:
        raise UnusableError(
            f"none of the {len(files)} background recordings can be used: {held_out_sounds.first(unusable)}"
        )
    of_halves: tuple[Sequence[SavedClip], Sequence[SavedClip]] = background.halves(place.kept) if files else ((), ())
    if files and not all(any(clip.n >= _SHORTEST_S * judge.spec.sample_rate for clip in half) for half in of_halves):
        raise UnusableError(f"the background is too short to be dealt to two halves of {_SHORTEST_S:g} s; give more")
    spec = EventSpec()
    swept = []
    for number, half in enumerate(_HALVES):
        seed = (wanted.seed, number)
        rate = judge.spec.sample_rate
        behind = soundscapes.recorded(of_halves[number], seed, rate) if files else soundscapes.noise(seed, rate)
        plan = SoundscapePlan(1800 * wanted.hours, n_sounds, wanted.snr_db, gap_s, seed)
        made = soundscapes.generate(sounds.halves[number], behind, plan, folder=scratch / half, spec=judge.spec)
        scenes = _spliced(made, plan, half, progress)
        heard = _heard(scenes, judge, kept, jobs, half, progress)
        swept.append(threshold_sweep.sweep(heard, sounds.labels, spec, smoothings_s=smoothings_s))
    point = threshold_sweep.choose(swept[0], wanted.false_alarms)
    found = TuningResult(
        name=judge.info.name,
        held_out=sounds.part,
        chosen_on=swept[0],
        checked_on=swept[1],
        point=point,
        wanted=wanted.false_alarms,
        max_gap_s=spec.max_gap_s,
        snr_db=wanted.snr_db,
        background="recordings" if files else "noise",
        background_s=sum(clip.n for clip in place.kept) / judge.spec.sample_rate,
        seed=wanted.seed,
        facts=_facts(project, judge, sounds, files, place, wanted, n_sounds),
    )
    _warn_of_known(project, judge, files, sounds, progress)
    return found, unusable


def _named(arguments: Sequence[str]) -> list[Path]:
    """Every file that is named or lies below a folder that is, once."""
    files: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument)
        below = list(sniff.find_audio(path)) if path.is_dir() else [path]
        if not below:
            raise ConfigError(f"{printable(argument)}: no audio in this folder (WAV, FLAC, OGG, MP3, AIFF)")
        files |= dict.fromkeys(below)
    return list(files)


def _n_sounds(wanted: TuneEventsOptions, gap_s: float, n_labels: int) -> int:
    """How many sounds each half gets."""
    most = soundscapes.most_per_hour(gap_s)
    per_hour = wanted.per_hour or min(most, max(_FEWEST_PER_HOUR, _PER_LABEL * n_labels))
    if per_hour > most:
        raise ConfigError(
            f"--per-hour {per_hour}: there is room for {most}, of up to {soundscapes.LONGEST_S:g} s and "
            f"{gap_s:.2g} s apart"
        )
    n = math.floor(per_hour * wanted.hours / 2)
    if n < n_labels:
        raise ConfigError(
            f"--hours {wanted.hours:g} with {per_hour} sounds an hour makes {n} in each half, and one of each label "
            f"({n_labels}) is needed; give more hours, or choose labels with --label"
        )
    return n


def _spliced(made: Iterator[Soundscape], plan: SoundscapePlan, half: str, progress: Progress) -> list[Soundscape]:
    scenes = []
    minutes = round(plan.seconds / 60)
    with progress.task(f"rehearse: splice ({half})", total=minutes, unit="minutes") as advance:
        for scene in made:
            scenes.append(scene)
            advance(scene.duration_s / 60)
    return scenes


def _heard(
    scenes: Sequence[Soundscape], judge: Bundle, folder: Path, jobs: int, half: str, progress: Progress
) -> Iterator[tuple[RecordingPrediction, tuple[soundscapes.PlacedEvent, ...]]]:
    """Yield what is predicted of every scene, in their order, and what is in it; scenes heard before are known."""
    files = [scene.file for scene in scenes]
    places: dict[int, int] = {}
    with journal.opened(folder, journal.context_of(judge.scores_digest)) as notes:
        with progress.task(f"rehearse: predict ({half})", total=len(files), unit="scenes") as advance:
            for index, heard in score_files(files, judge, jobs=jobs, known=frozenset(notes.known)):
                if heard.account is not None:
                    if heard.account.status == "unreadable":
                        raise UnusableError(f"{files[index].name} of the scenes: {heard.account.detail}")
                    places[index] = notes.add(heard.account, heard.scores)
                else:
                    places[index] = notes.place(heard.sha256) or 0
                advance()
        for index, scene in enumerate(scenes):
            account, found = notes.read(places[index])
            yield prediction.prediction_of(judge, scene.file.name, account, found), scene.events


def _warn_of_known(
    project: Project, judge: Bundle, files: Sequence[Path], sounds: HeldOutSounds, progress: Progress
) -> None:
    """Warn of background that the network has learned from, or that holds what is looked for by its own label."""
    allow_outside = project.experiment.data.allow_outside
    rows = manifest.read(project.manifest, root=project.root, allow_outside=allow_outside)
    file = project.run / "split.json"
    division = split.read(file).part if file.is_file() else {}
    named = {path.resolve() for path in files}
    known = [r for r in rows if r.file(project.root).resolve() in named] if named else []
    if learned := {r.path for r in known if division.get(r.path) == "train"}:
        progress.warn(
            f"{len(learned)} background recordings are ones that the network learned from (such as "
            f"{printable(min(learned))}): other background will have more false alarms"
        )
    if own := {r.path for r in known if r.label in sounds.labels}:
        progress.warn(
            f"{len(own)} background recordings are labelled as what is looked for (such as {printable(min(own))}): "
            "what is found in them counts as false alarms"
        )


def _facts(
    project: Project,
    judge: Bundle,
    sounds: HeldOutSounds,
    files: Sequence[Path],
    place: Background,
    wanted: TuneEventsOptions,
    n_sounds: int,
) -> list[tuple[str, str]]:
    n_recordings = sum(map(len, sounds.halves))
    used = len({clip.file for clip in place.kept})
    return [
        ("manifest", project.manifest.name),
        ("model", f"{judge.info.name}, trained {judge.info.provenance.get('created', 'at an unknown date')}"),
        ("sounds", f"{n_recordings:,} recordings of {sounds.part}, dealt to the halves by group"),
        ("sounds spliced in", f"{n_sounds:,} in each half, up to {soundscapes.LONGEST_S:g} s of each"),
        ("level over background", f"{wanted.snr_db[0]:g} to {wanted.snr_db[1]:g} dB"),
        ("background", f"{used:,} of {len(files):,} recordings" if files else "coloured noise at -40 dBFS"),
        ("seed", str(wanted.seed)),
        ("model digest", judge.scores_digest),
    ]


def _store(judge: Bundle, found: TuningResult) -> None:
    point = found.stored(judge.scores_digest)
    text = bundle.read(judge.folder)[2]["MODEL_CARD.md"].decode("utf-8")
    bundle.update(
        judge.folder, {"operating": point.model_dump(mode="json")}, card=card.add_operating_point(text, point)
    )
