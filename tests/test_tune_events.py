"""Event tuning: soundscapes of known content, what each setting detects in them, the choice, and its use."""

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from projects import audiocnn
from pydantic import ValidationError

from audiocnn import config
from audiocnn.audio import encode
from audiocnn.audio.clips import SavedClip
from audiocnn.dataset.split import Split
from audiocnn.errors import ConfigError, NotReadyError, UnusableError
from audiocnn.event_tuning import background, soundscapes, threshold_sweep
from audiocnn.event_tuning import result as event_tuning_result
from audiocnn.event_tuning.result import TuningResult
from audiocnn.event_tuning.soundscapes import PlacedEvent, Soundscape, SoundscapePlan, TargetSound
from audiocnn.event_tuning.threshold_sweep import ThresholdSweep
from audiocnn.features import frontend
from audiocnn.features.analyze import RecordingStatus, analyze
from audiocnn.inference import events, scoring
from audiocnn.inference.prediction import RecordingPrediction, empty_prediction
from audiocnn.labels import Labels
from audiocnn.model import bundle, card
from audiocnn.model.bundle import BundleInfo
from audiocnn.model.decision import Decision, MeasuredLabel, OperatingPoint
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Progress
from audiocnn.report.event_tuning import render_event_tuning
from audiocnn.specs import EventSpec, FeatureSpec
from audiocnn.stages import tune_events
from audiocnn.stages.tune_events import TuneEventsOptions, TuneEventsResult
from audiocnn.wording import NBSP

RATE = 8_000
SPEC = FeatureSpec(
    kind="logmel",
    sample_rate=RATE,
    n_fft=256,
    hop_length=80,
    n_mels=16,
    channels=("static",),
    window_frames=26,
    hop_frames=13,
    axes="bins_frames",
)
TONE_HZ = 1_000
POINT = {
    "thresholds": {"owl": 0.9},
    "smooth_s": 1.0,
    "min_duration_s": 0.5,
    "max_gap_s": 0.1,
    "wanted_false_alarms": 1.0,
    "hours": 1.0,
    "background": "noise",
    "snr_db": (0.0, 10.0),
    "seed": 0,
    "measured": {},
    "model": "0" * 64,
}


class ToneDetector:
    """A stand-in for a bundle: the score of "tone" grows with the level of the band of 1 kHz above the others."""

    def __init__(self) -> None:
        self.spec, self.labels, self.frontend = SPEC, Labels(("nothing", "tone"), positive="tone"), frontend.make(SPEC)
        self.temperature = 1.0
        self.decision: Decision | None = None
        self.domain = None
        self._band = int(np.argmax(self.frontend.mel[round(TONE_HZ * SPEC.n_fft / RATE)]))

    def runtime(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        by_band = X[..., 0].mean(axis=2)
        stands_out_db = by_band[:, self._band] - np.median(by_band, axis=1)
        return ((stands_out_db - 10) / 2)[:, None].astype(np.float32), np.ones((len(X), 2), np.float32)

    def predict(self, file: Path) -> RecordingPrediction:
        frames: list[np.ndarray] = []
        recording_status = analyze(file, spec=SPEC, frontend=self.frontend, keep=frames.append)
        return scoring.predict_frames(self, file.name, recording_status, np.concatenate(frames))


def clip_of(samples: np.ndarray, file: Path) -> SavedClip:
    samples.astype("<f4").tofile(file)
    return SavedClip(file, 0, len(samples))


def tones(folder: Path, n: int = 4, seconds: float = 1.0) -> list[TargetSound]:
    folder.mkdir(exist_ok=True, parents=True)
    return [
        TargetSound("tone", f"{i}.wav", f"g{i}", clip_of(sounds.tone(TONE_HZ, seconds, RATE), folder / f"{i}.f32"))
        for i in range(n)
    ]


def make_soundscapes(folder: Path, behind: Iterator[np.ndarray], **changes: object) -> list[Soundscape]:
    chosen = {"seconds": 90.0, "n_sounds": 9, "snr_db": (10.0, 20.0), "gap_s": 2.0, "seed": (0, 0)} | changes
    return list(
        soundscapes.generate_soundscapes(
            tones(folder), behind, SoundscapePlan(**chosen), folder=folder / "scenes", spec=SPEC
        )
    )


def prediction_with(
    scores: Sequence[Sequence[float]], labels: tuple[str, ...], hop_s: float = 0.5
) -> RecordingPrediction:
    values = np.asarray(scores, float)
    starts = np.arange(len(values)) * hop_s
    recording_status = RecordingStatus("ok", duration_s=float(starts[-1]) + 2 * hop_s, sample_rate=RATE)
    return RecordingPrediction(
        "a.wav", recording_status, Labels(tuple(labels)), values.mean(axis=0), starts, starts + 2 * hop_s, values
    )


def placed(label: str, start_s: float, end_s: float, snr_db: float = 0.0, group: str = "g") -> PlacedEvent:
    return PlacedEvent(label, start_s, end_s, snr_db, "r.wav", group)


# ------------------------------------------------------------------------------------------------------- soundscapes


def test_a_sound_has_its_level_above_the_background(tmp_path: Path) -> None:
    for scene in make_soundscapes(tmp_path, soundscapes.noise_background((1,), RATE), snr_db=(20.0, 30.0)):
        samples, rate = soundfile.read(scene.file)
        assert rate == RATE and len(samples) == round(scene.duration_s * RATE) and len(scene.events) == 9
        for event in scene.events:
            first, last = round(event.start_s * RATE), round(event.end_s * RATE)
            behind = np.mean(np.square([samples[first - RATE : first], samples[last : last + RATE]]))
            here = np.mean(np.square(samples[first:last]))
            assert 10 * np.log10(here / behind) == pytest.approx(event.snr_db, abs=1.5)
            assert 20 <= event.snr_db <= 30


def test_sounds_have_the_gap_to_each_other_and_to_both_ends(tmp_path: Path) -> None:
    (scene,) = make_soundscapes(tmp_path, soundscapes.noise_background((1,), RATE))
    edges = [(0.0, 0.0), *((event.start_s, event.end_s) for event in scene.events), (90.0, 90.0)]
    assert min(after[0] - before[1] for before, after in pairwise(edges)) >= 2.0
    assert len({event.recording for event in scene.events}) == 4  # they take turns


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_times(tmp_path: Path) -> None:
    seeds = {"a": (5, 0), "b": (5, 0), "c": (6, 0)}
    first, again, other = (
        make_soundscapes(tmp_path / name, soundscapes.noise_background(s, RATE), seed=s) for name, s in seeds.items()
    )
    assert first[0].file.read_bytes() == again[0].file.read_bytes()
    assert first[0].events == again[0].events != other[0].events


def test_another_range_of_levels_changes_only_levels(tmp_path: Path) -> None:
    (loud,) = make_soundscapes(tmp_path, soundscapes.noise_background((1,), RATE), snr_db=(0.0, 20.0))
    (quiet,) = make_soundscapes(tmp_path / "quiet", soundscapes.noise_background((1,), RATE), snr_db=(-20.0, 0.0))
    assert [e.start_s for e in loud.events] == [e.start_s for e in quiet.events]
    assert [e.snr_db - 20 for e in loud.events] == pytest.approx([e.snr_db for e in quiet.events])


def test_the_block_size_does_not_depend_on_the_length_of_soundscapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest: dict[float, int] = {}

    def record_block_sizes(_: Path, blocks: Iterator[np.ndarray], __: int) -> None:
        largest[seconds] = max(largest.get(seconds, 0), *map(len, blocks))

    monkeypatch.setattr(encode, "write_blocks", record_block_sizes)
    behind = [clip_of(sounds.noise(70, RATE), tmp_path / "behind.f32")]
    for seconds in (90.0, 1_500.0):
        n_files = len(make_soundscapes(tmp_path, soundscapes.recorded_background(behind, (0,), RATE), seconds=seconds))
        assert n_files == np.ceil(seconds / soundscapes.MAX_SOUNDSCAPE_S)
    assert largest[1_500.0] <= largest[90.0] <= max(soundscapes._BLOCK, soundscapes.MAX_SOUND_S * RATE)


def test_background_is_endless_and_without_clicks(tmp_path: Path) -> None:
    slow = [clip_of(sounds.tone(3, s, RATE), tmp_path / f"{s}.f32") for s in (0.7, 2.0, 3.1)]
    stream = soundscapes.recorded_background(slow, (0,), RATE)
    prediction_with = np.concatenate([next(stream) for _ in range(60)])
    assert len(prediction_with) > 5 * sum(clip.n for clip in slow)
    steps = np.abs(np.diff(prediction_with))
    assert steps.max() < 1 / (soundscapes._FADE_S * RATE) + 0.01  # a jump from peak to peak, spread over the fade


def test_soundscapes_have_the_channel_that_the_model_reads(tmp_path: Path) -> None:
    plan = SoundscapePlan(20.0, 1, (10.0, 10.0), 2.0, (0,))
    spec = SPEC.model_copy(update={"channel": 1})
    (scene,) = soundscapes.generate_soundscapes(
        tones(tmp_path), soundscapes.noise_background((1,), RATE), plan, folder=tmp_path, spec=spec
    )
    assert soundfile.info(scene.file).channels == 2


# ----------------------------------------------------------------------------------------------- background and sounds


@pytest.mark.slow
def test_background_that_cannot_be_used_is_skipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", sounds.noise(5), sounds.RATE)
    soundfile.write(tmp_path / "zeros.wav", sounds.silence(5), sounds.RATE)
    (tmp_path / "text.wav").write_text("no sound at all")
    files = [tmp_path / name for name in ("text.wav", "good.wav", "zeros.wav", "missing.wav")]
    found = background.collect_background(files, total_s=60, folder=tmp_path / "kept", spec=SPEC, jobs=1, seed=(0,))
    assert [(i, error.code) for i, error in found.unusable] == [(0, "not_audio"), (2, "silent"), (3, "missing")]
    assert [clip.n for clip in found.clips] == [5 * RATE]


@pytest.mark.slow
def test_clips_of_a_long_background_have_the_requested_total_and_random_starts(tmp_path: Path) -> None:
    samples = sounds.noise(600, 1_000)
    soundfile.write(tmp_path / "long.wav", samples, 1_000, subtype="FLOAT")
    spec = SPEC.model_copy(update={"sample_rate": 1_000})
    taken = [
        background.collect_background(
            [tmp_path / "long.wav"], total_s=120, folder=tmp_path / f"{s}", spec=spec, jobs=1, seed=(s,)
        )
        for s in range(2)
    ]
    starts = []
    for found in taken:
        assert sum(clip.n for clip in found.clips) == 120_000
        whole = samples.reshape(-1, 60_000)
        starts.append([int(np.flatnonzero((whole == clip.read()).all(axis=1))[0]) for clip in found.clips])
    assert starts[0] != starts[1]


@pytest.mark.parametrize("lengths", [[100], [100, 3], [50, 40, 30, 20], [7, 7], [1000, 1, 1, 1]])
def test_the_halves_of_the_background_are_disjoint_and_complete(lengths: list[int]) -> None:
    kept = [SavedClip(Path(f"{i}"), 0, n) for i, n in enumerate(lengths)]
    of_half = [
        {(clip.file, at) for clip in half for at in range(clip.first, clip.first + clip.n)}
        for half in background.split_halves(kept)
    ]
    assert not of_half[0] & of_half[1]
    assert len(of_half[0] | of_half[1]) == sum(lengths)
    assert min(map(len, of_half)) >= 0.25 * sum(lengths) - 1


# ---------------------------------------------------------------------------------------------------------- the sweep


def test_recall_and_false_alarms_are_those_counted_by_hand(tmp_path: Path) -> None:
    """The background has three tones that are not events: each is a false alarm, and there are no others."""
    quiet = sounds.noise(90, RATE, level=0.01)
    for start_s in (10, 40, 70):
        quiet[start_s * RATE : (start_s + 1) * RATE] += sounds.tone(TONE_HZ, 1, RATE, amplitude=0.2)
    behind = soundscapes.recorded_background([clip_of(quiet, tmp_path / "behind.f32")], (0,), RATE)
    plan = SoundscapePlan(80.0, 2, (20.0, 30.0), 3.0, (9,))
    (scene,) = soundscapes.generate_soundscapes(tones(tmp_path), behind, plan, folder=tmp_path, spec=SPEC)
    apart = [abs(event.start_s - start_s) for event in scene.events for start_s in (10, 40, 70)]
    assert min(apart) > 2.5  # otherwise a tone of the background is near an event
    sweep = threshold_sweep.sweep_thresholds(
        [(ToneDetector().predict(scene.file), scene.events)], ["tone"], EventSpec()
    )
    t = sweep.thresholds.index(0.5)
    assert sweep.recall("tone")[0, 0, t] == 1
    assert sweep.false_alarms["tone"][0, 0, t] == 3
    assert sweep.false_alarms_per_hour("tone")[0, 0, t] == pytest.approx(3 / (80 / 3600))
    assert sweep.false_alarms["tone"][0, -1].max() == 0  # none lasts three seconds


@pytest.mark.parametrize("seed", range(4))
def test_every_combination_detects_the_events_of_predict_with_the_same_settings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = ("a", "b", "c") if seed % 2 else ("a", "b")
    wanted = ["a", "c"] if seed % 2 else ["b"]
    scenes = []
    for _ in range(3):
        levels = rng.normal(0, 1.5, (150, len(labels))).cumsum(axis=0) * 0.5
        scores = np.exp(levels - levels.max(axis=1, keepdims=True))
        truth = [placed(str(rng.choice(labels)), 8.0 * i, 8.0 * i + rng.uniform(0.5, 4)) for i in range(9)]
        scenes.append((prediction_with(scores / scores.sum(axis=1, keepdims=True), labels), truth))
    chosen = {"smoothings_s": (0.0, 2.0), "durations_s": (0.0, 1.5), "thresholds": (0.3, 0.6, 0.9)}
    sweep = threshold_sweep.sweep_thresholds(scenes, wanted, EventSpec(max_gap_s=0.5), **chosen)
    for s, smooth_s in enumerate(chosen["smoothings_s"]):
        for d, shortest_s in enumerate(chosen["durations_s"]):
            for t, threshold in enumerate(chosen["thresholds"]):
                spec = EventSpec(
                    smooth_s=smooth_s, min_duration_s=shortest_s, threshold=threshold, max_gap_s=0.5, labels=wanted
                )
                for label in wanted:
                    found, false_alarms = count_pairwise(scenes, label, spec)
                    assert sweep.found[label][s, d, t].tolist() == found
                    assert sweep.false_alarms[label][s, d, t] == false_alarms


def count_pairwise(
    scenes: list[tuple[RecordingPrediction, list[PlacedEvent]]], label: str, spec: EventSpec
) -> tuple[list[bool], int]:
    """Count the same over pairs of true and detected events."""
    found, false_alarms = [], 0
    for prediction, truth in scenes:
        said = [event for event in events.find_events(prediction, spec) if event.label == label]
        true = [event for event in truth if event.label == label]
        found += [any(s.start_s < e.end_s and s.end_s > e.start_s for s in said) for e in true]
        false_alarms += sum(not any(s.start_s < e.end_s and s.end_s > e.start_s for e in true) for s in said)
    return found, false_alarms


def test_quieter_sounds_have_no_higher_recall(tmp_path: Path) -> None:
    recalls = []
    for number, high in enumerate((20.0, 0.0, -10.0, -40.0)):
        scenes = make_soundscapes(
            tmp_path / f"{number}", soundscapes.noise_background((1,), RATE), snr_db=(high - 5, high)
        )
        sweep = threshold_sweep.sweep_thresholds(
            [(ToneDetector().predict(s.file), s.events) for s in scenes], ["tone"], EventSpec()
        )
        recalls.append(sweep.recall("tone"))
    for louder, quieter in pairwise(recalls):
        assert (quieter[0, 0] <= louder[0, 0]).all()
    t = threshold_sweep.THRESHOLDS.index(0.5)
    assert recalls[0][0, 0, t] == 1 and recalls[-1][0, 0, t] == 0


def test_a_silent_soundscape_counts_and_nothing_is_found_in_it() -> None:
    silent = empty_prediction("a.wav", RecordingStatus("silent", duration_s=1_800.0), Labels(("a", "b")))
    sweep = threshold_sweep.sweep_thresholds([(silent, [placed("a", 1, 2)])], ["a"], EventSpec())
    assert sweep.hours == 0.5 and not sweep.found["a"].any() and not sweep.false_alarms["a"].any()


# --------------------------------------------------------------------------------------------------------- the choice


def sweep_of(
    found: Sequence[int], false_alarms: Sequence[int], n_events: int = 10, hours: float = 1.0, label: str = "a"
) -> ThresholdSweep:
    """Return a sweep over thresholds only, with the given numbers of ``found`` events and ``false_alarms``."""
    thresholds = tuple(np.linspace(0.1, 0.9, len(found)).round(3).tolist())
    hits = np.array([[i < n for i in range(n_events)] for n in found])[None, None]
    truth = [placed(label, 10 * i, 10 * i + 1, snr_db=float(i), group=f"g{i % 3}") for i in range(n_events)]
    alarms = np.array(false_alarms)[None, None]
    return ThresholdSweep((0.0,), (0.0,), thresholds, hours, {label: truth}, {label: hits}, {label: alarms})


@pytest.mark.parametrize(("limit", "found"), [(0, 4), (1, 7), (2, 7), (5, 9), (50, 10)])
def test_the_chosen_point_has_the_highest_recall_within_the_limit(limit: float, found: int) -> None:
    sweep = sweep_of([10, 9, 7, 4, 2], [20, 4, 1, 0, 0])
    point = threshold_sweep.choose_point(sweep, limit)
    assert sweep.recall("a")[point.indices["a"]] == found / 10
    assert sweep.false_alarms_per_hour("a")[point.indices["a"]] <= limit and point.within_limit == {"a": True}


def test_of_equally_good_thresholds_the_middle_one_is_chosen() -> None:
    assert threshold_sweep.choose_point(sweep_of([10, 8, 8, 8, 3], [9, 1, 1, 1, 0]), 1).thresholds == {"a": 0.5}


def test_if_no_combination_keeps_the_limit_the_fewest_false_alarms_are_chosen_and_marked() -> None:
    point = threshold_sweep.choose_point(sweep_of([10, 9, 5], [30, 12, 8], hours=2.0), 3)
    assert point.thresholds == {"a": 0.9} and point.within_limit == {"a": False}


@pytest.mark.parametrize("seed", range(5))
def test_no_combination_within_the_limit_has_a_higher_recall_than_the_chosen_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (3, 2, 6)
    found = {label: rng.random((*shape, 8)) < rng.random((*shape, 1)) for label in "ab"}
    alarms = {label: rng.integers(0, 6, shape) for label in "ab"}
    truth = {label: [placed(label, 9 * i, 9 * i + 1) for i in range(8)] for label in "ab"}
    sweep = ThresholdSweep((0.0, 1.0, 2.0), (0.0, 1.0), (0.1, 0.3, 0.5, 0.7, 0.8, 0.9), 1.0, truth, found, alarms)
    point = threshold_sweep.choose_point(sweep, 3)
    best = max(
        np.mean([np.where(alarms[label][s, d] <= 3, sweep.recall(label)[s, d], -1).max() for label in "ab"])
        for s, d in np.ndindex(shape[:2])
    )
    assert all(point.within_limit.values())
    assert np.mean([sweep.recall(label)[point.indices[label]] for label in "ab"]) == pytest.approx(best)


def test_figures_have_counts_and_intervals_that_contain_them() -> None:
    sweep = sweep_of([8, 5], [3, 0], hours=2.0)
    one = threshold_sweep.point_metrics(sweep, threshold_sweep.choose_point(sweep, 2))["a"]
    assert (one.n_events, one.n_found, one.n_groups, one.n_false_alarms) == (10, 8, 3, 3)
    assert one.recall == 0.8 and one.false_alarms_per_hour == 1.5
    for value, (low, high) in ((one.recall, one.recall_ci95), (1.5, one.false_alarms_ci95)):
        assert low is not None and high is not None and low < value < high
    often = threshold_sweep.point_metrics(sweep, threshold_sweep.choose_point(sweep, 2), repeats=3)[
        "a"
    ].false_alarms_ci95
    assert often[0] is not None and often[1] is not None
    assert often[0] < one.false_alarms_ci95[0] and often[1] > one.false_alarms_ci95[1]  # type: ignore[operator]


def test_recall_by_snr_counts_every_event_once() -> None:
    sweep = sweep_of([6, 6], [0, 0])
    found = threshold_sweep.recall_by_snr(sweep, threshold_sweep.choose_point(sweep, 1), (0.0, 9.0), n=3)
    assert [(level.n_events, level.n_found) for level in found] == [(3, 3), (3, 3), (4, 0)]


# ------------------------------------------------------------------------------------------- the stored operating point


def test_a_bundle_without_an_operating_point_is_unchanged() -> None:
    raw = (SHIPPED / bundle.MANIFEST).read_bytes()
    assert b'"operating"' not in raw
    assert bundle.text_of(BundleInfo.model_validate_json(raw)).encode() == raw


def test_a_stored_point_is_read_again_and_changes_no_score(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    before = bundle.load(folder)
    point = OperatingPoint(**{**POINT, "thresholds": {"Cello": 0.9}, "model": before.digest})
    bundle.update(folder, {"operating": point.model_dump(mode="json")}, card="# little\n")
    after = bundle.load(folder)
    assert after.operating == point and after.digest != before.digest and after.scores_digest == before.scores_digest
    bundle.update(folder, {"operating": None}, card=(SHIPPED / "MODEL_CARD.md").read_text())
    assert (folder / bundle.MANIFEST).read_bytes() == (SHIPPED / bundle.MANIFEST).read_bytes()


@pytest.mark.parametrize(
    "changes", [{"thresholds": {}}, {"thresholds": {"a": 0.0}}, {"hours": 0}, {"model": "x"}, {"more": 1}]
)
def test_an_invalid_point_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OperatingPoint(**{**POINT, **changes})


def test_a_point_for_a_label_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="does not have"):
        bundle.update(copied(tmp_path), {"operating": OperatingPoint(**POINT).model_dump(mode="json")}, card="")


def test_settings_of_the_user_override_the_point() -> None:
    point = OperatingPoint(**POINT)
    plain = point.fill_unset(EventSpec(), Labels(("fox", "owl", "wind")))
    assert (plain.thresholds, plain.smooth_s, plain.min_duration_s, plain.max_gap_s) == ({"owl": 0.9}, 1.0, 0.5, 0.1)
    said = EventSpec(threshold=0.4, smooth_s=0.3, min_duration_s=0.0)  # two of them have their default value
    filled = point.fill_unset(said, Labels(("fox", "owl", "wind")))
    assert (filled.threshold, filled.thresholds, filled.smooth_s, filled.min_duration_s) == (0.4, {}, 0.3, 0.0)
    assert point.fill_unset(EventSpec(thresholds={"owl": 0.3}), Labels(("owl", "wind"))).thresholds == {"owl": 0.3}
    assert point.fill_unset(EventSpec(), Labels(("owl", "wind"))).labels == ("owl",)


def test_the_card_states_the_operating_point_once() -> None:
    point = OperatingPoint(**POINT)
    text = (SHIPPED / "MODEL_CARD.md").read_text()
    once = card.add_operating_point(text, point)
    assert card.add_operating_point(once, point) == once
    older = once.replace("## Event detection", "## When it says that something happened")
    assert card.add_operating_point(older, point) == once
    assert once.index("## Event detection") < once.index("## What it is not for")
    assert set(text.splitlines()) < set(once.splitlines())


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, folder / "model"))


# ---------------------------------------------------------------------------------------------------------- the stage


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two instruments with four recordings each, and a copy of a model of ten instruments."""
    folder = tmp_path_factory.mktemp("tune-events")
    for label, hz in (("Cello", 120), ("Flute", 700)):
        (folder / "sounds" / label).mkdir(parents=True)
        for i in range(4):
            samples = sum(sounds.tone(hz * (1 + i / 9) * k, 1.2, 44_100, amplitude=0.3 / k) for k in (1, 2, 3))
            soundfile.write(folder / "sounds" / label / f"{i}.wav", samples, 44_100)
    (folder / "place").mkdir()
    soundfile.write(folder / "place" / "wind.wav", sounds.noise(40, 44_100, level=0.02), 44_100)
    (folder / "place" / "broken.wav").write_text("no sound at all")
    audiocnn("init", "sounds", "--preset", "instrument", "--name", "two", cwd=folder)
    copied(folder)
    return folder


def tuned(project: Path, *places: str, **changes: object) -> TuneEventsResult:
    how = {
        "model": project / "model",
        "store": False,
        "output": project / "out",
        "jobs": 1,
        "options": TuneEventsOptions(hours=0.04, per_hour=200, false_alarms=100),
        "progress": Progress(),
    }
    return tune_events.run(config.read(project / "audiocnn.yaml"), places, **{**how, **changes})


@pytest.mark.slow
def test_tuning_writes_figures_that_agree_and_changes_no_model_unless_it_may(project: Path) -> None:
    before = (project / "model" / bundle.MANIFEST).read_bytes()
    result = tuned(project, str(project / "place"))
    assert (project / "model" / bundle.MANIFEST).read_bytes() == before
    assert [(Path(path).name, error.code) for path, error in result.unusable] == [("broken.wav", "not_audio")]
    figures = json.loads((result.folder / "rehearsal.json").read_text())
    rows = list(csv.DictReader(io.StringIO((result.folder / "rehearsal.csv").read_text())))
    point = figures["point"]
    for label, one in figures["checked_on"]["labels"].items():
        (row,) = (
            row
            for row in rows
            if row["half"] == "checked on" and row["label"] == label
            and float(row["threshold"]) == point["thresholds"][label]
            and float(row["smooth_s"]) == point["smooth_s"]
            and float(row["min_duration_s"]) == point["min_duration_s"]
        )  # fmt: skip
        assert float(row["recall"]) == one["recall"] == one["n_found"] / one["n_events"]
        assert float(row["false_alarms_per_hour"]) == one["false_alarms_per_hour"]
    assert set(figures["checked_on"]["labels"]) == {"Cello", "Flute"}
    groups = [
        {event.group for label in sweep.labels for event in sweep.events[label]}
        for sweep in (result.tuning.chosen_on, result.tuning.checked_on)
    ]
    assert not groups[0] & groups[1]
    left = {file.name for file in (project / "runs" / "two" / "rehearsal").iterdir()} - {".lock"}
    assert len(left) == 1 and left.pop().endswith(".journal")  # soundscapes are removed


@pytest.mark.slow
def test_the_same_seed_gives_the_same_files(project: Path) -> None:
    first, again = (tuned(project, output=project / name).folder for name in ("once", "twice"))
    for name in ("rehearsal.json", "rehearsal.csv", "rehearsal.html"):
        assert (first / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.slow
def test_scored_soundscapes_are_not_scored_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned(project)
    (journal,) = (project / "runs" / "two" / "rehearsal").glob("*.journal")
    size = journal.stat().st_size
    tuned(project, options=TuneEventsOptions(hours=0.04, per_hour=200, false_alarms=3))
    assert journal.stat().st_size == size


@pytest.mark.slow
def test_predict_uses_the_stored_point_unless_settings_override_it(project: Path, tmp_path: Path) -> None:
    model = copied(tmp_path)
    song = project / "sounds" / "Flute" / "0.wav"

    def settings(*said: str) -> dict[str, object]:
        done = audiocnn("predict", song, "--model", model, "--events", "--format", "json", *said, cwd=tmp_path)
        assert ("audiocnn tune-events" in done.stderr) == (bundle.read(model)[0].operating is not None)
        return json.loads(done.stdout)["event_settings"]

    assert settings()["thresholds"] == {}
    before = bundle.read(model)[1]
    untried = tuned(project, model=model, store=True)  # 2 sounds a label in each half
    assert untried.stored_in is None and bundle.read(model)[1] == before
    assert [reason[:24] for reason in untried.tuning.not_stored.values()] == ["tried with 2 events only"] * 2
    enough = TuneEventsOptions(hours=0.1, per_hour=200, false_alarms=100, labels=("Flute",))
    result = tuned(project, model=model, store=True, options=enough)
    stored = settings()
    point = result.tuning.point
    assert stored["thresholds"] == dict(point.thresholds) and set(point.thresholds) == {"Flute"}
    assert (stored["smooth_s"], stored["min_duration_s"]) == (point.smooth_s, point.min_duration_s)
    said = settings("--threshold", "0.25", "--smooth", "0.7")
    assert (said["threshold"], said["thresholds"], said["smooth_s"]) == (0.25, {}, 0.7)
    assert "tune-events" in (model / "MODEL_CARD.md").read_text()
    silent = audiocnn("predict", song, "--model", model, "--events", "--threshold", "1", cwd=tmp_path)
    assert "no events: the highest score is 0." in silent.stderr and "its threshold is 1;" in silent.stderr
    assert "Removed from" in audiocnn("tune-events", "--forget", "--model", model, cwd=tmp_path).stdout
    assert bundle.read(model)[1] == before  # to the last byte
    assert "is unchanged" in audiocnn("tune-events", "--forget", "--model", model, cwd=tmp_path).stdout


@pytest.mark.slow
def test_two_groups_of_a_label_are_needed(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "few")
    manifest = tmp_path / "few" / "manifest.csv"
    rows = list(csv.DictReader(io.StringIO(manifest.read_text())))
    lines = [f"{row['path']},{row['label']},{row['label']}" for row in rows]
    manifest.write_text("\n".join(["path,label,group", *lines]) + "\n")
    with pytest.raises(ConfigError, match=r"fewer than two groups of 'Cello', 'Flute'"):
        tuned(tmp_path / "few", options=TuneEventsOptions(labels=("Cello", "Flute")))


@pytest.mark.slow
def test_sounds_for_the_own_model_are_from_recordings_it_was_not_trained_on(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_tuning_result, "FEWEST_EVENTS", 1)
    shutil.copytree(project, tmp_path / "own")
    here = config.read(tmp_path / "own" / "audiocnn.yaml")
    paths = [f"{label}/{i}.wav" for label in ("Cello", "Flute") for i in range(4)]
    held_out = [path for path in paths if path[-5] in "13"]
    dealt = Split("", {path: "validation" if path in held_out else "train" for path in paths})
    dealt.write(here.run / "split.json")
    model = Path(shutil.copytree(SHIPPED, here.run / "model"))
    with pytest.raises(NotReadyError, match="not the split that the model was trained with"):
        tuned(tmp_path / "own", model=None)
    bundle.update(model, {"provenance": {"split_sha256": dealt.digest}}, card="# little\n")
    found = tuned(tmp_path / "own", model=None, store=True).tuning
    used = {event.recording for sweep in (found.chosen_on, found.checked_on) for label in sweep.labels
            for event in sweep.events[label]}  # fmt: skip
    assert used == set(held_out) and found.held_out == "the validation part"
    assert bundle.load(model).operating is not None
    with pytest.raises(ConfigError, match="part 'test': no recordings"):
        tuned(tmp_path / "own", model=None, options=TuneEventsOptions(part="test"))


@pytest.mark.slow
def test_background_with_a_label_to_detect_is_warned_of(project: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Progress):
        def warn(self, line: str) -> None:
            said.append(line)

    tuned(project, str(project / "sounds" / "Flute"), progress=Listening())
    assert any("4 background recordings have a label to detect" in line for line in said)


@pytest.mark.slow
def test_impossible_input_is_refused_in_one_line(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not have it"):
        tuned(project, options=TuneEventsOptions(labels=("Kazoo",)))
    with pytest.raises(ConfigError, match=r"at most \d+ fit"):
        tuned(project, options=TuneEventsOptions(per_hour=3_000))
    with pytest.raises(ConfigError, match="give more hours"):
        tuned(project, options=TuneEventsOptions(hours=0.01, per_hour=60))
    with pytest.raises(ConfigError, match="read-only; pass --no-store"):
        tuned(project, model=SHIPPED, store=True)
    soundfile.write(tmp_path / "blip.wav", sounds.noise(0.6), sounds.RATE)
    with pytest.raises(UnusableError, match="too short to divide into two halves"):
        tuned(project, str(tmp_path / "blip.wav"))
    with pytest.raises(UnusableError, match=r"none of the 1 background.*broken\.wav"):
        tuned(project, str(project / "place" / "broken.wav"))


def made_up_result(label: str, name: str) -> TuningResult:
    """Return a made-up result for one label: within the limit on the half to choose on, but not on the other half."""
    halves = [sweep_of([10, 9, 7, 4], alarms, hours=2.0, label=label) for alarms in ([9, 4, 1, 0], [30, 9, 6, 2])]
    return TuningResult(
        name=name,
        held_out="the test part",
        chosen_on=halves[0],
        checked_on=halves[1],
        point=threshold_sweep.choose_point(halves[0], 1),
        limit=1.0,
        max_gap_s=0.2,
        snr_db=(0.0, 9.0),
        background="recordings",
        background_s=1_800.0,
        seed=0,
        facts=[("background", name)],
    )


def test_a_page_shows_the_figures_and_escapes_hostile_text() -> None:
    hostile = "<script>alert(1)</script>"
    found = made_up_result(hostile, hostile)
    html = render_event_tuning(found)
    assert hostile not in html and "&lt;script&gt;" in html
    one = found.as_dict()["checked_on"]["labels"][hostile]
    assert f'<data value="{one["recall"]}">' in html and f"{one['n_found']} of {one['n_events']}" in html


def test_labels_that_were_not_found_or_hardly_tried_keep_their_default_threshold() -> None:
    found = made_up_result("owl", "woods")
    assert found.not_stored == {}
    stored = found.operating_point("0" * 64)
    assert stored is not None and stored.thresholds == dict(found.point.thresholds)
    never = replace(found, checked_on=sweep_of([0, 0, 0, 0], [9, 4, 1, 0], hours=2.0, label="owl"))
    assert never.operating_point("0" * 64) is None and never.as_dict()["not_stored"] == never.not_stored
    assert "none of 10 events was found" in never.not_stored["owl"]
    assert "not stored: none of" in render_event_tuning(never)
    tried = MeasuredLabel(n_events=3, n_found=0, n_groups=1, recall=0.0, false_alarms_per_hour=0.0, within_limit=True)
    of_two = OperatingPoint(**POINT).model_copy(update={"measured": {"owl": tried, "wind": tried}})
    assert of_two.fill_unset(EventSpec(), Labels(("owl", "wind"))).labels == ("owl", "wind")
    assert "wind: no threshold" in card.add_operating_point("# a model\n", of_two)


def test_sentences_warn_of_a_missed_limit_and_of_background_that_was_used_repeatedly() -> None:
    found = made_up_result("owl", "woods")
    assert found.repeats == 8
    assert any("kept within" in line and "but not on the half" in line for line in found.sentences())
    assert "8.0 times over" in found.caution()
    never = replace(found, point=threshold_sweep.choose_point(found.checked_on, 0.5), limit=0.5)
    assert "No combination keeps “owl” within" in never.sentences()[-1]


def test_many_labels_have_one_sentence_with_the_best_and_the_worst() -> None:
    found = made_up_result("owl", "woods")
    one = found.checked_metrics["owl"]
    rates = {"owl": 0.5, "wren": 0.0, "fox": 2.0, "bat": 0.0}
    metrics = {label: replace(one, false_alarms_per_hour=rate) for label, rate in rates.items()}
    metrics["bat"] = replace(metrics["bat"], n_found=0, recall=0.0)
    many = replace(found, point=replace(found.point, within_limit=dict.fromkeys(rates, True)))
    vars(many)["checked_metrics"] = metrics  # instead of those that it would compute
    first = many.sentences()[0].replace(NBSP, " ")
    n = 3 * one.n_found
    assert first == (
        f"Of 40 events of 4 labels {n} are found ({round(100 * n / 40)} %): from 0 % of “bat” to "
        f"{10 * one.n_found} % of “owl”. There are 2.5 false alarms an hour, 2 of them of “fox”."
    )


@pytest.mark.slow
def test_the_command_reports_errors_with_the_right_exit_code(project: Path, tmp_path: Path) -> None:
    said = audiocnn("tune-events", "--model", project / "model", cwd=tmp_path, code=2)
    assert "come from the recordings of a project" in said.stderr
    said = audiocnn("tune-events", "--snr", "9", "3", cwd=project, code=2)
    assert "give the lower value first" in said.stderr
    said = audiocnn("tune-events", cwd=project, code=2)
    assert "audiocnn train" in said.stderr
    said = audiocnn(
        "tune-events", "place", "--model", "model", "--hours", "0.04", "--per-hour", "200", "--no-store", "-o", "told",
        cwd=project, code=3,
    )  # fmt: skip
    assert "broken.wav" in said.stderr and "Not stored" in said.stdout and "Flute" in said.stdout
