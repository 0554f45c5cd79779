"""``audit``: check the recordings before training.

``audit.json`` (schema ``audiocnn.audit/1``) has: ``schema``; ``verdict`` (pass, warn or fail); ``n_recordings`` and
``n_files``; ``findings``, most severe first, each with ``severity`` (pass, unchecked, warn or fail), ``topic``,
``sentence``, ``remedy`` and ``examples``; ``copies``, each with ``first`` and ``second`` (paths), ``exact``, ``lag_s``
(start of the second after the start of the first), ``shared_s``, ``waveform`` and ``phase`` (similarity);
``suggested_groups``, fine to coarse, each with ``pattern`` (for ``init --group-by``) and ``n_groups`` by label.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from audiocnn.audio import workers
from audiocnn.audio.probe import Probe, probe
from audiocnn.audit import above_band, class_balance, duplicates, groups, label_errors, label_layout, leaks, shortcuts
from audiocnn.audit.duplicates import DuplicateSearch
from audiocnn.audit.finding import Finding, Verdict, overall_verdict, sort_by_severity
from audiocnn.audit.leaks import MergedGroups
from audiocnn.config import Project
from audiocnn.dataset import manifest, missing_files, split
from audiocnn.dataset.groups import Grouping, suggest
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError, ConfigError, IntegrityError, MissingExtraError, require_extra
from audiocnn.files import lock, write_json
from audiocnn.formats import predictions_csv
from audiocnn.progress import Progress

SCHEMA = "audiocnn.audit/1"


@dataclass(frozen=True)
class AuditResult:
    """The findings, most severe first, and where they were written.

    ``merged`` tells what became of the groups, if they were to be merged.
    """

    verdict: Verdict
    findings: Sequence[Finding]
    n_recordings: int
    file: Path
    manifest: Path
    merged: MergedGroups | None


def run(project: Project, *, jobs: int, progress: Progress, merge_groups: bool = False) -> AuditResult:
    """Check the recordings of the manifest; write ``audit.json``, and with ``merge_groups`` the manifest."""
    experiment = project.experiment
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=experiment.data.allow_outside)
    missing_files.require(project, recordings, progress, at_least_one=False)
    _warn_without_label_check(project, progress)
    with lock(project.run):
        probes = _probe(project, recordings, jobs, progress)
        found = duplicates.search(
            recordings,
            project.root,
            cached=project.run / "audit" / duplicates.CACHE_FILE,
            jobs=jobs,
            progress=progress,
            silent=[path for path, measured in probes.items() if isinstance(measured, Probe) and measured.silent],
        )
        merged = leaks.merge_groups(found.pairs, recordings) if merge_groups else None
        if merged is not None and merged.n_changed:
            manifest.write(project.manifest, merged.recordings)
            recordings = list(merged.recordings)
        suggested = suggest(recordings)
        with progress.step("check labels, groups and cues"):
            findings = sort_by_severity(
                [
                    *_findings(project, recordings, found, suggested),
                    *class_balance.check_channels(probes),
                    *above_band.findings(recordings, probes, *experiment.widest),
                    *shortcuts.findings(shortcuts.cue_table(recordings, probes), seed=experiment.evaluate.seed),
                    *_labels(project, recordings),
                ]
            )
        file = project.run / "audit.json"
        write_json(file, _record(findings, recordings, found, suggested))
    return AuditResult(overall_verdict(findings), findings, len(recordings), file, project.manifest, merged)


def _findings(
    project: Project, recordings: Sequence[Recording], found: DuplicateSearch, suggested: Sequence[Grouping]
) -> Iterator[Finding]:
    """Yield the findings of all checks of files and groups. Add a new check here."""
    experiment = project.experiment
    unusable = {*found.unreadable, *found.silent}
    contents = {path: match.sha256 for path, match in found.fingerprints.items() if path not in unusable}
    yield from label_layout.check_level(recordings)
    yield from label_layout.check_spelling(recordings)
    yield from class_balance.check_files(recordings, found, max_bad_fraction=experiment.train.max_bad_fraction)
    yield from leaks.check_duplicate_labels(found.pairs, recordings)
    yield from leaks.check_splits(found.pairs, recordings, _columns(recordings))
    yield from _kept_split(project, recordings, found)
    yield from leaks.check_duplicates(found.pairs, recordings, contents)
    yield from groups.check_cut(recordings)
    yield groups.check_names(recordings, suggested)
    yield from class_balance.check_classes(recordings, contents, experiment.split)


def _probe(
    project: Project, recordings: Sequence[Recording], jobs: int, progress: Progress
) -> dict[str, Probe | AudioError]:
    """Measure every file; return the measurements or the error by path."""
    files = {r.path: r.file(project.root) for r in recordings}
    paths, probes = list(files), dict[str, Probe | AudioError]()
    with progress.task("measure recordings", total=len(paths), unit="recordings") as advance:
        for done in workers.map_files(
            probe, [(file, (project.experiment.features,)) for file in files.values()], jobs=jobs
        ):
            probes[paths[done.index]] = done.result
            advance()
    return probes


def _labels(project: Project, recordings: Sequence[Recording]) -> list[Finding]:
    """Find labels that are likely wrong, by the scores of ``crossval`` for the same recordings."""
    file = _scores(project)
    how = "Run 'audiocnn crossval', then 'audiocnn audit' again."
    if not file.is_file():
        return [label_errors.unchecked("no model has scored these recordings yet", how)]
    try:
        scored = predictions_csv.read_scores(file)
        if None in predictions_csv.match_recordings(scored.rows, recordings, project.experiment.data.background):
            return [label_errors.unchecked("the manifest has changed since crossval scored its recordings", how)]
        if len({answer.truth for answer in scored.rows}) < 2:
            return [label_errors.unchecked("crossval has scored recordings of fewer than two labels", how)]
        found = label_errors.find(scored.values, [answer.truth for answer in scored.rows], labels=scored.labels)
    except MissingExtraError as error:
        return [label_errors.unchecked(str(error), "Install it, then run 'audiocnn audit' again.")]
    except ConfigError as error:
        return [label_errors.unchecked(str(error), how)]
    return label_errors.findings(found, [answer.name for answer in scored.rows])


def _warn_without_label_check(project: Project, progress: Progress) -> None:
    """Warn before the work if labels could be checked but for a library."""
    if _scores(project).is_file():
        try:
            require_extra("labels", "cleanlab")
        except MissingExtraError as error:
            progress.warn(f"labels will not be checked: {error}")


def _scores(project: Project) -> Path:
    """Return the file of the scores by which labels are checked; it need not exist."""
    return project.run / "crossval" / "predictions.csv"


def _columns(recordings: Sequence[Recording]) -> dict[str, dict[str, str]]:
    """Return the divisions in the manifest: for each column the part by `Recording.split_key`."""
    split_of = {r.split_key: r.split for r in recordings if r.split is not None}
    fold_of = {r.split_key: f"fold {r.fold}" for r in recordings if r.fold is not None}
    columns: dict[str, dict[str, str]] = {"the split column": split_of, "the fold column": fold_of}
    return {name: parts for name, parts in columns.items() if parts}


def _kept_split(project: Project, recordings: Sequence[Recording], found: DuplicateSearch) -> list[Finding]:
    """Return findings about the split of the last training."""
    file = project.run / "split.json"
    if not file.is_file():
        return []
    try:
        kept = split.read(file)
    except IntegrityError as error:
        return [Finding("fail", "leaks", f"{error}.", "Delete it; the next training makes a new one.")]
    return leaks.check_splits(found.pairs, recordings, {"split.json": kept.part})


def _record(
    findings: Sequence[Finding], recordings: Sequence[Recording], found: DuplicateSearch, suggested: Sequence[Grouping]
) -> Mapping[str, object]:
    return {
        "schema": SCHEMA,
        "verdict": overall_verdict(findings),
        "n_recordings": len(recordings),
        "n_files": len(found.fingerprints) + len(found.unreadable),
        "findings": [asdict(finding) for finding in findings],
        "copies": [asdict(pair) for pair in found.pairs],
        "suggested_groups": [{"pattern": level.pattern, "n_groups": level.n_groups} for level in suggested],
    }
