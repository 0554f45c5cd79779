"""``evaluate``: a model's predictions for recordings whose labels are known, as figures, a table and a report."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.audio import decode, isolate
from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.dataset.manifest import Recording
from audiocnn.draw import spectrogram
from audiocnn.errors import AudioError, ConfigError, NotReadyError, UnusableError
from audiocnn.features import catalog, gather
from audiocnn.features.ingest import listen_all
from audiocnn.features.listen import Account
from audiocnn.features.store import FeatureStore, StoredFrames
from audiocnn.files import write_atomic, write_json
from audiocnn.model import architecture, bundle
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.results import formats, metrics, report
from audiocnn.results.aggregate import Prediction, predict
from audiocnn.results.evaluation import Evaluation, Exhibit, worst

EXCERPT_S = 30.0  # of a recording that is shown in the report
_SHORTEST_EXCERPT_S = 1.0


@dataclass(frozen=True)
class Evaluated:
    """The figures, the account of every recording, and where the files are."""

    metrics: Mapping[str, Any]
    predictions: Sequence[Prediction]
    folder: Path


def run(
    project: Project,
    *,
    model: Path | None,
    part: str,
    other: Path | None,
    output: Path | None,
    jobs: int,
    progress: Progress,
) -> Evaluated:
    """Evaluate the project's model, or ``model``, on a part of its recordings, or on those of the manifest ``other``.

    Writes ``metrics.json``, ``predictions.csv`` and ``report.html`` into ``output``, by default the run's own folder.
    """
    judge = _load(project, model)
    if other is None:
        source = project.manifest, project.root, project.experiment.data.allow_outside
    else:
        source = other, other.parent, False
    file, root, allow_outside = source
    recordings = manifest.read(file, root=root, allow_outside=allow_outside)
    if other is None:
        recordings = _of_part(project, judge, recordings, part, own=model is None)
    judged = _judged(project, judge, recordings, root, other is None, jobs, progress)
    recordings, predictions = [r for r, _ in judged], [p for _, p in judged]
    if not any(p.heard for p in predictions):
        where = f"part '{part}'" if other is None else other.name
        raise UnusableError(f"none of the {len(predictions)} recordings of {where} can be used")
    settings = project.experiment.evaluate
    truth, groups = [r.label for r in recordings], [r.group for r in recordings]
    part = part if other is None else other.name
    figures = metrics.compute(
        predictions, truth, groups, part=part, labels=judge.labels, positive=judge.info.positive,
        bootstrap=settings.bootstrap, seed=settings.seed,
    )  # fmt: skip
    shown = worst(predictions, truth, settings.worst)
    exhibits = _exhibits([(predictions[i], recordings[i]) for i in shown], root, jobs)
    evaluation = Evaluation(
        name=judge.info.name,
        part=part,
        own_part=model is None and other is None,
        labels=judge.labels,
        positive=judge.info.positive,
        predictions=predictions,
        truth=truth,
        groups=groups,
        metrics=figures,
        history=judge.info.training.get("history", []),
        best_epoch=judge.info.training.get("best_epoch"),
        monitor=judge.info.training.get("monitor", "loss"),
        class_weights=judge.info.training.get("class_weights", {}),
        exhibits=exhibits,
        facts=_facts(judge, file),
    )
    folder = output or _folder(project, model, part, other)
    extra = {"truth": truth, "group": groups, "part": [part] * len(truth)}
    if any(r.stretch for r in recordings):
        extra |= formats.stretches([r.stretch for r in recordings])
    table = formats.recordings_csv(predictions, judge.labels, extra)
    write_atomic(folder / "predictions.csv", table)
    write_atomic(folder / "report.html", report.render(evaluation))
    write_json(folder / "metrics.json", figures)
    return Evaluated(figures, predictions, folder)


def _load(project: Project, model: Path | None) -> Bundle:
    if model is None and not (project.run / "model").is_dir():
        raise NotReadyError(f"{project.run}: no model yet; run 'audiocnn train' first")
    return bundle.load(model or project.run / "model")


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
) -> list[tuple[Recording, Prediction]]:
    """Every recording and stretch, sorted, with its prediction; with what is left of their files as background."""
    rows: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        rows[recording.path].append(recording)
    files = [members[0] for members in rows.values()]
    store = FeatureStore(project.run / "features", judge.spec)
    if from_store and store.folder.is_dir():
        heard = _from_store(store, list(rows))
    else:
        paths = [r.file(root) for r in files]
        heard = listen_all(paths, spec=judge.spec, frontend=judge.frontend, jobs=jobs)
    found = []
    with progress.task("evaluate", total=len(files), unit="recordings") as advance:
        for index, account, frames in heard:
            path = files[index].path
            background = project.experiment.data.background
            for row in gather.with_background(rows[path], {path: account}, judge.spec, background):
                found.append((row, predict(judge, path, account, frames, row.stretch)))
            advance()
    return sorted(found, key=lambda pair: pair[0].order)


def _from_store(store: FeatureStore, paths: Sequence[str]) -> Iterator[tuple[int, Account, StoredFrames]]:
    for index, account in enumerate(catalog.read(store, paths).values()):
        if account.status == "ok":
            store.check(account.sha256)
        yield index, account, store.frames(account)


def _exhibits(chosen: Sequence[tuple[Prediction, Recording]], root: Path, jobs: int) -> list[Exhibit]:
    """The recordings to show, as far as they are still there."""
    tasks = []
    for _, recording in chosen:
        start, end = recording.stretch or (0.0, EXCERPT_S)
        shown_s = min(EXCERPT_S, max(end - start, _SHORTEST_EXCERPT_S))
        tasks.append((recording.file(root), (spectrogram.SAMPLE_RATE, start, shown_s)))
    samples = {done.index: done.result for done in isolate.each(decode.excerpt, tasks, jobs=jobs)} if tasks else {}
    return [
        Exhibit(prediction, recording.label, recording.group, heard, spectrogram.SAMPLE_RATE, recording.stretch)
        for i, (prediction, recording) in enumerate(chosen)
        if not isinstance(heard := samples[i], AudioError)
    ]


def _folder(project: Project, model: Path | None, part: str, other: Path | None) -> Path:
    """Where results go: the run's own folder for its own test part, else a folder named after what is evaluated."""
    if model is None and other is None and part == "test":
        return project.run
    what = "-".join(filter(None, (model.resolve().name if model else "", part)))
    return project.run / "evaluations" / re.sub(r"[^\w.-]+", "_", what)


def _facts(judge: Bundle, file: Path) -> list[tuple[str, str]]:
    info, provenance = judge.info, judge.info.provenance
    net = architecture.parse(info.notation, input_shape=info.features.shape, n_labels=len(info.labels))
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
