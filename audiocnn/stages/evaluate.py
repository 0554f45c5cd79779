"""``evaluate``: predict recordings with known labels; write metrics, a table of predictions and a report."""

import contextlib
import re
import shlex
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from audiocnn.audit import label_errors
from audiocnn.audit.finding import read_findings
from audiocnn.config import Project
from audiocnn.dataset import cut_groups, manifest, missing_files, split
from audiocnn.dataset.manifest import Recording
from audiocnn.draw import spectrogram
from audiocnn.errors import ConfigError, MissingExtraError, NotReadyError, UnusableError
from audiocnn.evaluation import by_collection, by_member, comparison, decision_metrics, metrics
from audiocnn.explain import model_occlusion
from audiocnn.features import build_store, windows
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.build_store import analyze_files_together
from audiocnn.features.store import FeatureStore, StoredFrames, find_store
from audiocnn.files import is_inside, lock, write_atomic, write_json
from audiocnn.formats import predictions_csv, tables
from audiocnn.formats.predictions_csv import PredictionRow
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.inference.scoring import predict_stored_each
from audiocnn.model import bundle, changed_settings, notation, thresholds_file
from audiocnn.model.bundle import Bundle
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.model.open_model import open_model
from audiocnn.progress import Progress
from audiocnn.report.evaluation import clips, error_maps, verdict
from audiocnn.report.evaluation.content import Evaluation, Suspect
from audiocnn.report.evaluation.page import render_evaluation
from audiocnn.specs import EvaluateSpec, FeatureSpec, Study
from audiocnn.studies import run as studies_of
from audiocnn.text import printable

_MOST_SUSPECTS = 20
_Pair = tuple[Recording, RecordingPrediction]


@dataclass(frozen=True)
class EvaluateResult:
    """The content of ``metrics.json``, the predictions, the folder of the files, and the report's first sentence."""

    metrics: Mapping[str, Any]
    predictions: Sequence[RecordingPrediction]
    folder: Path
    verdict: str


@dataclass(frozen=True)
class _Target:
    """What is evaluated: the project's model, or ``model``, on ``part`` of its recordings, or on the CSV ``other``.

    ``thresholds`` is a ``thresholds.json`` to decide by.
    """

    model: Path | None
    part: str
    other: Path | None
    thresholds: Path | None = None

    @property
    def own_test(self) -> bool:
        """Whether it is the project's own model, as it is, on its own test part."""
        return self.model is None and self.other is None and self.thresholds is None and self.part == "test"

    @property
    def name(self) -> str:
        """Name of the part, or of the CSV."""
        return self.part if self.other is None else self.other.name

    def untested(self, model: LoadedModel, pairs: Sequence[_Pair]) -> frozenset[str]:
        """Return the labels of the project's own model of which its part has no recording, as those that are rare."""
        own = self.model is None and self.other is None
        return frozenset(model.labels).difference(r.label for r, _ in pairs) if own else frozenset()

    def command(self, against: Path | None, studies: Sequence[Study]) -> str:
        """Return the command line of this evaluation."""
        options = {"--model": self.model, "--manifest": self.other, "--against": against}
        words = [word for name, path in options.items() if path is not None for word in (name, str(path))]
        words += [] if self.part == "test" or self.other is not None else ["--part", self.part]
        return shlex.join(["audiocnn", "evaluate", *words, *(word for study in studies for word in ("--study", study))])

    def source(self, project: Project) -> tuple[Path, Path, bool]:
        """Return the manifest, the folder of its recordings, and whether recordings may be outside that folder."""
        if self.other is not None:
            return self.other, self.other.parent, False
        return project.manifest, project.root, project.experiment.data.allow_outside


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
    allow_missing: bool = False,
    thresholds: Path | None = None,
) -> EvaluateResult:
    """Evaluate the project's model, or ``model``, on a part of its recordings, or on those of the manifest ``other``.

    ``against`` is a model, or a ``predictions.csv``, to compare with. ``studies`` are added to those of the settings;
    both need the project's own model and test part. ``thresholds`` is a ``thresholds.json`` to decide by. Writes
    ``metrics.json``, ``predictions.csv`` and ``report.html`` into ``output``, by default the run's folder, and then
    holds the lock of the run.

    Raises `ConfigError` if files of recordings are missing that the report there plays, unless ``allow_missing``.
    """
    target = _Target(model, part, other, thresholds)
    if studies and not target.own_test:
        raise ConfigError(
            "--study needs the project's own model and test part; "
            "leave out --model, --manifest, --part and --thresholds"
        )
    if model is None:
        project.model()  # fails before the lock creates the folder
    folder = output or _folder(project, target)
    makes_studies = target.own_test and (studies or project.experiment.evaluate.studies)
    with lock(project.run) if makes_studies or is_inside(folder, project.run) else contextlib.nullcontext():
        return _run(project, target, folder, against, studies, allow_missing, jobs, progress)


def _run(
    project: Project,
    target: _Target,
    folder: Path,
    against: Path | None,
    studies: Sequence[Study],
    allow_missing: bool,
    jobs: int,
    progress: Progress,
) -> EvaluateResult:
    model = open_model(target.model or project.model())
    if target.model is None and (line := changed_settings.warning(project, model)):
        progress.warn(line)
    if studies and model.members:
        raise ConfigError("--study: needs a model of one network, and this one has members; leave it out")
    has_rules = model.decision is not None
    if target.thresholds is not None:
        model = thresholds_file.apply(model, target.thresholds, progress)
    rival = None if against is None else _load_rival(against)
    file, root, allow_outside = target.source(project)
    recordings = manifest.read(file, root=root, allow_outside=allow_outside)
    in_part: Callable[[Recording], bool] | None = None
    if target.other is None:
        in_part = _membership(project, model, recordings, target.part, own=target.model is None)
        recordings = [r for r in recordings if r.cut is not None or in_part(r)]
        if line := cut_groups.warning(recordings):
            progress.warn(line)
    _check_files(project, target, model, recordings, (file, root), folder, allow_missing, progress)

    def predict(with_model: LoadedModel) -> tuple[list[_Pair], dict[str, list[str]]]:
        return _predict(project, with_model, recordings, root, in_part, jobs, progress)

    pairs, of_members = predict(model)
    _refuse_unusable(pairs, f"part '{target.part}'" if target.other is None else target.name)
    _warn_of_unknown_labels(model, recordings, progress)
    settings = project.experiment.evaluate
    untested = target.untested(model, pairs)
    with progress.step("compute the metrics"):
        figures = _metrics(model, pairs, target.name, settings, untested, has_rules=has_rules)
        figures |= by_member.member_block(
            [p.label for _, p in pairs],
            of_members,
            [r.label for r, _ in pairs],
            [r.group for r, _ in pairs],
            weights=dict(zip(model.members, model.weights, strict=False)),
            bootstrap=settings.bootstrap,
            seed=settings.seed,
        )
    if target.own_test and isinstance(model, Bundle):
        figures = studies_of.add(figures, project, model, dict(pairs), studies, progress=progress)
    if rival is not None:
        figures["comparison"] = comparison.compare_models(
            _prediction_rows(pairs),
            _prediction_rows(predict(rival)[0]) if isinstance(rival, LoadedModel) else rival,
            name=str(against),
            labels=[label for label in model.labels if label not in untested],
            bootstrap=settings.bootstrap,
            seed=settings.seed,
        )
    with (
        progress.step("write the report"),
        tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as scratch,
    ):
        content = _report_content(project, target, model, pairs, figures, (file, root), Path(scratch), jobs, progress)
        content = replace(content, origin=_origin(model, file, target.command(against, studies)))
        write_atomic(folder / "predictions.csv", _predictions_csv(content))
        write_json(folder / "metrics.json", figures)
        write_atomic(folder / "report.html", render_evaluation(content))
    return EvaluateResult(figures, content.predictions, folder, verdict.sentences(content)[0])


def _report_content(
    project: Project,
    target: _Target,
    model: LoadedModel,
    pairs: Sequence[_Pair],
    figures: Mapping[str, Any],
    source: tuple[Path, Path],
    scratch: Path,
    jobs: int,
    progress: Progress,
) -> Evaluation:
    """Collect the content of the report, with sounds in the folder ``scratch``.

    ``source`` are the manifest and the folder of its recordings.
    """
    _, root = source
    settings, training = project.experiment.evaluate, model.info.training
    recordings, predictions = [r for r, _ in pairs], [p for _, p in pairs]
    truth, stretches = [r.label for r in recordings], [r.stretch for r in recordings]
    shown = clips.choose_clips(predictions, truth, n_right=settings.right, seed=settings.seed)
    view = spectrogram.drawing_spec(model_occlusion.map_kind(model)[0])
    report_clips = clips.load_clips(shown, predictions, recordings, root, view, folder=scratch / "shown", jobs=jobs)
    report_clips = error_maps.add_error_maps(
        report_clips, recordings, model, root, most=settings.explain, jobs=jobs, progress=progress
    )
    return Evaluation(
        name=model.info.name,
        part=target.name,
        own_part=target.model is None and target.other is None,
        labels=model.labels,
        predictions=predictions,
        truth=truth,
        groups=[r.group for r in recordings],
        metrics=figures,
        history=training.get("history", []),
        best_epoch=training.get("best_epoch"),
        monitor=training.get("monitor", "loss"),
        class_weights=training.get("class_weights", {}),
        report_clips=report_clips,
        suspects=_suspects(project, root, view, scratch, jobs, progress) if target.own_test else None,
        facts=_facts(model),
        settings=_settings(model),
        audit=read_findings(project.run / "audit.json") if target.other is None else None,
        stretches=stretches if any(stretches) else (),
        caution=f"{line}." if (line := cut_groups.warning(recordings)) else "",
        view=view,
    )


def _check_files(
    project: Project,
    target: _Target,
    model: LoadedModel,
    recordings: Sequence[Recording],
    source: tuple[Path, Path],
    folder: Path,
    allow_missing: bool,
    progress: Progress,
) -> None:
    """Warn of recordings whose files are missing; raise `ConfigError` if a report with sounds would be replaced."""
    file, root = source
    stored = build_store.read_stored(find_store(project, model.spec)) or {}
    if target.other is None:  # files that were never there are in quarantine.csv
        recordings = [r for r in recordings if r.path not in stored or stored[r.path].status == "ok"]
        root_is, remedy = f"data.root in {project.file}", missing_files.remedy(project)
    else:
        root_is, remedy = f"the folder of {file.name}", f"paths in {file} start from its folder"
    fault, report = missing_files.fault(recordings, root, root_is), folder / "report.html"
    if fault and not allow_missing and report.is_file() and b"data:audio/" in report.read_bytes():
        raise ConfigError(
            f"{fault}, and a new {report} could not play them as the present one may; {remedy}; or pass --allow-missing"
        )
    if fault:
        progress.warn(f"{fault}, and the report cannot play them; {remedy}")


def _predictions_csv(content: Evaluation) -> str:
    columns = {"truth": content.truth, "group": content.groups, "part": [content.part] * len(content.truth)}
    if content.stretches:
        columns |= tables.stretch_columns(content.stretches)
    return "".join(tables.recordings_csv(content.predictions, content.labels, columns, nearest=True))


def _refuse_unusable(pairs: Sequence[_Pair], where: str) -> None:
    """Raise `UnusableError` if no recording has scores."""
    if not any(p.has_scores for _, p in pairs):
        first = pairs[0][1]
        raise UnusableError(
            f"none of the {len(pairs)} recordings of {where} can be used; the first, {first.recording}: "
            f"{first.recording_status.detail}"
        )


def _membership(
    project: Project, model: LoadedModel, recordings: Sequence[Recording], part: str, *, own: bool
) -> Callable[[Recording], bool]:
    """Return what tells recordings of ``part``: by ``split.json``, unusable ones by the manifest's split column.

    Raise `ConfigError` if there are none among ``recordings``.
    """
    file = project.run / "split.json"
    if not file.is_file():
        raise NotReadyError(f"{project.run}: no split yet; run 'audiocnn train' first")
    division = split.read(file)
    if own and model.info.provenance.get("split_sha256") != division.digest:
        raise NotReadyError(
            f"{file}: not the split that the model was trained with, so its {part} part may contain training "
            "recordings; run 'audiocnn train' again"
        )

    def in_part(recording: Recording) -> bool:
        return (division.part_of(recording) or recording.split) == part

    if not any(map(in_part, recordings)):
        raise ConfigError(f"part '{part}': no recordings in it; set split.{part} above 0, or choose another --part")
    return in_part


def _predict(
    project: Project,
    model: LoadedModel,
    recordings: Sequence[Recording],
    root: Path,
    in_part: Callable[[Recording], bool] | None,
    jobs: int,
    progress: Progress,
) -> tuple[list[_Pair], dict[str, list[str]]]:
    """Return every recording and stretch with its prediction, in order of the manifest, and background between them.

    Also return the labels that each member of the model alone predicts, by its name.

    ``in_part`` tells which of the project's recordings count; None for those of another manifest, of which all do.
    """
    rows: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        rows[recording.path].append(recording)
    stores = [find_store(project, network.spec) for network in model.networks]
    catalogs = [(build_store.read_stored(store) or {}) if in_part is not None else {} for store in stores]
    stored = [path for path in rows if all(path in catalog for catalog in catalogs)]
    others = [rows[path][0] for path in rows.keys() - set(stored)]
    found: list[tuple[Recording, RecordingPrediction, list[str]]] = []
    with progress.task("evaluate", total=len(rows), unit="recordings") as advance:
        for path, frames in chain(_from_stores(stores, catalogs, stored), _computed(others, root, model, jobs)):
            background, statuses = project.experiment.data.background, {path: frames[model.finest][0]}
            for row in windows.add_background(rows[path], statuses, model.spec, background):
                if in_part is None or in_part(row):
                    prediction, alone = predict_stored_each(model, path, frames, row.stretch)
                    found.append((row, prediction, [one.label for one in alone]))
            advance()
    found.sort(key=lambda row: row[0].order)
    labels = {name: [row[2][k] for row in found] for k, name in enumerate(model.members)}
    return [(recording, prediction) for recording, prediction, _ in found], labels


_Frames = tuple[str, list[tuple[RecordingStatus, StoredFrames]]]  # of a recording, by its path: for each network


def _from_stores(
    stores: Sequence[FeatureStore], catalogs: Sequence[Mapping[str, RecordingStatus]], paths: Sequence[str]
) -> Iterator[_Frames]:
    for path in paths:
        statuses = [catalog[path] for catalog in catalogs]
        for store, status in zip(stores, statuses, strict=True):
            if status.status == "ok":
                store.check(status.sha256)
        yield path, [(status, store.frames(status)) for store, status in zip(stores, statuses, strict=True)]


def _computed(recordings: Sequence[Recording], root: Path, model: LoadedModel, jobs: int) -> Iterator[_Frames]:
    """Compute the features of recordings that are not in the stores, which may have other features than the model."""
    files, expected = [r.file(root) for r in recordings], [r.sha256 for r in recordings]
    kinds = [(network.spec, network.frontend) for network in model.networks]
    for index, frames in analyze_files_together(files, kinds, expected=expected, jobs=jobs):
        yield recordings[index].path, frames


def _metrics(
    model: LoadedModel,
    pairs: Sequence[_Pair],
    part: str,
    settings: EvaluateSpec,
    untested: Collection[str],
    *,
    has_rules: bool,
) -> dict[str, Any]:
    """Return the blocks of ``metrics.json`` that need no other network.

    ``has_rules`` tells whether the model has decision rules of its own, not only thresholds from a file.
    """
    predictions = [p for _, p in pairs]
    truth, groups = [r.label for r, _ in pairs], [r.group for r, _ in pairs]
    chances = {"bootstrap": settings.bootstrap, "seed": settings.seed}
    figures = metrics.compute_metrics(
        predictions, truth, groups, part=part, labels=model.labels, untested=untested, **chances
    )
    figures |= by_collection.collection_block(predictions, truth, groups, [r.collection for r, _ in pairs], **chances)
    blocks = decision_metrics.decision_blocks(
        predictions,
        truth,
        groups,
        labels=model.labels,
        temperature=model.temperature,
        decision=model.decision,
        **chances,
    )
    return figures | {name: block for name, block in blocks.items() if has_rules or name == "thresholds"}


def _prediction_rows(pairs: Sequence[_Pair]) -> list[PredictionRow]:
    """Return the rows of ``predictions.csv`` that a comparison needs."""
    recordings = [r for r, _ in pairs]
    return predictions_csv.prediction_rows(
        [p for _, p in pairs],
        [r.label for r in recordings],
        [r.group for r in recordings],
        [r.stretch for r in recordings],
    )


def _warn_of_unknown_labels(model: LoadedModel, recordings: Sequence[Recording], progress: Progress) -> None:
    strange = Counter(r.label for r in recordings if r.label not in model.labels)
    if strange:
        named = ", ".join(f"'{printable(label)}' ({n})" for label, n in strange.most_common(5))
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        progress.warn(
            f"{strange.total()} recordings have labels that the model does not have; they count as wrong: {named}{more}"
        )


def _suspects(
    project: Project, root: Path, view: FeatureSpec, scratch: Path, jobs: int, progress: Progress
) -> list[Suspect] | None:
    """Return the recordings most likely mislabelled, by the scores of ``crossval``; None without these."""
    file = project.run / "crossval" / "predictions.csv"
    if not file.is_file():
        return None
    recordings = manifest.read(project.manifest, root=root, allow_outside=project.experiment.data.allow_outside)
    try:
        scored = predictions_csv.read_scores(file)
        found = label_errors.find(scored.values, [row.truth for row in scored.rows], labels=scored.labels)
    except (ConfigError, MissingExtraError) as error:
        progress.warn(f"wrong labels are not searched for: {error}")
        return None
    about = predictions_csv.match_recordings(scored.rows, recordings, project.experiment.data.background)
    rows = []
    for suspect in found:
        recording = about[suspect.index]
        if recording is not None:
            scores = scored.values[suspect.index]
            rows.append(
                (recording, suspect.suggested, suspect.quality, float(scores[scored.labels.index(suspect.suggested)]))
            )
    return clips.load_suspects(rows[:_MOST_SUSPECTS], root, view, folder=scratch / "suspects", jobs=jobs)


def _load_rival(against: Path) -> LoadedModel | list[PredictionRow]:
    """Load another model, or read a ``predictions.csv``."""
    if (against / bundle.MANIFEST).is_file():
        return open_model(against)
    return predictions_csv.read_predictions(against / "predictions.csv" if against.is_dir() else against)


def _folder(project: Project, target: _Target) -> Path:
    """Return the run's folder for its own model and test part, else a folder named after what is evaluated."""
    if target.own_test:
        return project.run
    thresholds = target.thresholds.stem if target.thresholds else ""
    what = "-".join(filter(None, (target.model.resolve().name if target.model else "", target.name, thresholds)))
    return project.run / "evaluations" / re.sub(r"[^\w.-]+", "_", what)


def _origin(model: LoadedModel, file: Path, command: str) -> list[tuple[str, str]]:
    created = str(model.info.provenance.get("created", ""))
    return [
        ("Model", f"{model.info.name}, trained {created}" if created else model.info.name),
        ("Data", file.name),
        ("Command", command),
    ]


def _facts(model: LoadedModel) -> list[tuple[str, str]]:
    provenance, networks = model.info.provenance, model.members or {"": model}
    return [
        *(fact for name, member in networks.items() for fact in _network_facts(name, member)),
        ("versions", ", ".join(f"{k} {v}" for k, v in provenance.get("versions", {}).items())),
        ("model digest", model.digest),
        ("split digest", str(provenance.get("split_sha256", ""))),
        ("manifest digest", str(provenance.get("manifest_sha256", ""))),
    ]


def _network_facts(name: str, model: LoadedModel) -> list[tuple[str, str]]:
    """Return the layers and the windows of a network, which has a name if it is a member."""
    spec, network = model.spec, notation.parse_for(model.spec, model.notation, n_labels=len(model.labels))
    of = f" {name}" if name else ""
    return [
        (f"network{of}", f"{model.notation} ({network.n_params:,} parameters)"),
        (f"window{of}", f"{'×'.join(map(str, spec.shape))}, {spec.window_s:g} s, one every {spec.hop_s:g} s"),
    ]


def _settings(model: LoadedModel) -> dict[str, Any]:
    training = {k: v for k, v in model.info.training.items() if not isinstance(v, dict | list)}
    return {"features": model.info.features.model_dump(mode="json"), "train": training}
