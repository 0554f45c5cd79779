"""``evaluate``: a model's predictions for recordings whose labels are known, as figures, a table and a report."""

import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from audiocnn.audit import label_errors
from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError, MissingExtraError, NotReadyError, UnusableError
from audiocnn.evaluation import comparison, decision_metrics, metrics
from audiocnn.features import build_store, windows
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.build_store import analyze_files
from audiocnn.features.store import FeatureStore, StoredFrames
from audiocnn.files import is_inside, lock, write_atomic, write_json
from audiocnn.formats import predictions_csv, tables
from audiocnn.formats.predictions_csv import PredictionRow
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.inference.scoring import predict_frames
from audiocnn.model import bundle, notation
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.report.evaluation import clips, error_maps
from audiocnn.report.evaluation.content import Evaluation, Suspect
from audiocnn.report.evaluation.page import render_evaluation
from audiocnn.specs import EvaluateSpec, Study
from audiocnn.studies import run as studies_of
from audiocnn.text import printable

_MOST_SUSPECTS = 20


@dataclass(frozen=True)
class EvaluateResult:
    """The figures, the account of every recording, and where the files are."""

    metrics: Mapping[str, Any]
    predictions: Sequence[RecordingPrediction]
    folder: Path


@dataclass(frozen=True)
class _Target:
    """The project's model, or ``model``, on a part of its recordings, or on those of the manifest ``other``."""

    model: Path | None
    part: str
    other: Path | None

    @property
    def own_test(self) -> bool:
        """Whether it is the project's own model on its own test part."""
        return self.model is None and self.other is None and self.part == "test"

    @property
    def name(self) -> str:
        """Name of the part."""
        return self.part if self.other is None else self.other.name


def run(
    project: Project,
    *,
    model: Path | None,
    part: str,
    other: Path | None,
    output: Path | None,
    jobs: int,
    progress: Progress,
    against: Path | None = None,
    studies: Sequence[Study] = (),
) -> EvaluateResult:
    """Evaluate the project's model, or ``model``, on a part of its recordings, or on those of the manifest ``other``.

    ``against`` is another model, or an earlier ``predictions.csv``, to compare with. ``studies`` are made besides those
    that the settings want; both are for the project's own model and test part. Writes ``metrics.json``,
    ``predictions.csv`` and ``report.html`` into ``output``, by default the run's own folder. Holds the lock of the run
    if it writes there.
    """
    target = _Target(model, part, other)
    if studies and not target.own_test:
        raise ConfigError(
            "--study is about the project's own model and test part; leave out --model, --manifest, --part"
        )
    if model is None:
        project.model()  # must be there before the lock makes its folder
    folder = output or _folder(project, target)
    makes_studies = target.own_test and (studies or project.experiment.evaluate.studies)
    with lock(project.run) if makes_studies or is_inside(folder, project.run) else contextlib.nullcontext():
        return _run(project, target, folder, against, studies, jobs, progress)


def _run(
    project: Project,
    target: _Target,
    folder: Path,
    against: Path | None,
    studies: Sequence[Study],
    jobs: int,
    progress: Progress,
) -> EvaluateResult:
    judge = bundle.load(target.model or project.model())
    other, part = target.other, target.name
    if other is None:
        source = project.manifest, project.root, project.experiment.data.allow_outside
    else:
        source = other, other.parent, False
    file, root, allow_outside = source
    rival = None if against is None else _rival(against)
    recordings = manifest.read(file, root=root, allow_outside=allow_outside)
    if other is None:
        recordings = _of_part(project, judge, recordings, part, own=target.model is None)
    judged = _judged(project, judge, recordings, root, other is None, jobs, progress)
    recordings, predictions = [r for r, _ in judged], [p for _, p in judged]
    if not any(p.has_scores for p in predictions):
        where = f"part '{part}'" if other is None else other.name
        first = predictions[0]
        raise UnusableError(
            f"none of the {len(predictions)} recordings of {where} can be used; the first, {first.recording}: "
            f"{first.account.detail}"
        )
    _warn_of_unknown_labels(judge, recordings, progress)
    settings = project.experiment.evaluate
    truth, groups = [r.label for r in recordings], [r.group for r in recordings]
    stretches = [r.stretch for r in recordings]
    figures = _figures(judge, judged, part, settings)
    if target.own_test:
        figures = studies_of.add(figures, project, judge, dict(judged), studies, progress=progress)
    if rival is not None:
        if isinstance(rival, Bundle):
            rival = _answers(_judged(project, rival, recordings, root, other is None, jobs, progress))
        figures["comparison"] = comparison.compare_models(
            _answers(judged),
            rival,
            name=str(against),
            labels=judge.labels,
            bootstrap=settings.bootstrap,
            seed=settings.seed,
        )
    shown, right = clips.choose_clips(predictions, truth, n_right=settings.right, seed=settings.seed)
    report_clips = clips.load_clips(shown, predictions, recordings, root, jobs=jobs)
    report_clips = error_maps.add_error_maps(
        report_clips, recordings, judge, root, most=settings.explain, jobs=jobs, progress=progress
    )
    evaluation = Evaluation(
        name=judge.info.name,
        part=part,
        own_part=target.model is None and other is None,
        labels=judge.labels,
        predictions=predictions,
        truth=truth,
        groups=groups,
        metrics=figures,
        history=judge.info.training.get("history", []),
        best_epoch=judge.info.training.get("best_epoch"),
        monitor=judge.info.training.get("monitor", "loss"),
        class_weights=judge.info.training.get("class_weights", {}),
        report_clips=report_clips,
        right=right,
        suspects=_suspects(project, root, jobs, progress) if target.own_test else None,
        facts=_facts(judge, file),
        stretches=stretches if any(stretches) else (),
    )
    extra = {"truth": truth, "group": groups, "part": [part] * len(truth)}
    if any(stretches):
        extra |= tables.stretch_columns(stretches)
    table = tables.recordings_csv(predictions, judge.labels, extra, nearest=True)
    write_atomic(folder / "predictions.csv", table)
    write_json(folder / "metrics.json", figures)
    write_atomic(folder / "report.html", render_evaluation(evaluation))
    return EvaluateResult(figures, predictions, folder)


def _of_part(
    project: Project, judge: Bundle, recordings: Sequence[Recording], part: str, *, own: bool
) -> list[Recording]:
    """The recordings of ``part``: those dealt to it, and unusable ones that the manifest's split column puts there."""
    file = project.run / "split.json"
    if not file.is_file():
        raise NotReadyError(f"{project.run}: no split yet; run 'audiocnn train' first")
    division = split.read(file)
    if own and judge.info.provenance.get("split_sha256") != division.digest:
        raise NotReadyError(
            f"{file}: not the split that the model was trained with, so its {part} part may hold recordings the model "
            "has learned from; run 'audiocnn train' again"
        )
    chosen = [r for r in recordings if division.part.get(r.path, r.split) == part]
    if not chosen:
        raise ConfigError(f"part '{part}': no recordings in it; set split.{part} above 0, or choose another --part")
    return chosen


def _judged(
    project: Project,
    judge: Bundle,
    recordings: Sequence[Recording],
    root: Path,
    from_store: bool,
    jobs: int,
    progress: Progress,
) -> list[tuple[Recording, RecordingPrediction]]:
    """Every recording and stretch, sorted, with its prediction; with what is left of their files as background."""
    rows: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        rows[recording.path].append(recording)
    store = FeatureStore(project.run / "features", judge.spec)
    stored = (build_store.read_stored(store) or {}) if from_store else {}
    others = [members[0] for path, members in rows.items() if path not in stored]
    found = []
    with progress.task("evaluate", total=len(rows), unit="recordings") as advance:
        for path, account, frames in chain(
            _from_store(store, {path: stored[path] for path in rows if path in stored}),
            _computed(others, root, judge, jobs),
        ):
            background = project.experiment.data.background
            for row in windows.add_background(rows[path], {path: account}, judge.spec, background):
                found.append((row, predict_frames(judge, path, account, frames, row.stretch)))
            advance()
    return sorted(found, key=lambda pair: pair[0].order)


def _from_store(
    store: FeatureStore, accounts: Mapping[str, RecordingStatus]
) -> Iterator[tuple[str, RecordingStatus, StoredFrames]]:
    for path, account in accounts.items():
        if account.status == "ok":
            store.check(account.sha256)
        yield path, account, store.frames(account)


def _computed(
    recordings: Sequence[Recording], root: Path, judge: Bundle, jobs: int
) -> Iterator[tuple[str, RecordingStatus, StoredFrames]]:
    """The features of recordings of which the store has none; featurize may compute others than those of the model."""
    files, expected = [r.file(root) for r in recordings], [r.sha256 for r in recordings]
    heard = analyze_files(files, expected=expected, spec=judge.spec, frontend=judge.frontend, jobs=jobs)
    for index, account, frames in heard:
        yield recordings[index].path, account, frames


def _figures(
    judge: Bundle, judged: Sequence[tuple[Recording, RecordingPrediction]], part: str, settings: EvaluateSpec
) -> dict[str, Any]:
    """``metrics.json`` as far as these predictions tell."""
    predictions = [p for _, p in judged]
    truth, groups = [r.label for r, _ in judged], [r.group for r, _ in judged]
    chances = {"bootstrap": settings.bootstrap, "seed": settings.seed}
    figures = metrics.compute_metrics(predictions, truth, groups, part=part, labels=judge.labels, **chances)
    return figures | decision_metrics.decision_blocks(
        predictions,
        truth,
        groups,
        labels=judge.labels,
        temperature=judge.temperature,
        decision=judge.decision,
        **chances,
    )


def _answers(judged: Sequence[tuple[Recording, RecordingPrediction]]) -> list[PredictionRow]:
    """What was said of every recording, to be compared."""
    recordings = [r for r, _ in judged]
    return predictions_csv.prediction_rows(
        [p for _, p in judged],
        [r.label for r in recordings],
        [r.group for r in recordings],
        [r.stretch for r in recordings],
    )


def _warn_of_unknown_labels(judge: Bundle, recordings: Sequence[Recording], progress: Progress) -> None:
    strange = Counter(r.label for r in recordings if r.label not in judge.labels)
    if strange:
        named = ", ".join(f"'{printable(label)}' ({n})" for label, n in strange.most_common(5))
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        progress.warn(
            f"{strange.total()} recordings have labels that the model does not know and count as wrong: {named}{more}"
        )


def _suspects(project: Project, root: Path, jobs: int, progress: Progress) -> list[Suspect] | None:
    """The recordings of the manifest most likely mislabelled, by what ``crossval`` said of them; None if it did not."""
    file = project.run / "crossval" / "predictions.csv"
    if not file.is_file():
        return None
    recordings = manifest.read(project.manifest, root=root, allow_outside=project.experiment.data.allow_outside)
    try:
        said = predictions_csv.read_scores(file)
        found = label_errors.find(said.values, [answer.truth for answer in said.rows], labels=said.labels)
    except (ConfigError, MissingExtraError) as error:
        progress.warn(f"no search for wrong labels: {error}")
        return None
    about = predictions_csv.match_recordings(said.rows, recordings, project.experiment.data.background)
    rows = []
    for suspect in found:
        recording = about[suspect.index]
        if recording is not None:
            its = said.values[suspect.index]
            rows.append(
                (recording, suspect.suggested, suspect.quality, float(its[said.labels.index(suspect.suggested)]))
            )
    return clips.load_suspects(rows[:_MOST_SUSPECTS], root, jobs=jobs)


def _rival(against: Path) -> Bundle | list[PredictionRow]:
    """Another model, or what was predicted before."""
    if (against / bundle.MANIFEST).is_file():
        return bundle.load(against)
    return predictions_csv.read_predictions(against / "predictions.csv" if against.is_dir() else against)


def _folder(project: Project, target: _Target) -> Path:
    """Where results go: the run's own folder for its own test part, else a folder named after what is evaluated."""
    if target.own_test:
        return project.run
    what = "-".join(filter(None, (target.model.resolve().name if target.model else "", target.name)))
    return project.run / "evaluations" / re.sub(r"[^\w.-]+", "_", what)


def _facts(judge: Bundle, file: Path) -> list[tuple[str, str]]:
    info, provenance = judge.info, judge.info.provenance
    net = notation.parse(info.notation, input_shape=info.features.shape, n_labels=len(info.labels))
    spec = info.features
    training = {k: v for k, v in info.training.items() if not isinstance(v, dict | list)}
    return [
        ("manifest", file.name),
        ("model", f"{info.name}, trained {provenance.get('created', 'at an unknown date')}"),
        ("network", f"{info.notation} ({net.n_params:,} parameters)"),
        ("window", f"{'×'.join(map(str, spec.shape))}, {spec.window_s:g} s, one every {spec.hop_s:g} s"),
        ("features", ", ".join(f"{k} {v}" for k, v in spec.model_dump(mode="json").items())),
        ("training", ", ".join(f"{k} {v}" for k, v in training.items())),
        ("versions", ", ".join(f"{k} {v}" for k, v in provenance.get("versions", {}).items())),
        ("model digest", judge.digest),
        ("split digest", str(provenance.get("split_sha256", ""))),
        ("manifest digest", str(provenance.get("manifest_sha256", ""))),
    ]
