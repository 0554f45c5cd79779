"""A label with too few groups for all parts of a split is learned from but not tested, or left out, or refused."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from projects import audiocnn, set_lines
from test_metrics import LABELS, compute, labelled

from audiocnn import config, wording
from audiocnn.audit import class_balance
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError, SplitError
from audiocnn.evaluation import metrics
from audiocnn.labels import Labels
from audiocnn.progress import Progress
from audiocnn.specs import SplitSpec
from audiocnn.stages import init
from audiocnn.training import dataset

SPEC = SplitSpec(test=0.2, validation=0.25)


def recordings_of(**n_groups: int) -> list[Recording]:
    """Two recordings of each group."""
    return [
        Recording(f"{label}/{g}{k}.wav", label, f"{label}{g}")
        for label, n in n_groups.items()
        for g in range(n)
        for k in "ab"
    ]


def contents(recordings: list[Recording]) -> dict[str, str]:
    return {r.path: r.path for r in recordings}


def parts_of(recordings: list[Recording], division: split.Split) -> dict[str, Counter[str]]:
    parts = ("train", "validation", "test")
    return {part: Counter(r.label for r in recordings if division.part[r.path] == part) for part in parts}


def made(recordings: list[Recording], spec: SplitSpec = SPEC) -> split.Split:
    return split.make(recordings, contents(recordings), spec)


def test_a_rare_label_is_in_train_only_and_the_others_are_split_as_without_it() -> None:
    common = recordings_of(owl=6, fox=9)
    for n in (1, 2):
        recordings = [*common, *recordings_of(rail=n)]
        division = made(recordings)
        found = parts_of(recordings, division)
        assert (found["train"]["rail"], found["validation"]["rail"], found["test"]["rail"]) == (2 * n, 0, 0)
        assert {path: division.part[path] for path in contents(common)} == made(common).part
    recordings = [*common, *recordings_of(rail=3)]
    assert parts_of(recordings, made(recordings))["test"]["rail"] == 2


def test_fewer_parts_need_fewer_groups() -> None:
    recordings = recordings_of(owl=4, fox=4, rail=2)
    for spec, rare in (
        (SPEC, {"rail"}),
        (SplitSpec(test=0.2, validation=0), set()),
        (SplitSpec(test=0, validation=0), set()),
    ):
        assert split.rare_labels(recordings, contents(recordings), spec) == rare


def test_a_group_shared_with_a_rare_label_is_in_train_and_counts_for_no_other_label() -> None:
    recordings = recordings_of(owl=5, fox=5, rail=1)
    shared = [Recording(f"jay/{g}.wav", "jay", group) for g, group in enumerate(("rail0", "j1", "j2"))]
    recordings += shared
    assert split.rare_labels(recordings, contents(recordings), SPEC) == {"rail", "jay"}
    assert {made(recordings).part[r.path] for r in shared} == {"train"}
    recordings.append(Recording("jay/3.wav", "jay", "j3"))
    assert split.rare_labels(recordings, contents(recordings), SPEC) == {"rail"}
    assert parts_of(recordings, made(recordings))["test"]["jay"] == 1


def test_with_a_split_column_a_rare_label_of_train_is_not_in_the_validation_part() -> None:
    recordings = [
        Recording(r.path, r.label, r.group, split="test" if r.group in ("owl0", "fox0") else "train")
        for r in recordings_of(owl=6, fox=6, rail=1)
    ]
    found = parts_of(recordings, made(recordings))
    assert (found["train"]["rail"], set(found["validation"]), found["test"]["rail"]) == (2, {"owl", "fox"}, 0)
    assert split.rare_labels(recordings, contents(recordings), SPEC) == set()


def test_identical_recordings_are_one_group_of_a_rare_label() -> None:
    recordings = recordings_of(owl=5, fox=5, rail=3)
    same = contents(recordings) | {"rail/0a.wav": "x", "rail/1a.wav": "x"}
    assert split.rare_labels(recordings, same, SPEC) == {"rail"}


def test_refuse_and_fewer_than_two_labels_that_suffice_are_refused_with_remedies_that_work() -> None:
    recordings = recordings_of(owl=5, fox=5, rail=1)
    with pytest.raises(SplitError, match=r"label 'rail' has 1 group, .*, or set split.rare: train or drop$"):
        made(recordings, SPEC.model_copy(update={"rare": "refuse"}))
    for few in (recordings_of(owl=5, rail=1), recordings_of(owl=5, rail=2, fox=2)):
        with pytest.raises(SplitError, match=r"label 'rail' has|label 'fox' has"):
            made(few)
    two = recordings_of(owl=5, rail=1)
    with pytest.raises(SplitError) as raised:
        made(two)
    assert "split.test" not in str(raised.value) and "split.rare" not in str(raised.value)
    with pytest.raises(SplitError, match=r"or set split.test: 0, or set split.validation: 0$"):
        made(recordings_of(owl=5, rail=2))


def test_the_key_of_a_split_does_not_depend_on_what_becomes_of_rare_labels() -> None:
    recordings = recordings_of(owl=5, fox=5)
    assert made(recordings).key == made(recordings, SPEC.model_copy(update={"rare": "drop"})).key


def test_in_folds_a_rare_label_is_always_in_train_and_does_not_lower_the_number_of_folds() -> None:
    recordings = recordings_of(owl=6, fox=7, rail=2)
    folds = split.make_folds(recordings, contents(recordings), SPEC, rare={"rail"})
    assert len(folds) == 5
    for division in folds:
        assert parts_of(recordings, division)["train"]["rail"] == 4
        assert set(parts_of(recordings, division)["test"]) == {"owl", "fox"}
    assert len(split.make_folds(recordings, contents(recordings), SplitSpec(test=0.2, validation=0))) == 2
    with_column = [Recording(r.path, r.label, r.group, fold=int(r.group[-1]) % 2) for r in recordings]
    tested = split.make_folds(with_column, contents(recordings), SplitSpec(test=0.2, validation=0), rare={"rail"})
    assert all(parts_of(recordings, division)["test"]["rail"] for division in tested)


def test_an_untested_label_has_no_figures_and_is_left_out_of_the_macro_mean() -> None:
    truth, given = ["a", "a", "b", "b", "b"], ["a", "c", "b", "b", "c"]
    predictions = [labelled(str(i), label) for i, label in enumerate(given)]
    groups = [str(i) for i in range(5)]
    chances = {"part": "test", "labels": Labels(LABELS), "bootstrap": 200, "seed": 0}
    found = metrics.compute_metrics(predictions, truth, groups, untested={"c"}, **chances)  # type: ignore[arg-type]
    of_c, f1 = found["per_class"]["c"], {label: found["per_class"][label]["f1"] for label in "ab"}
    assert found["untested"] == ["c"] and of_c["support"] == 0
    assert [of_c[name] for name in ("precision", "recall", "f1", "roc_auc", "average_precision")] == [None] * 5
    assert all(ends == [None, None] for ends in of_c["intervals"].values())
    for unit in ("recording", "window"):
        assert found[unit]["macro_f1"]["value"] == pytest.approx(np.mean(list(f1.values())))
    assert found["recording"]["accuracy"]["value"] == 0.6  # predictions of it are still wrong
    assert "NaN" not in json.dumps(found)
    usual = compute(predictions, truth)
    assert "untested" not in usual and usual["per_class"]["c"]["precision"] == 0
    assert usual["recording"]["macro_f1"]["value"] == pytest.approx(sum(f1.values()) / 3)
    assert {label: usual["per_class"][label] for label in "ab"} == {label: found["per_class"][label] for label in "ab"}


def test_the_audit_names_rare_labels_and_what_becomes_of_them() -> None:
    recordings = recordings_of(owl=12, fox=12, rail=1)
    for rare, severity, words in (
        ("train", "warn", "It is learned from but not tested (split.rare: train)."),
        ("drop", "warn", "It is left out (split.rare: drop)."),
        ("refuse", "fail", "Train will refuse that."),
    ):
        spec = SPEC.model_copy(update={"rare": rare})
        (found,) = class_balance.check_rare(recordings, contents(recordings), spec)
        assert found.severity == severity and found.sentence.endswith(words) and found.examples == ["rail: 1 group"]
        assert ("set split.rare" in found.remedy) == (rare == "refuse")
        assert found in class_balance.check_classes(recordings, contents(recordings), spec)
    (found,) = class_balance.check_rare(recordings_of(owl=9, rail=1), contents(recordings_of(owl=9, rail=1)), SPEC)
    assert found.severity == "fail" and "split.rare" not in found.remedy
    assert class_balance.check_rare(recordings_of(owl=3, fox=3), contents(recordings_of(owl=3, fox=3)), SPEC) == []


def test_a_label_is_untested_only_if_others_are_tested() -> None:
    counts = {"train": {"a": 3, "b": 1}, "test": {"a": 1}}
    assert wording.is_untested("b", counts) and not wording.is_untested("a", counts)
    assert not wording.is_untested("b", {"train": {"b": 1}, "test": {}})
    assert wording.rare_labels(["y", "x"], "drop") == (
        "'x' and 'y' have too few groups to be tested and are left out (split.rare: drop)"
    )


def sounds_of(folder: Path, **n: int) -> None:
    for hz, (label, count) in zip((300, 900, 2_500), n.items(), strict=False):
        (folder / label).mkdir(parents=True)
        for k in range(count):
            samples = sounds.tone(hz * (1 + k / 20), 0.5) + sounds.noise(0.5, seed=hz + k)
            soundfile.write(folder / label / f"{chr(97 + k) * 3}.wav", samples, sounds.RATE)


def written(source: Path, out: Path, preset: str, rare: str | None) -> str:
    done = init.run(
        source, name=None, preset=preset, group_by=None, root=None, background=None, out=out,
        allow_outside=False, force=True, jobs=1, progress=Progress(), rare=rare,  # type: ignore[arg-type]
    )  # fmt: skip
    return config.read(done.config).experiment.split.rare


@pytest.mark.slow
def test_init_writes_the_choice_into_any_preset(tmp_path: Path) -> None:
    sounds_of(tmp_path / "s", low=1, high=1)
    assert [written(tmp_path / "s", tmp_path, preset, None) for preset in config.PRESETS] == ["train"] * len(
        config.PRESETS
    )
    assert written(tmp_path / "s", tmp_path, "general", "refuse") == "refuse"
    text = (tmp_path / "audiocnn.yaml").read_text(encoding="utf-8")
    assert re.search(r"(?m)^  rare: refuse +# a label", text)
    mine = tmp_path / "mine.yaml"
    old = re.sub(r"(?m)^  rare:.*\n", "", config.preset_file("general").read_text(encoding="utf-8"))
    mine.write_text(old, encoding="utf-8")
    assert [written(tmp_path / "s", tmp_path, str(mine), rare) for rare in (None, "drop")] == ["train", "drop"]
    mine.write_text(re.sub(r"(?m)^split:\n(  .*\n)+", "split: {test: 0.2, validation: 0.1}\n", old), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"--rare drop: .*mine.yaml has no block 'split:'"):
        written(tmp_path / "s", tmp_path, str(mine), "drop")


@pytest.mark.slow
def test_a_rare_label_is_trained_and_reported_as_not_tested(tmp_path: Path) -> None:
    sounds_of(tmp_path / "sounds", low=5, high=5, rail=1)
    said = audiocnn("init", "sounds", "--preset", "spectrogram", "--rare", "train", cwd=tmp_path).stdout
    assert "1 class has too few groups" in said and "It is learned from but not tested" in said
    set_lines(tmp_path / "audiocnn.yaml", model='"4C3S2-GAP-*"', epochs="1", bootstrap="100", explain="0")
    done = audiocnn("run", cwd=tmp_path)
    assert "warning: 'rail' has too few groups to be tested and is only learned from" in done.stderr
    assert len(re.findall(r"(?m)^rail .*not tested", done.stdout)) == 2  # recordings by part, figures by label
    run = tmp_path / "runs" / "sounds"
    found = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert found["labels"] == ["high", "low", "rail"] and found["untested"] == ["rail"]
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "“rail” is not tested" in report and '<td class="number">not tested</td>' in report
    assert "| rail | 1 | 0 | not tested |" in next((run / "model").glob("*.md")).read_text(encoding="utf-8")
    audiocnn("crossval", "--folds", "2", cwd=tmp_path)
    pooled = json.loads((run / "crossval.json").read_text(encoding="utf-8"))
    assert (len(pooled["folds"]), pooled["n_recordings"], pooled["untested"]) == (2, 10, ["rail"])
    set_lines(tmp_path / "audiocnn.yaml", rare="drop")
    task = dataset.prepare(config.read(tmp_path / "audiocnn.yaml"), max_bad_fraction=0, progress=Progress())
    assert (task.labels.names, len(task.recordings), task.rare) == (("high", "low"), 10, frozenset())
    set_lines(tmp_path / "audiocnn.yaml", rare="refuse")
    assert "set split.rare: train or drop" in audiocnn("train", cwd=tmp_path, code=2).stderr
