"""The audit finds planted faults: split groups, leaks, wrong labels, small classes."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from projects import audiocnn

from audiocnn import config
from audiocnn.audit import leaks, shortcuts
from audiocnn.audit.duplicates import DuplicatePair
from audiocnn.audit.finding import Finding, overall_verdict, sort_by_severity
from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.dataset.manifest import Recording
from audiocnn.progress import Progress
from audiocnn.specs import Experiment
from audiocnn.stages import audit


def pair(first: str, second: str, *, exact: bool = True) -> DuplicatePair:
    return DuplicatePair(first, second, exact, 0.0, 1.0, 1.0, 1.0)


def recordings_of(*paths: str, **columns: object) -> list[Recording]:
    return [Recording(path, path.split("/")[0], path, **columns) for path in paths]  # type: ignore[arg-type]


def test_copies_in_different_parts_are_leaks():
    recordings = recordings_of("a/1.wav", "a/2.wav", "b/3.wav", "b/4.wav")
    part_of = {"a/1.wav": "train", "a/2.wav": "test", "b/3.wav": "train"}
    pairs = [pair("a/1.wav", "a/2.wav"), pair("a/1.wav", "b/3.wav"), pair("a/2.wav", "b/4.wav")]
    (leak,) = leaks.find_leaks(pairs, recordings, part_of)
    assert (leak.pair, leak.parts, leak.labels) == (pairs[0], ("train", "test"), ("a", "a"))
    assert str(leak) == "a/1.wav (train) = a/2.wav (test)"


def test_a_group_in_two_parts_is_a_split_group():
    recordings = [Recording(f"{n}.wav", "a", "one" if n < 3 else "two") for n in range(5)]
    (found,) = leaks.find_split_groups(recordings, {f"{n}.wav": "test" if n == 1 else "train" for n in range(5)})
    assert (found.group, found.paths) == ("one", {"train": "0.wav", "test": "1.wav"})


def test_merging_gives_copies_one_group_and_keeps_the_other_groups():
    recordings = [Recording(f"{name}.wav", "x", group) for name, group in zip("abcde", "ppqrs", strict=True)]
    merged = leaks.merge_groups([pair("b.wav", "c.wav"), pair("c.wav", "d.wav", exact=False)], recordings)
    assert [r.group for r in merged.recordings] == ["p", "p", "p", "p", "s"]
    assert (merged.n_changed, merged.n_before, merged.n_after) == (2, 4, 2)


def test_the_verdict_is_the_highest_severity():
    severities = ("pass", "unchecked", "fail", "warn", "fail")
    found = [Finding(severity, topic, ".") for severity, topic in zip(severities, "abcde", strict=True)]
    assert overall_verdict(found) == "fail" and overall_verdict(found[:2]) == "pass" and overall_verdict([]) == "pass"
    assert [finding.topic for finding in sort_by_severity(found)] == ["c", "e", "d", "b", "a"]


def project_in(folder: Path, recordings: list[Recording] | None = None, **settings: object) -> Project:
    """Return a project with all sounds in ``folder``, or with the given recordings."""
    if recordings is None:
        names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.wav"))
        recordings = recordings_of(*names)
    manifest.write(folder / "manifest.csv", recordings)
    preset = config.read_preset("instrument").model_dump()
    data = {"manifest": "manifest.csv", "root": "."}
    return Project(folder / "audiocnn.yaml", Experiment(name="p", data=data, **{**preset, **settings}))


def twelve(folder: Path) -> list[str]:
    """Write twelve different sounds of each of two labels, at random levels, and return their paths."""
    paths = []
    rng = np.random.default_rng(5)
    for number, label in enumerate(("hum", "hiss")):
        (folder / label).mkdir()
        for k in range(12):
            paths.append(f"{label}/{chr(97 + k) * 3}.wav")
            tone = (1 - number) * sounds.tone(300 * 1.07**k, 0.6)
            gain = 10 ** rng.uniform(-1.5, 0)
            soundfile.write(folder / paths[-1], gain * (tone + sounds.noise(0.6, seed=12 * number + k)), sounds.RATE)
    return paths


def audited(project: Project, **options: bool) -> audit.AuditResult:
    return audit.run(project, jobs=1, progress=Progress(), **options)


def severities(result: audit.AuditResult) -> dict[str, str]:
    return {finding.topic: finding.severity for finding in reversed(result.findings)}


@pytest.mark.slow
def test_clean_recordings_pass(tmp_path):
    twelve(tmp_path)
    result = audited(project_in(tmp_path))
    assert result.verdict == "pass"
    assert severities(result).pop("labels") == "unchecked"
    assert set(severities(result).values()) == {"pass", "unchecked"}
    record = json.loads(result.file.read_text())
    assert (record["schema"], record["verdict"], record["n_recordings"], record["n_files"]) == (
        "audiocnn.audit/1", "pass", 24, 24,
    )  # fmt: skip
    assert record["copies"] == [] and [f["sentence"] for f in record["findings"]] == [
        f.sentence for f in result.findings
    ]


@pytest.mark.slow
def test_duplicates_warn_until_their_groups_are_merged(tmp_path):
    paths = twelve(tmp_path)
    samples, rate = soundfile.read(tmp_path / paths[0])
    soundfile.write(tmp_path / "hum" / "again.wav", 0.5 * samples, rate)
    soundfile.write(tmp_path / "hum" / "other.wav", samples, rate, subtype="PCM_24")
    project = project_in(tmp_path)
    result = audited(project)
    assert result.verdict == "warn"
    assert severities(result)["duplicates"] == severities(result)["near-duplicates"] == "warn"
    merged = audited(project, merge_groups=True)
    assert merged.verdict == "pass"
    assert merged.merged is not None and merged.merged.n_changed == 2
    groups_now = {r.path: r.group for r in manifest.read(project.manifest, root=project.root)}
    assert groups_now["hum/aaa.wav"] == groups_now["hum/again.wav"] == groups_now["hum/other.wav"]
    assert len(set(groups_now.values())) == 24
    assert audited(project, merge_groups=True).merged.n_changed == 0  # type: ignore[union-attr]


@pytest.mark.slow
def test_copies_with_different_labels_fail(tmp_path):
    paths = twelve(tmp_path)
    samples, rate = soundfile.read(tmp_path / paths[0])
    soundfile.write(tmp_path / "hiss" / "wrong.wav", 0.5 * samples, rate)
    result = audited(project_in(tmp_path))
    (finding,) = [f for f in result.findings if f.severity == "fail"]
    assert finding.topic == "labels of copies"
    assert list(finding.examples) == ["hiss/wrong.wav (hiss) = hum/aaa.wav (hum)"]


@pytest.mark.slow
def test_a_column_or_an_existing_split_that_separates_copies_fails(tmp_path):
    paths = twelve(tmp_path)
    samples, rate = soundfile.read(tmp_path / paths[0])
    soundfile.write(tmp_path / "hum" / "again.wav", 0.5 * samples, rate)
    part = {path: "test" if path[-5] in "abc" else "train" for path in paths} | {"hum/again.wav": "train"}
    given = [Recording(path, path.split("/")[0], path, split=where) for path, where in sorted(part.items())]
    for rows, name in ((given, "the split column"), (None, "split.json")):
        project = project_in(tmp_path, rows)
        if name == "split.json":
            split.Split("key", part).write(project.run / "split.json")
        result = audited(project)
        leaking = [f for f in result.findings if f.topic == "leaks" and f.severity == "fail"]
        assert len(leaking) == 1 and leaking[0].sentence.startswith(name)
        assert list(leaking[0].examples) == ["hum/aaa.wav (test) = hum/again.wav (train)"]


@pytest.mark.slow
def test_a_column_that_splits_a_group_fails(tmp_path):
    paths = twelve(tmp_path)
    rows = [Recording(path, path.split("/")[0], path[:-6], fold=k % 3) for k, path in enumerate(paths)]
    rows = [
        Recording(r.path, r.label, "one" if "aaa" in r.path or "bbb" in r.path else r.path, fold=r.fold) for r in rows
    ]
    result = audited(project_in(tmp_path, rows))
    (finding,) = [f for f in result.findings if f.severity == "fail"]
    assert "the fold column splits 1 group" in finding.sentence
    assert finding.examples[0].startswith("group 'one': hum/aaa.wav in fold 0, hum/bbb.wav in fold 1")


@pytest.mark.slow
def test_a_damaged_split_is_a_finding(tmp_path):
    twelve(tmp_path)
    project = project_in(tmp_path)
    project.run.mkdir(parents=True)
    (project.run / "split.json").write_text("{}")
    result = audited(project)
    assert result.verdict == "fail" and "not a split" in result.findings[0].sentence


@pytest.mark.slow
def test_few_groups_warn_and_too_few_fail(tmp_path):
    paths = twelve(tmp_path)
    rows = lambda n: [Recording(p, p[:3], f"{p[:3]}{k % n}") for k, p in enumerate(paths)]  # noqa: E731
    splitting = {"split": {"test": 0.2, "validation": 0.2}}
    few, too_few = (audited(project_in(tmp_path, rows(n), **splitting)) for n in (4, 2))
    assert severities(few)["groups"] == "warn" and list(few.findings[0].examples) == ["his: 4 groups", "hum: 4 groups"]
    assert severities(too_few)["groups"] == "fail"


@pytest.mark.slow
def test_class_imbalance_warns(tmp_path):
    paths = twelve(tmp_path)[:14]  # all of hum, two of hiss
    for k in range(10):
        paths.append(f"hum/x{chr(97 + k)}q.wav")
        soundfile.write(tmp_path / paths[-1], sounds.noise(0.3, 8_000, seed=k), 8_000)
    assert severities(audited(project_in(tmp_path, recordings_of(*paths))))["balance"] == "warn"


@pytest.mark.slow
def test_unreadable_and_silent_files_warn_and_too_many_unreadable_ones_fail(tmp_path):
    paths = twelve(tmp_path)
    soundfile.write(tmp_path / paths[5], sounds.silence(1), 16_000)
    (tmp_path / paths[7]).write_text("gone")
    recordings = recordings_of(*paths)
    lenient = {"train": {**config.read_preset("instrument").train.model_dump(), "max_bad_fraction": 0.1}}
    result = audited(project_in(tmp_path, recordings, **lenient))
    assert severities(result)["unreadable"] == severities(result)["silent"] == "warn"
    for path in paths[8:10]:
        (tmp_path / path).unlink()
    result = audited(project_in(tmp_path, recordings, **lenient))
    assert severities(result)["unreadable"] == "fail"
    assert any("[missing]" in example for finding in result.findings for example in finding.examples)


@pytest.mark.slow
def test_channels_that_cancel_warn_with_the_remedy_and_are_no_shortcut(tmp_path):
    paths = []
    for label, sign in (("owl", -1), ("fox", 1)):
        (tmp_path / label).mkdir()
        for i in range(5):
            tone = sounds.tone(300 + 10 * i, 1, amplitude=0.3) + sounds.noise(1, level=0.01, seed=i)
            paths.append(f"{label}/{i}.wav")
            soundfile.write(tmp_path / paths[-1], np.stack([tone, sign * tone], axis=1), sounds.RATE)
    result = audited(project_in(tmp_path, recordings_of(*paths)))
    (found,) = (finding for finding in result.findings if finding.topic == "channels")
    assert found.severity == "warn" and "5 files" in found.sentence and "features.channel: 0" in found.remedy
    assert found.examples == [f"owl/{i}.wav" for i in range(5)]
    assert severities(result)["silent"] == "warn"
    (shortcut,) = (finding for finding in result.findings if finding.topic == shortcuts.TOPIC)
    assert "predicts" not in shortcut.sentence


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["hum/aaa.wav", "hum/missing.wav"])
def test_a_manifest_of_one_row_gets_a_verdict(tmp_path, kept):
    twelve(tmp_path)
    assert audited(project_in(tmp_path, recordings_of(kept))).verdict == "fail"


SCORED = "recording,status,label,score,p_hum,p_hiss,p_rest,truth,group,start_s,end_s\n"


def scored(project: Project, rows: list[tuple[Recording, tuple[float, float, float]]]) -> None:
    """Write predictions.csv of a cross-validation for recordings, clips and background."""
    lines = [
        f"{r.path},ok,hum,0.9,{','.join(map(str, of))},{r.label},{r.group},{r.start_s or ''},{r.end_s or ''}\n"
        for r, of in rows
    ]
    file = project.run / "crossval" / "predictions.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SCORED + "".join(lines))


def label_finding(project: Project) -> Finding:
    (found,) = audit._labels(project, manifest.read(project.manifest, root=project.root))
    return found


@pytest.mark.slow
def test_label_errors_are_found_in_the_background_of_annotated_recordings(tmp_path):
    pytest.importorskip("cleanlab")
    scores = {"hum": (0.9, 0.05, 0.05), "hiss": (0.05, 0.9, 0.05), "rest": (0.05, 0.05, 0.9)}
    annotated = [Recording(path, path[: path.index("/")], path, start_s=0.1, end_s=0.3) for path in twelve(tmp_path)]
    background = [Recording(r.path, "rest", r.group, start_s=0.3, end_s=0.6) for r in annotated]
    project = project_in(tmp_path, annotated)
    data = project.experiment.data.model_copy(update={"background": "rest"})
    project = Project(project.file, project.experiment.model_copy(update={"data": data}))
    rows = [(r, scores[r.label]) for r in (*annotated, *background)]
    rows[-1] = (background[-1], (0.98, 0.01, 0.01))
    scored(project, rows)
    found = label_finding(project)
    assert found.severity == "warn" and "contradict 1 of 48 labels" in found.sentence
    (named,) = found.examples
    assert named == f"{background[-1].path} from 0.3 to 0.6 s: 'rest' has a score of 1%, predicted 'hum'"
    manifest.write(project.manifest, [*annotated, Recording(annotated[-1].path, "hum", "", start_s=0.4, end_s=0.5)])
    assert label_finding(project).severity == "unchecked"  # the background has changed


@pytest.mark.slow
def test_a_check_that_could_not_run_gives_its_reason_and_is_not_a_pass(tmp_path):
    rows = recordings_of(*twelve(tmp_path))
    project = project_in(tmp_path, rows)
    for reason, of in (
        ("no model has scored these recordings yet", None),
        ("crossval has scored recordings of fewer than two labels", [(r, (0.8, 0.1, 0.1)) for r in rows[:12]]),
        ("the manifest has changed since", [(Recording(r.path, "rest", r.group), (0.8, 0.1, 0.1)) for r in rows]),
        ("column 'p_hum': '7' is not a number from 0 to 1", [(r, (7, 0.1, 0.1)) for r in rows]),
    ):
        if of is not None:
            scored(project, of)
        found = label_finding(project)
        assert found.severity == "unchecked"
        assert found.sentence.startswith("Wrong labels: not checked, because ") and reason in found.sentence
        assert "audiocnn crossval" in found.remedy
    assert audited(project).verdict == "pass"
    record = json.loads((project.run / "audit.json").read_text())
    assert record["verdict"] == "pass"
    assert [f["sentence"] for f in record["findings"] if f["severity"] == "unchecked"] == [found.sentence]


@pytest.mark.slow
def test_the_command_prints_the_verdict_first_and_exits_with_2_on_failure(tmp_path):
    paths = twelve(tmp_path)
    (tmp_path / "sounds").mkdir()
    for label in ("hum", "hiss"):
        (tmp_path / label).rename(tmp_path / "sounds" / label)
    evil = tmp_path / "sounds" / "hiss" / "e\x1b[31mvil.wav"
    evil.write_bytes((tmp_path / "sounds" / paths[0]).read_bytes())
    audiocnn("init", "sounds", "--preset", "instrument", cwd=tmp_path)
    done = audiocnn("audit", "--jobs", "1", cwd=tmp_path, code=2)
    assert done.stdout.startswith("fail: 25 recordings")
    assert "\x1b" not in done.stdout and "vil.wav (hiss) = hum/aaa.wav (hum)" in done.stdout
    evil.unlink()
    audiocnn("init", "sounds", "--preset", "instrument", "--force", cwd=tmp_path)
    lines = audiocnn("audit", "--jobs", "1", cwd=tmp_path).stdout.splitlines()
    assert lines[0] == "pass: 24 recordings: 0 errors, 0 warnings, 1 not checked"
    assert lines[1].startswith("unchecked  Wrong labels: not checked, because no model has scored")
    audiocnn("verify", cwd=tmp_path, code=2)  # the cache of the audit is not a feature store
