"""Variants compared on the same folds: what takes part, what is kept, what is refused, and the page of it all."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import prefork
import pytest
import soundfile
import sounds
from rich.console import Console
from test_report import HOSTILE, Page, drawings

from audiocnn import config
from audiocnn.config import Project
from audiocnn.dataset import split
from audiocnn.errors import ConfigError
from audiocnn.evaluation import comparison
from audiocnn.features.store import FeatureStore
from audiocnn.model import network
from audiocnn.model.notation import parse
from audiocnn.progress import LiveTable, Progress
from audiocnn.report import page
from audiocnn.report.sweep import COLUMNS, RankedVariant, SkippedVariant, SweepRanking, render_sweep, sentences, to_csv
from audiocnn.specs import DataSpec, Experiment
from audiocnn.stages import sweep
from audiocnn.terminal import Terminal
from audiocnn.training import out_of_fold, train_model
from audiocnn.training.dataset import prepare

SHIPPED = (
    "compact", "dense-width", "depth", "dropout", "feature-maps", "input-size", "pooling-and-normalisation", "tutorial",
)  # fmt: skip

# Parameters that the source's network has, with the labels that it has there.
SOURCES = {
    ("depth", "x2"): (2, 12_603_041),
    ("depth", "x3"): (2, 6_385_441),
    ("depth", "x4"): (2, 3_534_881),
    ("input-size", "50 x 128"): (2, 6_385_441),
    ("feature-maps", "32"): (2, 6_385_441),
    ("dense-width", "512"): (2, 6_385_441),
    ("dropout", "0.3"): (2, 6_385_441),
    ("pooling-and-normalisation", "as is"): (2, 6_385_441),
    ("pooling-and-normalisation", "learned pooling"): (2, 7_971_841),
    ("pooling-and-normalisation", "batch normalisation"): (2, 6_386_337),
    ("pooling-and-normalisation", "augmentation"): (2, 6_385_441),
    ("compact", "plain"): (10, 10_524),
    ("compact", "first listing"): (10, 49_220),
    ("compact", "regularised"): (10, 13_880),
    ("compact", "variant 1"): (10, 20_010),
    ("compact", "variant 2"): (10, 12_664),
    ("compact", "variant 3"): (10, 15_958),
    ("compact", "variant 4"): (10, 10_844),
    ("tutorial", "basic"): (10, 477_994 - 3 * 3 * 32),  # for a third colour
}

SWEEP = """
name: two
about: Two nets & two windows.
common: {train: {epochs: 2, learning_rate: 0.01, standardize: channel}}
variants:
  "small": {model: "4C3-GAP-*"}
  "wide, <b>": {model: "8C3-P2-GAP-*"}
  "short": {model: "4C3-GAP-*", features: {window_frames: 12, hop_frames: 12}}
  "too deep": {model: "4C3-P2-4C3-P2-4C3-P2-4C3-P2-4C3-P2-4C3-*"}
"""


def run(project: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = prefork.run("sweep", *arguments, cwd=project)
    assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def made(folder: Path) -> Path:
    """A project of three labels with seven recordings each, in windows of 16 frames by 16 bands; no features yet."""
    rows = ["path,label"]
    for number in range(7):
        for label, samples in (
            ("chirp", sounds.chirp(200 + 40 * number, 3_000, 1.2)),
            ("hiss", sounds.noise(1.2, seed=number)),
            ("hum", sounds.tone(150 + 20 * number, 1.2)),
        ):
            soundfile.write(folder / f"{label}{number}.wav", samples, sounds.RATE)
            rows.append(f"{label}{number}.wav,{label}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "audiocnn.yaml").write_text("""
name: trial
data: {manifest: manifest.csv, root: "."}
features:
  {kind: logmel, sample_rate: 16000, n_fft: 512, hop_length: 320, n_mels: 16, channels: [static], window_frames: 16,
   hop_frames: 16, axes: frames_bins}
split: {test: 0.2, validation: 0.25}
model: "4C3-GAP-*"
train: {epochs: 30, patience: 5}
evaluate: {bootstrap: 200}
""")
    (folder / "two.yaml").write_text(SWEEP)
    return folder


def swept(
    folder: Path, *, name: str = "two.yaml", fresh: bool = False, progress: Progress | None = None
) -> sweep.SweepResult:
    return sweep.run(
        config.read(folder / "audiocnn.yaml"),
        name=os.fspath(folder / name),
        n_folds=2,
        epochs=None,
        fresh=fresh,
        jobs=1,
        progress=progress or Progress(),
    )


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A project after the command, as typed, and what it printed."""
    folder = made(tmp_path_factory.mktemp("swept"))
    return folder, run(folder, "two.yaml", "--folds", "2", code=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without features."""
    return made(tmp_path_factory.mktemp("not-swept"))


@pytest.fixture(scope="module")
def results(done: tuple[Path, Any]) -> Path:
    return done[0] / "runs" / "trial" / "sweeps" / "two"


# What a sweep makes


@pytest.mark.slow
def test_every_variant_has_a_row_by_rank_and_what_cannot_be_built_comes_last_with_its_reason(results: Path) -> None:
    rows = table(results)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["rank"] for row in rows] == ["1", "2", "3", ""]
    assert {row["variant"] for row in rows} == {"small", "wide, <b>", "short", "too deep"}
    assert rows[-1]["variant"] == "too deep"
    assert "needs at least" in rows[-1]["reason"] or "got" in rows[-1]["reason"]
    accuracies = [float(row["recording_accuracy"]) for row in rows[:3]]
    assert accuracies == sorted(accuracies, reverse=True)
    by_name = {row["variant"]: row for row in rows}
    assert by_name["short"]["input_shape"] == "12x16x1"
    assert int(by_name["small"]["parameters"]) == 4 * 9 + 4 + 4 * 3 + 3
    for row in rows[:3]:
        low, value, high = (float(row[f"recording_accuracy{end}"]) for end in ("_low", "", "_high"))
        assert 0 <= low <= value <= high <= 1
        assert float(row["prediction_ms"]) > 0
        assert float(row["best_validation_accuracy"]) <= 1
        assert row["n_units"] == "2"
        assert float(row["difference_to_best"]) == pytest.approx(value - accuracies[0], abs=1e-8)
        within = float(row["difference_low"]) <= 0 <= float(row["difference_high"])
        assert row["within_noise"] == ("yes" if within else "no")


@pytest.mark.slow
def test_the_terminal_shows_a_line_a_unit_the_ranking_and_what_was_skipped(done: tuple[Path, Any]) -> None:
    _, printed = done
    units = [line for line in printed.stderr.splitlines() if line.startswith("sweep two: ")]
    assert len(units) == 6
    assert "fold 2 of 2" in units[-1]
    assert "skipped: too deep: model: token" in printed.stdout
    assert "also chose the epoch that was kept" in printed.stdout
    assert re.search(r"^1 .*best\s*$", printed.stdout, re.MULTILINE)
    assert str(Path("runs", "trial", "sweeps", "two", "index.html")) in printed.stdout


@pytest.mark.slow
def test_nothing_but_what_was_held_out_is_kept_of_the_trainings(results: Path) -> None:
    assert {file.suffix for file in (results / "units").iterdir()} == {".heldout"}
    assert len(list((results / "units").iterdir())) == 6
    assert {file.name for file in results.iterdir()} == {"units", "results.csv", "index.html", "prediction-times.json"}


@pytest.mark.slow
def test_the_page_of_a_sweep_shows_hostile_names_as_text_and_fetches_nothing(results: Path) -> None:
    html = (results / "index.html").read_text(encoding="utf-8")
    found = Page(html)
    assert "wide, <b>" in found.text
    assert "Two nets & two windows." in found.text
    assert "<b>" not in re.sub(r'<b class="under">', "", html)
    assert "could not" not in found.text
    assert "also chose the epoch that was kept" in found.text


# Which recordings take part


class Spy:
    """Looks at what is asked of `out_of_fold.train_and_predict`, and stops before unit number ``stop``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.learned = 0
        predict, train = out_of_fold.train_and_predict, train_model.train_model

        def spied(task: Any, spec: Any, **given: Any) -> Any:
            if len(self.asked) == stop:
                raise KeyboardInterrupt
            self.asked.append(
                {"notation": task.net.notation, "shape": task.net.input_shape, "seed": spec.seed, **given}
            )
            return predict(task, spec, **given)

        def learning(*positional: Any, **given: Any) -> Any:
            self.learned += 1
            return train(*positional, **given)

        monkeypatch.setattr(out_of_fold, "train_and_predict", spied)
        monkeypatch.setattr(train_model, "train_model", learning)


@pytest.mark.slow
def test_all_variants_have_the_same_folds_and_the_test_part_takes_no_part(
    done: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = done
    spy = Spy(monkeypatch)
    result = swept(folder)
    assert spy.learned == 0  # all is there
    task = prepare(config.read(folder / "audiocnn.yaml"), max_bad_fraction=0, progress=Progress())
    aside = set(
        split.make(task.recordings, task.contents, config.read(folder / "audiocnn.yaml").experiment.split).of("test")
    )
    assert len(aside) == result.ranking.n_aside > 0
    used = {r.path for r in task.recordings} - aside
    by_variant: dict[Any, list[frozenset[str]]] = {}
    for asked in spy.asked:
        train, held_out = ({r.path for r in asked[part]} for part in ("train", "held_out"))
        assert not train & held_out
        assert train | held_out == used
        assert asked["validation"] == asked["held_out"]
        by_variant.setdefault((asked["notation"], asked["shape"]), []).append(frozenset(held_out))
    assert len(by_variant) == 3
    folds = list(by_variant.values())
    assert folds[0] == folds[1] == folds[2]
    assert frozenset().union(*folds[0]) == used
    assert result.ranking.n_recordings == len(used)


@pytest.mark.slow
def test_said_again_a_sweep_trains_nothing_and_says_the_same(
    done: tuple[Path, Any], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.read_bytes() for file in results.rglob("*") if file.is_file()}
    monkeypatch.setattr(network, "measure_ms_per_window", lambda net: pytest.fail("measured again"))
    swept(done[0])
    assert {file: file.read_bytes() for file in results.rglob("*") if file.is_file()} == before


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_and_ends_as_if_it_had_not_been(
    done: tuple[Path, Any], results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(done[0], tmp_path / "copy"))
    copied = folder / results.relative_to(done[0])
    for file in sorted((copied / "units").iterdir(), key=lambda file: file.stat().st_mtime_ns)[-2:]:
        file.unlink()
    (copied / "results.csv").unlink()
    monkeypatch.setattr(network, "measure_ms_per_window", lambda net: 1.5)
    with monkeypatch.context() as patched:
        interrupted = Spy(patched, stop=5)
        with pytest.raises(KeyboardInterrupt):
            swept(folder)
    assert interrupted.learned == 1
    again = Spy(monkeypatch)
    result = swept(folder)
    assert again.learned == 1
    rows = [{key: value for key, value in row.items() if key != "prediction_ms"} for row in table(result.folder)]
    assert rows == [{key: value for key, value in row.items() if key != "prediction_ms"} for row in table(results)]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["a recording", "the catalog"])
def test_what_is_gone_of_the_features_of_a_variant_is_computed_again(
    done: tuple[Path, Any], results: Path, tmp_path: Path, lost: str
) -> None:
    """Featurize would fill the store of the project's own features."""
    folder = tmp_path / "copy"
    shutil.copytree(done[0], folder)
    project = config.read(folder / "audiocnn.yaml")
    spec = config.read_sweep(os.fspath(folder / "two.yaml"), project).experiments["short"].features
    store = FeatureStore(project.run / "features", spec)
    gone = next(store.folder.rglob("*.safetensors")) if lost == "a recording" else store.folder / "recordings.csv"
    before = gone.read_bytes()
    gone.write_text("path\nx.wav\n") if lost == "the catalog" else gone.unlink()
    swept(folder)
    assert gone.read_bytes() == before
    assert (folder / results.relative_to(done[0]) / "results.csv").read_bytes() == (
        results / "results.csv"
    ).read_bytes()


@pytest.mark.slow
def test_another_setting_of_one_variant_trains_that_one_only(
    done: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = done
    (folder / "changed.yaml").write_text(
        SWEEP.replace('"small": {', '"renamed": {').replace("8C3-P2-GAP", "6C3-P2-GAP")
    )
    monkeypatch.setattr(network, "measure_ms_per_window", lambda net: 1.5)
    spy = Spy(monkeypatch)
    assert {entry.name for entry in swept(folder, name="changed.yaml").ranking.entries} >= {"renamed", "short"}
    assert spy.learned == 2


# What a user gets wrong


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("variants:", "variant:"), r"variant: .*unknown key; did you mean 'variants'\?"),
        (("epochs: 2", "epoch: 2"), r"variant 'small', common: train.epoch: 2: unknown key; did you mean 'epochs'\?"),
        (("window_frames: 12", "window_frames: 0"), r"variant 'short': features.window_frames: 0: .*greater than"),
        (("window_frames: 12", "windowframes: 12"), r"variant 'short': features.windowframes: 12: unknown key; did"),
        (('{model: "8C3-P2-GAP-*"}', '{modle: "x"}'), r"variant 'wide, <b>': modle: only .* did you mean 'model'\?"),
        (('{model: "8C3-P2-GAP-*"}', "{split: {test: 0}}"), r"variant 'wide, <b>': split: only features, model, train"),
        (('{model: "8C3-P2-GAP-*"}', "{train: {seed: 3}}"), r"train.seed: set 'seeds' of the sweep instead"),
        (('{model: "8C3-P2-GAP-*"}', "{train: 3}"), r"variant 'wide, <b>': train: 3: should be a block of settings"),
        (('{model: "8C3-P2-GAP-*"}', ""), r"variants.wide, <b>: null: should be a block of settings"),
        (('{model: "8C3-P2-GAP-*"}', '{model: "4C3-GAP-*"}'), r"variants 'small' and 'wide, <b>' are equal"),
        (("name: two", "name: ../two"), r"name: '../two': string should match"),
        (("name: two", "name: two\nfolds: 1"), r"folds: 1: .*greater than or equal to 2"),
        (("name: two", "name: two\nseeds: [0, 0]"), r"seeds contains the same seed twice"),
        (("name: two", "name: two\npreset: instrumnt"), r"preset: preset 'instrumnt': neither .* mean 'instrument'"),
        ((SWEEP[SWEEP.index("variants:") :], "variants: {}"), r"variants: empty; add at least one"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_sweep_file_is_one_line_that_names_it(folder: Path, change: tuple[str, str], said: str) -> None:
    file = folder / "wrong.yaml"
    assert change[0] in SWEEP
    file.write_text(SWEEP.replace(*change))
    with pytest.raises(ConfigError) as refused:
        config.read_sweep(os.fspath(file), config.read(folder / "audiocnn.yaml"))
    assert re.search(said, str(refused.value)), refused.value
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["wrong.yaml", "dept"])
def test_a_sweep_that_cannot_be_read_ends_with_2_and_one_line(folder: Path, name: str) -> None:
    (folder / "wrong.yaml").write_text(SWEEP.replace("epochs: 2", "epoch: 2"))
    said = run(folder, name, code=2).stderr
    assert said.count("\n") == 1
    assert said.startswith(
        "audiocnn: wrong.yaml: variant 'small'" if name == "wrong.yaml" else "audiocnn: sweep 'dept'"
    )
    assert "did you mean" in said


@pytest.mark.slow
def test_a_sweep_of_which_nothing_can_be_built_says_so(done: tuple[Path, Any]) -> None:
    folder, _ = done
    file = folder / "nothing.yaml"
    file.write_text('name: nothing\nvariants: {a: {model: "999C3-P2-P2-P2-P2-P2-*"}}\n')
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no variant can be built; the first: model: token"):
        swept(folder, name="nothing.yaml")


# The sweeps that come with the package


def shipped(name: str) -> config.SweepPlan:
    experiment = Experiment(
        name="p", data=DataSpec(manifest="m.csv", root="."), **dict(config.read_preset("instrument"))
    )
    return config.read_sweep(name, Project(Path("audiocnn.yaml"), experiment))


def test_every_shipped_sweep_is_known_here() -> None:
    assert {file.stem for file in config.sweep_file("depth").parent.iterdir()} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("n_labels", [2, 7, 10])
def test_every_network_of_a_shipped_sweep_fits_its_input_and_any_labels(name: str, n_labels: int) -> None:
    plan = shipped(name)
    assert plan.sweep.name == name
    for experiment in plan.experiments.values():
        net = parse(experiment.model, input_shape=experiment.features.shape, n_labels=n_labels)
        assert net.n_outputs == (1 if n_labels == 2 else n_labels)


@pytest.mark.parametrize(("name", "variant"), SOURCES)
def test_a_network_of_the_sources_has_its_exact_size_in_a_sweep(name: str, variant: str) -> None:
    n_labels, n_params = SOURCES[name, variant]
    experiment = shipped(name).experiments[variant]
    assert parse(experiment.model, input_shape=experiment.features.shape, n_labels=n_labels).n_params == n_params


def test_the_sweep_of_the_documentation_reads_and_its_networks_fit(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "settings.md").read_text(encoding="utf-8")
    (example,) = (block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "variants:" in block)
    (tmp_path / "widths.yaml").write_text(example)
    plan = shipped(os.fspath(tmp_path / "widths.yaml"))
    assert len(plan.experiments) == 3
    for one in plan.experiments.values():
        assert parse(one.model, input_shape=one.features.shape, n_labels=10).n_outputs == 10


def test_a_variant_takes_its_preset_and_changes_what_it_says() -> None:
    plan, preset = shipped("input-size"), config.read_preset("spectrogram")
    assert plan.experiments["50 x 128"].features == preset.features
    assert {one.features.shape for one in plan.experiments.values()} == {
        (frames, bands, 2) for frames in (20, 35, 50) for bands in (64, 96, 128)
    }
    assert {one.train.learning_rate for one in plan.experiments.values()} == {preset.train.learning_rate}


# The page


def ranked(names: Sequence[str], *, accuracies: Sequence[int] | None = None, one_group: bool = False) -> SweepRanking:
    """A ranking of networks of 1, 2, 4, ... thousand parameters, of 60 recordings each."""
    accuracies = accuracies or [50 - 2 * i for i in range(len(names))]
    groups = ["g"] * 60 if one_group else [f"g{i}" for i in range(60)]
    tallies = {
        name: comparison.count_correct([i < n for i in range(60)], groups, sorted(set(groups)))
        for name, n in zip(names, accuracies, strict=True)
    }
    standings = comparison.rank_models(tallies, bootstrap=200, seed=0)
    entries = [
        RankedVariant(
            one.name, "4C3-*", (16, 16, 1), 1000 * 2**i, 10_000 * 2**i, 0.01 * 2**i, one, 0.5, 0.4, [0.3, 0.6], 5
        )
        for i, one in enumerate(standings)
    ]
    facts = [("a", "b")]
    return SweepRanking("r", "", "p", entries, [], 60, len(set(groups)), 5, (0,), 20, 0, True, facts, names[0])


def test_a_page_of_a_sweep_is_well_formed_whatever_its_names_are() -> None:
    names = [HOSTILE, "x" * 100, "\x1b[31m\u202ered", *(f"v{i}" for i in range(9))]
    one = replace(
        ranked(names),
        about=HOSTILE,
        skipped=[SkippedVariant(HOSTILE, HOSTILE, (1, 1, 1), f"no </td>{HOSTILE}")],
        facts=[(HOSTILE, HOSTILE)],
    )
    html = render_sweep(one)
    found = Page(html)
    assert HOSTILE in found.text
    assert not found.names() & {"img", "iframe", "link"}
    assert found.scripts == [page.script(page.COMMON)]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", html)
    assert len(drawings(html)) == html.count("<svg xmlns") == 4
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    for _, attributes in found.tags:
        assert re.fullmatch(r"--paint: var\(--series-[1-8]\)|box-sizing: [-\w:;. ]+|", attributes.get("style") or "")
        assert re.match(r"#", attributes.get("href") or "#")


def test_the_numbers_of_the_page_are_those_of_the_ranking() -> None:
    one = ranked(["a", "b", "c"])
    wanted = [
        number
        for e in one.entries
        for number in (
            e.ranked.accuracy, *([e.ranked.difference] if e.ranked.rank > 1 else []), e.macro_f1,
            e.window_accuracy, e.n_params, e.multiply_adds, e.prediction_ms,
        )
    ]  # fmt: skip
    assert Page(render_sweep(one)).values() == wanted


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ([50, 20], "The other variant is worse by more than noise."),
        ([50, 50, 49], "The differences to all other variants are within noise."),
        ([50, 49, 10], "Within noise of it: “v1”. The other one is worse."),
        ([50], "“v0” ranks first: it labels 83 % of 60 held-out recordings correctly"),
    ],
)
def test_the_verdict_names_variants_within_noise(accuracies: list[int], words: str) -> None:
    one = ranked([f"v{i}" for i in range(len(accuracies))], accuracies=accuracies)
    assert words in " ".join(sentences(one)).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("baseline", "settings", "words"),
    [
        ("v0", {}, "No variant is better than “v0”, which audiocnn.yaml has already."),
        (
            "v1",
            {"model": "*"},
            "“v0” cannot be told apart from “v1”, the first of the sweep file: the difference is +1.7 percentage "
            "points (95 % interval −",
        ),
        ("v2", {}, "“v0” is better than “v2”, which audiocnn.yaml has, by +66.7 percentage points (95 % interval +"),
    ],
)
def test_the_verdict_compares_the_best_variant_with_the_baseline(
    baseline: str, settings: dict[str, Any], words: str
) -> None:
    one = ranked(["v0", "v1", "v2"], accuracies=[50, 49, 10])
    one = replace(one, baseline=baseline, entries=[replace(entry, settings=settings) for entry in one.entries])
    assert words in sentences(one)[1].replace("\N{NO-BREAK SPACE}", " ")


def test_the_verdict_names_the_cheapest_variant_within_noise() -> None:
    one = ranked(["costly", "cheap"], accuracies=[50, 49])
    one = replace(one, entries=[replace(one.entries[0], multiply_adds=1_000_000), one.entries[1]])
    assert "“cheap” costs least: 20k multiply-adds a window, 2 % of" in sentences(one)[-1].replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_recordings_of_one_group_give_no_intervals() -> None:
    one = ranked(["a", "b"], one_group=True)
    assert "it is not known which differences are chance" in " ".join(sentences(one))
    assert "not known" in Page(render_sweep(one)).text
    assert to_csv(one).count("\n") == 3


def test_a_board_that_nobody_sees_takes_everything() -> None:
    board = LiveTable()
    board.show(0, ["a"])
    board.note("b")
    board.done("c", kept=True)


def test_on_a_terminal_a_table_changes_while_work_goes_on_and_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(quiet=False, verbose=False)
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "_err", Console(file=screen, force_terminal=True, width=90, markup=False))
    with terminal.board("sweep x", ["variant", "done>"], n_rows=2, total=2) as board:
        board.show(0, ["[red]a[/red]\x1b[31m", "1/2"])
        board.note("fold 1 of 2")
        board.done("a line", kept=True)
        board._live.refresh()  # type: ignore[attr-defined]
    seen = screen.getvalue()
    assert "[red]a[/red]\\x1b[31m" in seen
    assert "sweep x: 1/2 done · fold 1 of 2" in seen
    assert "a line" not in seen
    assert seen.rstrip().endswith("\x1b[2K")  # the last thing that is done is to erase a line


def test_a_quiet_terminal_shows_no_board(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(quiet=True, verbose=False).board("t", ["a"], n_rows=1, total=1) as board:
        board.done("a line")
    assert capsys.readouterr() == ("", "")


def test_times_that_were_damaged_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "measure_ms_per_window", lambda net: 1.5)
    (tmp_path / "t.json").write_text("[1, 2")
    net = parse("4C3-GAP-*", input_shape=(16, 16, 1), n_labels=3)
    times = sweep._Times(tmp_path / "t.json", fresh=False)
    assert times.of(net) == 1.5
    assert list(json.loads((tmp_path / "t.json").read_text()).values()) == [1.5]
