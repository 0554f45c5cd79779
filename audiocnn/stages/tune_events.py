"""``tune-events``: choose the thresholds of event detection on soundscapes made of held-out sounds and background."""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn.audio import search
from audiocnn.audio.clips import SavedClip
from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.errors import AudioError, ConfigError, UnusableError, needs_extra
from audiocnn.event_tuning import background, held_out_sounds, soundscapes, threshold_sweep
from audiocnn.event_tuning.background import Background
from audiocnn.event_tuning.held_out_sounds import HeldOutSounds
from audiocnn.event_tuning.result import TuningResult
from audiocnn.event_tuning.soundscapes import PlacedEvent, Soundscape, SoundscapePlan
from audiocnn.event_tuning.threshold_sweep import ThresholdSweep
from audiocnn.files import TEMPORARY, lock, remove_temporaries, write_atomic, write_json
from audiocnn.inference import journal, prediction
from audiocnn.inference.batch import score_files
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import stored_thresholds
from audiocnn.model.decision import OperatingPoint
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.model.open_model import open_model
from audiocnn.progress import Progress
from audiocnn.report.event_tuning import render_event_tuning
from audiocnn.specs import CONFIG_NAME, EventSpec
from audiocnn.text import printable

_HALVES = ("chosen on", "checked on")
_FEWEST_PER_HOUR, _PER_LABEL = 60, 20  # events per hour, by default
_SHORTEST_S = 0.5  # least background that each half needs
_BACKGROUND = 2  # number of the generator that draws background; the halves have 0 and 1


@dataclass(frozen=True)
class TuneEventsOptions:
    """Options of ``tune-events``; None is replaced by what suits the model and its recordings.

    ``hours`` of soundscapes in all, half of them to choose on and half to check on, with ``per_hour`` sounds of
    ``labels`` at ``snr_db`` (lowest, highest) above the background, and at most ``false_alarms`` per hour and label.
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
    """The tuning, the folder of its files, what could not be used, and the model that it was stored in, if any.

    ``store`` tells whether it was to be stored; a point without a label to store is not.
    """

    tuning: TuningResult
    folder: Path
    unusable: Sequence[tuple[str, AudioError]]
    store: bool
    stored_in: Path | None


def run(
    project: Project,
    arguments: Sequence[str],
    *,
    options: TuneEventsOptions,
    model: Path | None,
    store: bool,
    output: Path | None,
    jobs: int,
    progress: Progress,
) -> TuneEventsResult:
    """Tune the project's model, or ``model``, on the background in these files and folders, or on noise.

    Writes ``rehearsal.json``, ``rehearsal.csv`` and ``rehearsal.html`` into ``output``, by default ``rehearsal/`` in
    the run, and with ``store`` the operating point into the model, except for labels that were not found or tried too
    little. Scores of soundscapes are kept, so that another limit of false alarms takes little time.

    Raises `ConfigError` for missing or impossible input, `UnusableError` if no background can be used,
    `MissingExtraError` without scipy, which computes the intervals.
    """
    with needs_extra("train"):  # before hours of work
        import scipy.special  # noqa: F401
    folder = model or project.model()
    if store:
        stored_thresholds.refuse_shipped(folder, "pass --no-store, or copy it")
    kept = project.run / "rehearsal"
    with lock(project.run):
        loaded = open_model(folder)
        files = _audio_files(arguments)
        kept.mkdir(parents=True, exist_ok=True)
        remove_temporaries(kept)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=kept, ignore_cleanup_errors=True) as scratch:
            tuner = _Tuner(project, loaded, options, files, model is None, kept, Path(scratch), jobs, progress)
            tuning, unusable = tuner.tune()
        out = output or kept
        write_json(out / "rehearsal.json", tuning.as_dict())
        write_atomic(out / "rehearsal.csv", tuning.csv())
        write_atomic(out / "rehearsal.html", render_event_tuning(tuning))
        stored = store and _store(loaded, tuning)
    return TuneEventsResult(tuning, out, unusable, store, folder if stored else None)


def forget(project: Project | None, model: Path | None) -> tuple[Path, OperatingPoint | None]:
    """Remove the operating point from ``model``, by default that of ``project``; the bundle becomes what it was before.

    Returns the folder of the model, and the point that it had, if any.
    """
    if model is None and project is None:
        raise ConfigError(f"no {CONFIG_NAME} here: pass --model DIR, or -c FILE")
    folder = model or (project.model() if project is not None else Path())
    stored_thresholds.refuse_shipped(folder, "copy it")
    with contextlib.nullcontext() if project is None else lock(project.run):
        return folder, stored_thresholds.forget(folder)


@dataclass(frozen=True)
class _Tuner:
    """One tuning: sounds and background are collected, mixed to soundscapes, predicted and evaluated.

    ``files`` hold the background; ``own`` tells whether the model is the project's own. Scores are kept in ``kept``,
    audio in ``scratch``.
    """

    project: Project
    model: LoadedModel
    options: TuneEventsOptions
    files: Sequence[Path]
    own: bool
    kept: Path
    scratch: Path
    jobs: int
    progress: Progress

    def tune(self) -> tuple[TuningResult, list[tuple[str, AudioError]]]:
        """Return the result, and what could not be used."""
        options, spec = self.options, EventSpec()
        sounds = self._sounds()
        smoothings_s = threshold_sweep.distinct_smoothings(self.model.spec.hop_s)
        gap_s = max(network.spec.window_s for network in self.model.networks) + max(smoothings_s)
        n_sounds = _n_sounds(options, gap_s, len(sounds.labels))
        place, unusable = self._background(sounds)
        halves: tuple[Sequence[SavedClip], Sequence[SavedClip]] = ((), ())
        if self.files:
            halves = background.split_halves(place.clips)
            shortest = _SHORTEST_S * self.model.widest_spec.sample_rate
            if not all(any(clip.n >= shortest for clip in half) for half in halves):
                raise UnusableError(
                    f"the background is too short to divide into two halves of {_SHORTEST_S:g} s; give more"
                )
        sweeps: list[ThresholdSweep] = []
        for number, half in enumerate(halves):
            plan = SoundscapePlan(1800 * options.hours, n_sounds, options.snr_db, gap_s, (options.seed, number))
            scenes = self._soundscapes(number, half, sounds, plan)
            predicted = self._predicted(scenes, _HALVES[number])
            sweeps.append(threshold_sweep.sweep_thresholds(predicted, sounds.labels, spec, smoothings_s=smoothings_s))
        tuning = TuningResult(
            name=self.model.info.name,
            held_out=sounds.part,
            chosen_on=sweeps[0],
            checked_on=sweeps[1],
            point=threshold_sweep.choose_point(sweeps[0], options.false_alarms),
            limit=options.false_alarms,
            max_gap_s=spec.max_gap_s,
            snr_db=options.snr_db,
            background="recordings" if self.files else "noise",
            background_s=sum(clip.n for clip in place.clips) / self.model.widest_spec.sample_rate,
            seed=options.seed,
            facts=self._facts(sounds, place, n_sounds),
        )
        self._warn_of_known(sounds)
        return tuning, unusable

    def _sounds(self) -> HeldOutSounds:
        return held_out_sounds.collect_sounds(
            self.project,
            self.model,
            own=self.own,
            labels=self.options.labels,
            part=self.options.part,
            seed=self.options.seed,
            folder=self.scratch / "sounds",
            jobs=self.jobs,
            progress=self.progress,
        )

    def _background(self, sounds: HeldOutSounds) -> tuple[Background, list[tuple[str, AudioError]]]:
        """Return the background, and all that could not be used of sounds and background."""
        place = background.collect_background(
            self.files,
            total_s=3600 * self.options.hours,
            folder=self.scratch / "background",
            spec=self.model.widest_spec,
            jobs=self.jobs,
            seed=(self.options.seed, _BACKGROUND),
        )
        unusable = [*sounds.unusable, *((str(self.files[i]), error) for i, error in place.unusable)]
        if self.files and not place.clips:
            reason = held_out_sounds.first_reason(unusable)
            raise UnusableError(f"none of the {len(self.files)} background recordings can be used: {reason}")
        return place, unusable

    def _soundscapes(
        self, number: int, half: Sequence[SavedClip], sounds: HeldOutSounds, plan: SoundscapePlan
    ) -> list[Soundscape]:
        """Write the soundscapes of a half."""
        rate = self.model.widest_spec.sample_rate
        behind = (
            soundscapes.recorded_background(half, plan.seed, rate)
            if self.files
            else soundscapes.noise_background(plan.seed, rate)
        )
        folder = self.scratch / _HALVES[number]
        made = soundscapes.generate_soundscapes(
            sounds.halves[number], behind, plan, folder=folder, spec=self.model.widest_spec
        )
        scenes = []
        title, minutes = f"tune-events: mix ({_HALVES[number]})", round(plan.seconds / 60)
        with self.progress.task(title, total=minutes, unit="minutes") as advance:
            for scene in made:
                scenes.append(scene)
                advance(scene.duration_s / 60)
        return scenes

    def _predicted(
        self, scenes: Sequence[Soundscape], half: str
    ) -> Iterator[tuple[RecordingPrediction, tuple[PlacedEvent, ...]]]:
        """Yield prediction and true events of every soundscape, in order; kept scores are not computed again."""
        files = [scene.file for scene in scenes]
        places: dict[int, int] = {}
        with journal.open_journal(self.kept, journal.scoring_context(self.model.scores_digest)) as notes:
            with self.progress.task(f"tune-events: predict ({half})", total=len(files), unit="soundscapes") as advance:
                known = frozenset(notes.known)
                for index, scored in score_files(files, self.model, jobs=self.jobs, known=known):
                    if scored.recording_status is None:
                        places[index] = notes.find(scored.sha256) or 0
                    elif scored.recording_status.status == "unreadable":
                        raise UnusableError(f"soundscape {files[index].name}: {scored.recording_status.detail}")
                    else:
                        places[index] = notes.add(scored.recording_status, scored.scores)
                    advance()
            for index, scene in enumerate(scenes):
                recording_status, scores = notes.read(places[index])
                yield prediction.make_prediction(self.model, scene.file.name, recording_status, scores), scene.events

    def _warn_of_known(self, sounds: HeldOutSounds) -> None:
        """Warn of background that the network was trained on, or that has one of the labels to detect."""
        project = self.project
        rows = manifest.read(project.manifest, root=project.root, allow_outside=project.experiment.data.allow_outside)
        file = project.run / "split.json"
        division = split.read(file) if file.is_file() else None
        named = {path.resolve() for path in self.files}
        known = [r for r in rows if r.file(project.root).resolve() in named] if named else []
        if trained_on := {r.path for r in known if division is not None and division.part_of(r) == "train"}:
            self.progress.warn(
                f"{len(trained_on)} background recordings are in the training part (such as "
                f"{printable(min(trained_on))}): other background will have more false alarms"
            )
        if labelled := {r.path for r in known if r.label in sounds.labels}:
            self.progress.warn(
                f"{len(labelled)} background recordings have a label to detect (such as {printable(min(labelled))}): "
                "events detected in them count as false alarms"
            )

    def _facts(self, sounds: HeldOutSounds, place: Background, n_sounds: int) -> list[tuple[str, str]]:
        info, (low, high) = self.model.info, self.options.snr_db
        n_recordings = sum(map(len, sounds.halves))
        n_used, n_files = len({clip.file for clip in place.clips}), len(self.files)
        return [
            ("manifest", self.project.manifest.name),
            ("model", f"{info.name}, trained {info.provenance.get('created', 'at an unknown date')}"),
            ("sounds", f"{n_recordings:,} recordings of {sounds.part}, assigned to the halves by group"),
            ("sounds added", f"{n_sounds:,} in each half, up to {soundscapes.MAX_SOUND_S:g} s of each"),
            ("level over background", f"{low:g} to {high:g} dB"),
            ("background", f"{n_used:,} of {n_files:,} recordings" if n_files else "coloured noise at -40 dBFS"),
            ("seed", str(self.options.seed)),
            ("model digest", self.model.scores_digest),
        ]


def _audio_files(arguments: Sequence[str]) -> list[Path]:
    """Return every file that is named, or lies below a folder that is named, once."""
    files: dict[Path, None] = {}
    for argument in arguments:
        files |= dict.fromkeys(search.find_inputs(argument))
    return list(files)


def _n_sounds(options: TuneEventsOptions, gap_s: float, n_labels: int) -> int:
    """Return the number of sounds in each half."""
    most = soundscapes.max_sounds_per_hour(gap_s)
    per_hour = options.per_hour or min(most, max(_FEWEST_PER_HOUR, _PER_LABEL * n_labels))
    if per_hour > most:
        raise ConfigError(
            f"--per-hour {per_hour}: at most {most} fit, of up to {soundscapes.MAX_SOUND_S:g} s and "
            f"{gap_s:.2g} s apart; give fewer"
        )
    n = math.floor(per_hour * options.hours / 2)
    if n < n_labels:
        raise ConfigError(
            f"--hours {options.hours:g} with {per_hour} sounds per hour makes {n} in each half, fewer than one per "
            f"label ({n_labels}); give more hours, or choose labels with --label"
        )
    return n


def _store(loaded: LoadedModel, tuning: TuningResult) -> bool:
    """Store the operating point in the model; return False if no label has a threshold to store."""
    point = tuning.operating_point(loaded.scores_digest)
    if point is None:
        return False
    stored_thresholds.store(loaded.folder, point)
    return True
