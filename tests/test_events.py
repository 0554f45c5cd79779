"""Windows merged into events: properties of all events, and the effect of each setting."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from audiocnn.errors import ConfigError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.inference import events
from audiocnn.inference.events import Event
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.inference.scoring import recording_scores
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision
from audiocnn.specs import EventSpec

PLAIN = EventSpec(release=1, smooth_s=0, min_duration_s=0, max_gap_s=0)  # only a threshold of 0.5


def prediction_with(
    scores, *, labels=("owl", "fox", "wind"), window_s=1.0, hop_s=1.0, decision=None
) -> RecordingPrediction:
    scores, labels = np.asarray(scores, float), Labels(labels)
    starts = np.arange(len(scores)) * hop_s
    ends = starts + window_s
    recording_status = RecordingStatus("ok", duration_s=float(ends[-1]), sample_rate=16_000)
    return RecordingPrediction(
        "rec.wav",
        recording_status,
        labels,
        recording_scores(np.log(scores + 1e-9)),
        starts,
        ends,
        scores,
        decision=decision,
    )


def owl_prediction(*scores: float, **how) -> RecordingPrediction:
    """Return a prediction in which one of three labels has these scores, and the others share the rest."""
    owl = np.array(scores)
    return prediction_with(np.stack([owl, (1 - owl) / 2, (1 - owl) / 2], axis=1), **how)


def decision(**thresholds: float) -> Decision:
    return Decision(
        fitted_on="folds", n_recordings=9, n_groups=9, coverage=0.9, set_floor=0.3, unknown=0.02, thresholds=thresholds
    )


def times_of(found: list[Event]) -> list[tuple[str, float, float]]:
    return [(e.label, e.start_s, e.end_s) for e in found]


def random_prediction(rng: np.random.Generator) -> RecordingPrediction:
    """Return a prediction of few or many windows, short or long, separate or overlapping, with changing labels."""
    n, k = int(rng.integers(1, 120)), int(rng.integers(2, 6))
    window_s = float(rng.choice([0.1, 0.99, 1.0, 3.0]))
    levels = rng.normal(0, 2, (n, k)).cumsum(axis=0) * rng.choice([0.3, 1.0]) + rng.normal(0, 1, (n, k))
    scores = np.exp(levels - levels.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    labels = tuple("abcdef"[:k])
    rules = decision(**{labels[0]: 0.7}) if rng.random() < 0.3 else None
    found = prediction_with(
        scores, labels=labels, window_s=window_s, hop_s=window_s * float(rng.choice([0.25, 0.5, 1, 3]))
    )
    tail = found.ends_s[-1] - window_s * rng.random() * 0.2  # the last window may be off the grid and shorter
    found = replace(found, ends_s=np.minimum(found.ends_s, tail), decision=rules)
    return replace(found, loud=rng.random(n) < 0.8) if rng.random() < 0.3 else found


def random_spec(rng: np.random.Generator) -> EventSpec:
    return EventSpec(
        threshold=float(rng.uniform(0.05, 1)) if rng.random() < 0.8 else None,
        release=float(rng.uniform(0.1, 1)),
        smooth_s=float(rng.choice([0, 0.3, 2, 10])),
        min_duration_s=float(rng.choice([0, 0.1, 1, 5])),
        max_gap_s=float(rng.choice([0, 0.2, 1, 5])),
        competing=bool(rng.random() < 0.7),
    )


# ----------------------------------------------------------------------------------------- properties of all events


@pytest.mark.parametrize("seed", range(5))
def test_events_of_a_label_respect_the_gap_and_the_shortest_duration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_events = 0
    for _ in range(80):
        prediction, spec = random_prediction(rng), random_spec(rng)
        found = events.find_events(prediction, spec)
        n_events += len(found)
        assert found == sorted(found, key=lambda e: (e.start_s, e.end_s, e.label))
        for label in prediction.labels:
            mine = [e for e in found if e.label == label]
            assert all(b.start_s - a.end_s > spec.max_gap_s for a, b in pairwise(mine))
        for e in found:
            assert prediction.starts_s[0] <= e.start_s < e.peak_s < e.end_s <= prediction.ends_s[-1]
            assert e.end_s - e.start_s >= spec.min_duration_s - 1e-9
            assert (spec.threshold or 0) <= e.score <= 1
    assert n_events > 100


@pytest.mark.parametrize("seed", range(5))
def test_a_higher_threshold_never_adds_time(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    n_fewer = 0
    for _ in range(60):
        prediction, spec = random_prediction(rng), random_spec(rng)
        wider: list[Event] | None = None
        for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
            found = events.find_events(prediction, spec.model_copy(update={"threshold": threshold}))
            for e in found if wider is not None else ():
                assert any(w.label == e.label and w.start_s <= e.start_s and e.end_s <= w.end_s for w in wider or ())
            n_fewer += wider is not None and len(found) < len(wider)
            wider = found
    assert n_fewer > 20


@pytest.mark.parametrize("seed", range(5))
def test_windows_read_some_at_a_time_make_the_events_of_all_at_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        prediction, spec = random_prediction(rng), random_spec(rng)
        at_once = [
            event
            for track in events.label_tracks(prediction, spec)
            for event in events.track_events(track, events._threshold(prediction, track.label, spec), spec)
        ]
        for n_windows in (2, 7, 50):
            monkeypatch.setattr(events, "PART_WINDOWS", n_windows)
            found = events.find_events(prediction, spec)
            assert found == sorted(at_once, key=lambda event: (event.start_s, event.end_s, event.label))


@pytest.mark.parametrize("seed", range(3))
def test_events_of_competing_labels_do_not_overlap_unless_gaps_are_bridged(seed: int) -> None:
    rng = np.random.default_rng(200 + seed)
    for _ in range(60):
        found = events.find_events(
            random_prediction(rng), random_spec(rng).model_copy(update={"competing": True, "max_gap_s": 0.0})
        )
        assert all(b.start_s >= a.end_s - 1e-9 for a, b in pairwise(found))


@pytest.mark.parametrize("seed", range(3))
def test_without_smoothing_and_gaps_events_equal_those_of_a_loop_over_windows(seed: int) -> None:
    rng = np.random.default_rng(300 + seed)
    for _ in range(60):
        prediction = replace(random_prediction(rng), decision=None, loud=np.zeros(0, bool))
        starts, ends = events.window_cores(prediction.starts_s, prediction.ends_s)
        expected: list[list] = []
        for i, scores in enumerate(prediction.window_scores):
            k = max(range(len(scores)), key=lambda j: scores[j])
            if scores[k] < 0.5:
                continue
            if expected and expected[-1][3] == (k, i - 1) and starts[i] - ends[i - 1] <= 1e-9:
                expected[-1][2:] = [ends[i], (k, i)]
            else:
                expected.append([prediction.labels[k], starts[i], ends[i], (k, i)])
        assert times_of(events.find_events(prediction, PLAIN)) == [tuple(e[:3]) for e in expected]


def test_windows_of_a_tenth_and_of_a_second_find_the_same_call_with_the_same_settings() -> None:
    for hop_s, window_s in ((0.1, 0.1), (0.05, 0.1), (0.5, 1.0), (0.25, 1.0), (1.0, 1.0)):
        middles = np.arange(0, 30, hop_s) + window_s / 2
        scores = np.where((middles > 10) & (middles < 14), 0.9, 0.1)
        (found,) = events.find_events(
            owl_prediction(*scores, hop_s=hop_s, window_s=window_s), EventSpec(labels=("owl",))
        )
        assert found.start_s == pytest.approx(10, abs=window_s)
        assert found.end_s == pytest.approx(14, abs=window_s)


# ----------------------------------------------------------------------------------------------------------- settings


def test_a_window_belongs_to_the_label_with_the_highest_score_if_it_reaches_the_threshold() -> None:
    found = events.find_events(prediction_with([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25], [0.1, 0.8, 0.1]]), PLAIN)
    assert found == [Event("owl", 0.0, 1.0, 0.6, 0.5), Event("fox", 2.0, 3.0, 0.8, 2.5)]


def test_events_of_labels_that_do_not_compete_may_overlap() -> None:
    scores = [[0.5, 0.4, 0.1], [0.5, 0.4, 0.1]]
    low = PLAIN.model_copy(update={"threshold": 0.3})
    assert times_of(events.find_events(prediction_with(scores), low)) == [("owl", 0, 2)]
    both = events.find_events(prediction_with(scores), low.model_copy(update={"competing": False}))
    assert times_of(both) == [("fox", 0, 2), ("owl", 0, 2)]


def test_overlapping_windows_share_their_overlap() -> None:
    (found,) = events.find_events(
        owl_prediction(0, 1, 1, 0, 0, window_s=1.0, hop_s=0.5), EventSpec(labels=("owl",), smooth_s=0)
    )
    assert (found.start_s, found.end_s) == (0.75, 1.75)
    (first,) = events.find_events(
        owl_prediction(1, 0, 0, window_s=1.0, hop_s=0.5), EventSpec(labels=("owl",), smooth_s=0)
    )
    assert (first.start_s, first.end_s) == (0.0, 0.75)


def test_time_between_separate_windows_is_in_no_event() -> None:
    sparse = owl_prediction(1, 1, 0, window_s=1.0, hop_s=10.0)
    assert times_of(events.find_events(sparse, EventSpec(labels=("owl",)))) == [("owl", 0, 1), ("owl", 10, 11)]
    assert times_of(events.find_events(sparse, EventSpec(labels=("owl",), max_gap_s=9))) == [("owl", 0, 11)]


def test_an_event_starts_above_the_threshold_and_continues_until_the_release_threshold() -> None:
    scores = owl_prediction(0.45, 0.45, 0.2, 0.42, 0.6, 0.45, 0.39, 0.45)
    how = {"smooth_s": 0, "max_gap_s": 0, "threshold": 0.5, "labels": ("owl",)}
    assert times_of(events.find_events(scores, EventSpec(**how, release=1))) == [("owl", 4, 5)]
    assert times_of(events.find_events(scores, EventSpec(**how, release=0.8))) == [("owl", 3, 6)]


def test_only_gaps_up_to_the_limit_are_bridged() -> None:
    gappy = owl_prediction(1, 0, 1, 0, 0, 1)
    how = {"smooth_s": 0, "labels": ("owl",)}
    assert times_of(events.find_events(gappy, EventSpec(**how, max_gap_s=0.9))) == [
        ("owl", 0, 1),
        ("owl", 2, 3),
        ("owl", 5, 6),
    ]
    assert times_of(events.find_events(gappy, EventSpec(**how, max_gap_s=1))) == [("owl", 0, 3), ("owl", 5, 6)]
    assert times_of(events.find_events(gappy, EventSpec(**how, max_gap_s=2))) == [("owl", 0, 6)]


def test_gaps_are_bridged_before_short_events_are_dropped() -> None:
    gappy = owl_prediction(1, 0, 1, 0, 0, 1)
    spec = EventSpec(smooth_s=0, max_gap_s=1, min_duration_s=2, labels=("owl",))
    assert times_of(events.find_events(gappy, spec)) == [("owl", 0, 3)]


def test_smoothing_removes_a_blip_and_a_dropout_of_short_windows_but_not_of_long_ones() -> None:
    scores = (0.1, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.1, 0.9, 0.9, 0.1, 0.1)
    spec = EventSpec(labels=("owl",), max_gap_s=0)
    ((label, start_s, end_s),) = times_of(events.find_events(owl_prediction(*scores, window_s=0.1, hop_s=0.1), spec))
    assert (label, start_s, end_s) == ("owl", pytest.approx(0.5), pytest.approx(1.0))
    assert len(events.find_events(owl_prediction(*scores, window_s=1, hop_s=1), spec)) == 3


def test_the_score_is_the_highest_smoothed_score_and_the_peak_its_time() -> None:
    (found,) = events.find_events(owl_prediction(0.6, 0.9, 0.9, 0.9, 0.6), EventSpec(labels=("owl",), smooth_s=2))
    assert (found.score, found.peak_s) == (pytest.approx(0.9), 2.5)


def test_the_threshold_is_that_of_the_user_or_of_the_model_or_one_half() -> None:
    scores = [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2]]
    assert times_of(events.find_events(prediction_with(scores), PLAIN)) == [("owl", 0, 1), ("fox", 1, 2)]
    fitted = prediction_with(scores, decision=decision(owl=0.7))
    assert times_of(events.find_events(fitted, PLAIN)) == [("fox", 1, 2)]
    assert len(events.find_events(fitted, PLAIN.model_copy(update={"threshold": 0.6}))) == 2
    one = PLAIN.model_copy(update={"threshold": 0.7, "thresholds": {"owl": 0.6}})
    assert times_of(events.find_events(fitted, one)) == [("owl", 0, 1)]
    assert events.find_events(fitted, PLAIN.model_copy(update={"thresholds": {"fox": 0.7}})) == []


def test_of_two_labels_the_one_with_a_threshold_makes_events_and_the_other_is_background() -> None:
    scores = [[0.4, 0.6], [0.2, 0.8], [0.9, 0.1]]
    both = prediction_with(scores, labels=("drone", "other"))
    assert times_of(events.find_events(both, PLAIN)) == [("other", 0, 2), ("drone", 2, 3)]
    fitted = replace(both, decision=decision(drone=0.3))
    assert times_of(events.find_events(fitted, PLAIN)) == [("drone", 0, 1), ("drone", 2, 3)]
    named = PLAIN.model_copy(update={"labels": ("drone",), "threshold": 0.3})
    assert times_of(events.find_events(both, named)) == [("drone", 0, 1), ("drone", 2, 3)]


def test_a_label_that_makes_no_events_still_competes() -> None:
    scores = [[0.4, 0.6, 0.0], [0.9, 0.1, 0.0]]
    spec = PLAIN.model_copy(update={"labels": ("owl",), "threshold": 0.3})
    assert times_of(events.find_events(prediction_with(scores), spec)) == [("owl", 1, 2)]


def test_an_unknown_label_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"label 'cat': .* it has owl, fox, wind"):
        events.find_events(owl_prediction(1), EventSpec(labels=("cat",)))
    with pytest.raises(ConfigError, match="label 'cat'"):
        events.find_events(owl_prediction(1), EventSpec(thresholds={"cat": 0.7}))


def test_a_recording_without_scores_has_no_events() -> None:
    nothing = np.zeros(0)
    silent = RecordingPrediction(
        "s.wav", RecordingStatus("silent", ("silent",)), Labels(("a", "b")), nothing, nothing, nothing, np.zeros((0, 2))
    )
    assert events.find_events(silent, EventSpec(threshold=0.01)) == []


def test_quiet_windows_make_no_events_unless_requested() -> None:
    faint = replace(owl_prediction(1, 1, 1), loud=np.array([True, False, True]))
    assert times_of(events.find_events(faint, PLAIN)) == [("owl", 0, 1), ("owl", 2, 3)]
    assert times_of(events.find_events(faint, PLAIN.model_copy(update={"quiet": True}))) == [("owl", 0, 3)]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("threshold", 0.0),
        ("threshold", 1.1),
        ("thresholds", {"owl": 0.0}),
        ("release", 0.0),
        ("release", 1.01),
        ("smooth_s", -1.0),
        ("min_duration_s", -0.1),
        ("max_gap_s", float("nan")),
    ],
)
def test_invalid_settings_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ValidationError, match=setting):
        EventSpec(**{setting: value})


def test_the_highest_score_without_an_event_is_named_with_its_label_and_threshold() -> None:
    found = [owl_prediction(0.2, 0.6), owl_prediction(0.3, 0.7, 0.1)]
    spec = EventSpec(smooth_s=0.0, labels=("owl",), thresholds={"owl": 0.9})
    best = events.near_miss(found, spec)
    assert best is not None and (best.label, best.score, best.threshold) == ("owl", pytest.approx(0.7), 0.9)
    assert events.near_miss(found, spec.model_copy(update={"thresholds": {"owl": 0.5}})) is None
    short = events.near_miss(found, EventSpec(smooth_s=0.0, labels=("owl",), min_duration_s=60))
    assert short is not None and short.score >= short.threshold
    assert events.near_miss([], spec) is None
