"""Review: which units are drawn, what the answers say, what is kept of them, and the command."""

import csv
import json
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from click.testing import CliRunner

from audiocnn.audio.start_time import StartTime
from audiocnn.cli import cli
from audiocnn.dataset import reserved
from audiocnn.errors import ConfigError, IntegrityError, OutputError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.model.locate import SHIPPED
from audiocnn.model.open_model import open_model
from audiocnn.progress import Progress
from audiocnn.review import answers, estimates, result, sampling, units
from audiocnn.review.answers import Answer, AnswerFile
from audiocnn.review.draw import Archive, Draw, choose_strata, draw_units, find_groups
from audiocnn.review.estimates import Sample
from audiocnn.review.page import render_review, sentences
from audiocnn.review.units import Strata
from audiocnn.stages import review as stage

LABELS = Labels(("fox", "owl", "wind"))
N_SITES, PER_SITE, UNIT_S = 10, 4, 3.0


def prediction(name: str, scores: np.ndarray, *, labels: Labels = LABELS, window_s: float = 1.0) -> RecordingPrediction:
    starts = np.arange(len(scores)) * window_s
    status = RecordingStatus("ok", duration_s=len(scores) * window_s, sample_rate=8_000, sha256=name)
    return RecordingPrediction(name, status, labels, scores.mean(axis=0), starts, starts + window_s, scores)


def archive_of(rng: np.random.Generator, n_windows: int = 240) -> tuple[Archive, dict[str, np.ndarray]]:
    """40 recordings at 10 sites, whose owls have high scores; and by recording whether a unit has an owl."""
    files, predictions, truth = [], [], {}
    for site in range(N_SITES):
        for number in range(PER_SITE):
            name = f"/archive/site {site}/{number}.wav"
            has_owl = np.repeat(rng.random(n_windows // 3) < 0.2, 3)
            owl = np.where(has_owl, rng.beta(6, 2, n_windows), rng.beta(1, 6, n_windows))
            rest = rng.dirichlet((1, 8), n_windows) * (1 - owl)[:, None]
            files.append(Path(name))
            predictions.append(prediction(name, np.stack([rest[:, 0], owl, rest[:, 1]], axis=1)))
            truth[name] = has_owl[::3]
    groups, _ = find_groups(files, None)
    reserved = sampling.reserved_groups(groups, 0)
    start = StartTime(datetime(2026, 5, 1, 4, 59, 30))
    return Archive(files, predictions, groups, lambda _: start, reserved), truth


def drawn_from(archive: Archive, n_clips: int = 200) -> Draw:
    strata = choose_strata(LABELS, frozenset({"wind"}), {"owl": 0.6}, ["owl"], n_clips)
    drawn, n_units, hours = draw_units(archive, strata, length_s=UNIT_S, n_clips=n_clips, seed=0)
    return Draw(
        model="0" * 64, model_name="<birds>", labels=LABELS.names, positive=None,
        edges={label: tuple(edges) for label, edges in strata.edges.items()}, strata=strata.all, unit_s=UNIT_S,
        n_units=n_units, hours=hours, n_recordings=len(archive.files), n_groups=N_SITES, grouped_by="folder",
        recordings="", seed=0, units=tuple(drawn),
        reserved={p.recording_status.sha256: g for p, g in zip(archive.predictions, archive.groups, strict=True)
                  if g in archive.reserved},
    )  # fmt: skip


def true_answers(draw: Draw, truth: dict[str, np.ndarray]) -> dict[str, Answer]:
    found = {}
    for unit in draw.units:
        label = "owl" if truth[unit.recording][round(unit.start_s / UNIT_S)] else "wind"
        found[unit.clip] = Answer("right" if label == unit.label else "wrong", (label,))
    return found


@pytest.fixture(scope="module")
def reviewed() -> tuple[Archive, Draw, dict[str, np.ndarray]]:
    archive, truth = archive_of(np.random.default_rng(1))
    return archive, drawn_from(archive), truth


# ------------------------------------------------------------------------------------------------------------- units


def test_a_window_counts_in_the_unit_that_contains_its_centre() -> None:
    scores = np.array([[0.1, 0.9], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
    found = units.unit_scores(prediction("a", scores, labels=Labels(("a", "b"))), 3.0)
    assert found.tolist() == [[0.8, 0.9], [0.3, 0.7]]


def test_a_unit_is_in_the_stratum_of_its_highest_score() -> None:
    strata = Strata(LABELS, {"owl": (0.5, 0.8)}, frozenset({"wind"}))
    names = [stratum.name for stratum in strata.all]
    scores = np.array(
        [[0.1, 0.9, 0.0], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.9, 0.1, 0.0], [0.1, 0.0, 0.9], [np.nan] * 3]
    )
    stratum, label = strata.assign(scores)
    assert [names[i] for i in stratum[:5]] == ["owl 0.8 to 1", "owl 0.5 to 0.8", "no event", "other labels", "no event"]
    assert stratum[5] == -1 and label[:5].tolist() == [1, 1, 1, 0, 2]


def test_of_two_labels_the_positive_one_counts_from_its_lowest_edge_on() -> None:
    strata = choose_strata(Labels(("drone", "other"), positive="drone"), frozenset(), {}, [], 200)
    stratum, label = strata.assign(np.array([[0.3, 0.99], [0.1, 0.99]]))
    assert [strata.all[i].name for i in stratum] == ["drone 0.2 to 0.5", "no event"] and label.tolist() == [0, 1]


def test_many_labels_have_fewer_bins_and_too_many_are_refused_with_the_number_of_clips() -> None:
    many = Labels(tuple(f"bird {i}" for i in range(15)))
    assert {len(edges) for edges in choose_strata(many, frozenset(), {}, [], 200).edges.values()} == {1}
    with pytest.raises(ConfigError, match=r"--clips 100: 15 labels .* pass --clips 160"):
        choose_strata(many, frozenset(), {}, [], 100)


# -------------------------------------------------------------------------------------------------------------- draw


def test_each_stratum_has_its_chance_and_at_least_ten_units_or_all(
    reviewed: tuple[Archive, Draw, dict[str, np.ndarray]],
) -> None:
    _, draw, _ = reviewed
    n_drawn = np.bincount([unit.stratum for unit in draw.units], minlength=len(draw.strata))
    n_units = np.array(draw.n_units).sum(axis=0)
    assert (n_drawn >= np.minimum(n_units, sampling.LEAST)).all() and n_units.sum() == N_SITES * PER_SITE * 80
    assert all(unit.chance == pytest.approx(n_drawn[unit.stratum] / n_units[unit.stratum]) for unit in draw.units)
    assert 0.6 in draw.edges["owl"] and len(draw.units) == 200
    assert {(unit.start_s < 30, unit.hour) for unit in draw.units} == {(True, 4), (False, 5)}


def test_a_draw_spreads_over_the_sites_in_proportion(reviewed: tuple[Archive, Draw, dict[str, np.ndarray]]) -> None:
    _, draw, _ = reviewed
    of_no_event = [unit.group for unit in draw.units if unit.stratum == 0]
    counts = [of_no_event.count(f"/archive/site {site}") for site in range(N_SITES)]
    assert max(counts) - min(counts) <= 2


def test_a_draw_is_the_same_again_and_after_it_was_stored(
    reviewed: tuple[Archive, Draw, dict[str, np.ndarray]],
) -> None:
    archive, draw, _ = reviewed
    assert drawn_from(archive) == draw == Draw.from_dict(json.loads(json.dumps(draw.as_dict())))


def test_reserved_groups_are_none_of_those_that_were_trained_on_and_need_five_groups() -> None:
    names = [f"site {i}" for i in range(200)]
    reserved = sampling.reserved_groups(names, 0)
    assert 20 <= len(reserved) <= 60
    assert sampling.reserved_groups(names, 0, trained_on=names[:100]) == reserved - set(names[:100])
    assert sampling.reserved_groups(names[:4], 0) == frozenset()


def test_training_refuses_reserved_recordings(tmp_path: Path) -> None:
    contents = {"a.wav": "1" * 64, "b.wav": "2" * 64}
    reserved.refuse(tmp_path, contents)
    reserved.write(tmp_path / "review", {"2" * 64: "site, 1", "3" * 64: "site, 1"})
    reserved.refuse(tmp_path, {"a.wav": "1" * 64})
    with pytest.raises(ConfigError, match=r"^b.wav: is one of 1 recordings that a review reserved"):
        reserved.refuse(tmp_path, contents)


def test_folders_are_groups_only_if_there_are_several() -> None:
    assert find_groups([Path("/a/1.wav"), Path("/b/2.wav")], None) == (["/a", "/b"], "folder")
    assert find_groups([Path("/a/1.wav"), Path("/a/2.wav")], None) == (["/a/1.wav", "/a/2.wav"], "recording")
    assert find_groups([Path("/a/S1_x.wav")], r"(S\d)_")[0] == ["S1"]


# --------------------------------------------------------------------------------------------------------- estimates


def sample(n_units: list[int], right: list[int], wrong: list[int], unsure: int = 0) -> Sample:
    """Answers by stratum, of which the last ``unsure`` ones of the last stratum are undecided."""
    stratum = np.repeat(np.arange(len(n_units)), np.add(right, wrong))
    y = np.concatenate([np.repeat([1.0, 0.0], [r, w]) for r, w in zip(right, wrong, strict=True)])
    marked = np.arange(len(y)) >= len(y) - unsure
    y[marked] = np.nan
    return Sample(stratum, np.arange(len(y)) % 10, y, np.array(n_units), marked)


def test_totals_precision_and_recall_are_those_computed_by_hand() -> None:
    found = sample([1_000, 100, 40], right=[1, 10, 18], wrong=[49, 10, 2])
    everything, high = np.ones(3, bool), np.array([False, False, True])
    total = estimates.positive_units(found, everything)
    assert total.value == pytest.approx(1_000 / 50 + 50 + 36)
    assert estimates.precision(found, high).value == pytest.approx(0.9)
    assert estimates.recall(found, high, everything).value == pytest.approx(36 / 106)
    assert estimates.recall(found, high, everything > 0).ci95_archive is not None
    assert total.ci95_archive is not None and total.ci95_archive[0] < 106 < total.ci95_archive[1]


def test_a_stratum_that_is_answered_completely_is_certain() -> None:
    found = estimates.precision(sample([20, 10], [0, 7], [20, 3]), np.array([False, True]))
    assert found.value == 0.7 and found.ci95_archive == (0.7, 0.7)


def test_unsure_answers_give_the_figures_of_all_wrong_and_all_right() -> None:
    found = estimates.precision(sample([20], [5], [5], unsure=2), np.array([True]))
    assert found.value == pytest.approx(5 / 8) and found.unsure == (0.5, 0.7)


def test_new_places_need_eight_groups() -> None:
    found = sample([100], [20], [10])
    few = Sample(found.stratum, found.group % 7, found.y, found.n_units)
    everything = np.array([True])
    assert estimates.precision(few, everything).ci95_new_places is None
    low, high = estimates.precision(found, everything).ci95_new_places or (1, 0)
    assert low < 2 / 3 < high


def test_a_stratum_without_an_answer_leaves_no_estimate() -> None:
    assert estimates.positive_units(sample([10, 10], [5, 0], [5, 0]), np.ones(2, bool)).value is None


# ----------------------------------------------------------------------------------------------------------- answers


def test_the_answer_of_a_true_label_follows_from_the_predicted_one(
    reviewed: tuple[Archive, Draw, dict[str, np.ndarray]],
) -> None:
    unit = replace(reviewed[1].units[0], label="owl")
    read = {text: answers.parse("", text, unit, LABELS, "x") for text in ("owl", "fox", "owl|fox", "-", "")}
    kinds = {text: answer and answer.kind for text, answer in read.items()}
    assert kinds == {"owl": "right", "fox": "wrong", "owl|fox": "several", "-": "wrong", "": None}
    assert [answer and answer.holds("fox", "owl") for answer in read.values()] == [0, 1, 1, 0, None]
    assert np.isnan(Answer("wrong").holds("fox", "owl")) and Answer("wrong").holds("owl", "owl") == 0
    for kind, label in (("maybe", ""), ("right", "fox"), ("wrong", "owl"), ("several", "owl"), ("", "bear")):
        with pytest.raises(ConfigError, match=r"^x: "):
            answers.parse(kind, label, unit, LABELS, "x")


def test_answers_are_kept_through_a_crash_and_the_last_one_of_a_clip_counts(
    reviewed: tuple[Archive, Draw, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    draw = reviewed[1]
    first, second, third = (unit.clip for unit in draw.units[:3])
    kept = AnswerFile(tmp_path, draw)
    kept.add(first, Answer("unsure"), "=me")
    kept.add(second, Answer("wrong", (answers.NONE_OF_THEM,)))
    kept.add(third, Answer("several", ("fox", "owl")))
    kept.add(first, Answer("wrong", ("fox",)) if draw.units[0].label != "fox" else Answer("right", ("fox",)))
    kept.add(third, None)
    with open(kept.path, "ab") as file:
        file.write(b"001,cut o")
    again = AnswerFile(tmp_path, draw)
    assert again.answers == kept.answers and list(again.answers) == [second, first]
    again.add(third, Answer("unsure"))
    assert list(AnswerFile(tmp_path, draw).answers) == [second, first, third]


def test_a_full_disk_loses_no_answer_and_cuts_none_in_half(
    reviewed: tuple[Archive, Draw, dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = reviewed[1]
    kept = AnswerFile(tmp_path, draw)
    kept.add("001", Answer("unsure"))
    before = kept.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("audiocnn.review.answers.os.fsync", full)
    with pytest.raises(OutputError, match=r"review.csv: the answer cannot be kept \(No space left"):
        kept.add("002", Answer("unsure"))
    assert kept.path.read_bytes() == before and list(kept.answers) == ["001"]


def test_a_table_of_a_spreadsheet_is_read(
    reviewed: tuple[Archive, Draw, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    draw = reviewed[1]
    (tmp_path / "a.csv").write_text("\ufeffclip;answer;true_label\n1;unsure;\n2;;'-\n3;;\n", encoding="utf-8")
    read = answers.read_answers(tmp_path / "a.csv", draw)
    assert {clip: answer.kind for clip, answer in read.items()} == {"001": "unsure", "002": "wrong"}
    for text, message in (
        ("clip,answer\n900,right\n", "line 2: clip '900' was not drawn; this review has 1 to 200"),
        ("clip,answer,true_label\n1,wrong,bear\n", "line 2: true_label 'bear' is none of fox, owl, wind"),
        ("a,b\n1,2\n", "has no columns clip and answer"),
    ):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(ConfigError, match=message):
            answers.read_answers(tmp_path / "a.csv", draw)


# ------------------------------------------------------------------------------------------------------------ result


def test_true_answers_give_figures_near_the_truth(reviewed: tuple[Archive, Draw, dict[str, np.ndarray]]) -> None:
    _, draw, truth = reviewed
    found = result.estimate(draw, true_answers(draw, truth), wanted_precision=0.8)
    (owl,) = found.labels
    n = sum(one.sum() for one in truth.values())
    low, high = owl.positive_units.ci95_archive or (1, 0)
    assert low <= n <= high and not owl.too_few and owl.threshold in draw.edges["owl"]
    precisions = [edge.precision.value for edge in owl.edges if edge.n_units]
    assert precisions[0] < precisions[-1] and all(edge.recall_above_floor.value is not None for edge in owl.edges)
    point = found.operating_point()
    assert point is not None and point.thresholds == {"owl": owl.threshold} and point.background == "archive"
    assert found.as_dict()["n_units"] == N_SITES * PER_SITE * 80


def test_below_thirty_answers_there_is_no_estimate(reviewed: tuple[Archive, Draw, dict[str, np.ndarray]]) -> None:
    _, draw, truth = reviewed
    given = true_answers(draw, truth)
    of_owl = [unit.clip for unit in draw.units if draw.strata[unit.stratum].label == "owl"]
    found = result.estimate(draw, {clip: given[clip] for clip in of_owl[:29]}, wanted_precision=0.8)
    assert found.labels[0].too_few and "too few" in sentences(found)[0] and found.operating_point() is None
    assert result.estimate(draw, given, wanted_precision=0.8).labels[0].n_reviewed == len(of_owl)


def test_the_page_escapes_names_and_shows_the_threshold(
    reviewed: tuple[Archive, Draw, dict[str, np.ndarray]],
) -> None:
    _, draw, truth = reviewed
    found = result.estimate(draw, true_answers(draw, truth), wanted_precision=0.8)
    page = render_review(found)
    assert "&lt;birds&gt;" in page and "<birds>" not in page and f"threshold {found.labels[0].threshold:g}" in page
    assert "By hour of the day" in page and "reserved.csv" in page


# ----------------------------------------------------------------------------------------------------------- command


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sites with a recording of 45 s each, and a copy of the model that ships."""
    folder = tmp_path_factory.mktemp("field")
    for site in range(6):
        (folder / "field" / str(site)).mkdir(parents=True)
        tones = [sounds.tone(220 * (1 + (site + i) % 5), 3) * 0.5 ** (i % 3) for i in range(15)]
        samples = np.concatenate(tones) + 0.01 * sounds.noise(45, seed=site)
        soundfile.write(folder / "field" / str(site) / "20260501_050000.wav", samples, sounds.RATE)
    shutil.copytree(SHIPPED, folder / "model")
    return folder


@pytest.mark.slow
def test_a_review_without_a_browser(field: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(field)

    def review(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["review", *arguments, "--model", "model"], catch_exceptions=False)
        return done.output

    review("field", "--jobs", "1", "--clips-to", "clips")
    folder, clips_ = field / "review", field / "clips"
    rows = list(csv.DictReader((clips_ / "review.csv").open(newline="")))
    assert len(rows) == len(list(clips_.glob("*.wav"))) and not any(row["answer"] for row in rows)
    assert soundfile.info(clips_ / "01.wav").duration == pytest.approx(3.0)
    with open(field / "filled.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "answer": "right"} for row in rows)
    before = (field / "model" / "bundle.json").read_bytes()
    done = review("--answers", "filled.csv", "--apply")
    assert f"{len(rows)} new" in done and "Stored in model" in done
    assert json.loads((folder / "review.json").read_text())["n_answered"] == len(rows)
    assert (field / "model" / "bundle.json").read_bytes() != before
    assert "Chosen by `audiocnn review`" in (field / "model" / "MODEL_CARD.md").read_text()
    review("--forget")
    assert (field / "model" / "bundle.json").read_bytes() == before

    loaded, files = open_model(field / "model"), sorted((field / "field").rglob("*.wav"))
    drawn = stage.read_draw(folder, loaded, files)
    with pytest.raises(ConfigError, match="no audio in this folder"):  # the clips are not taken for recordings
        stage.find_files([str(folder)])
    assert stage.take_answers(folder, drawn, field / "filled.csv", "") == 0  # none is new
    with pytest.raises(ConfigError, match="was drawn from 6 other recordings"):
        stage.read_draw(folder, loaded, files[1:])
    clip = sorted((folder / ".clips").iterdir())[0]
    clip.unlink()
    changed = next(field / row["recording"] for row in rows if row["clip"] == clip.stem)
    changed.write_bytes(changed.read_bytes() + b"more")
    (line,) = stage.cut_clips(folder, drawn, loaded, jobs=1, progress=Progress())
    assert line.endswith("has changed since the draw; its clips are left out")
    for content, error in (({**drawn.as_dict(), "model": "1" * 64}, ConfigError), ({}, IntegrityError)):
        (folder / "draw.json").write_text(json.dumps(content))
        with pytest.raises(error, match=r"draw.json: (was drawn with another model|damaged)"):
            stage.read_draw(folder, loaded, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'AUDIO...'"),
        (("field", "--label", "owl"), "label 'owl': the model does not have it"),
        (("field", "--clips", "20"), "pass --clips 110"),
        (("field", "--group-by", "("), "not a regular expression"),
        (("field", "--forget"), "leave out AUDIO"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_predicted(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["review", *arguments, "--clips-to", "x", "--model", "instrument"])
    assert message in done.output + str(done.exception) and not (tmp_path / "review" / "draw.json").exists()
    assert done.exit_code == 2 or isinstance(done.exception, ConfigError)
