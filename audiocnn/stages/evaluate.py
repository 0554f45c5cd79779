"""``evaluate``: a model's predictions for recordings whose labels are known, as figures, a table and a report."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.audio import decode, isolate
from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.dataset.manifest import Recording
from audiocnn.draw import spectrogram
from audiocnn.errors import AudioError, ConfigError, NotReadyError, UnusableError
from audiocnn.features import catalog
from audiocnn.features.listen import listen_all
from audiocnn.features.store import FeatureStore
from audiocnn.files import write_atomic, write_json
from audiocnn.model import architecture, bundle
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.results import formats, metrics, report
from audiocnn.results.aggregate import Prediction, predict
from audiocnn.results.evaluation import Evaluation, Exhibit, worst

EXCERPT_S = 30.0  # of a recording that is shown in the report


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
    predictions = _predictions(project, judge, recordings, root, other is None, jobs, progress)
    if not any(p.heard for p in predictions):
        raise UnusableError(f"none of the {len(predictions)} recordings of part '{part}' can be used")
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
        class_weights=judge.info.training.get("class_weights", {}),
        exhibits=exhibits,
        facts=_facts(judge, file),
    )
    folder = output or _folder(project, model, part, other)
    table = formats.recordings_csv(
        predictions, judge.labels, {"truth": truth, "group": groups, "part": [part] * len(truth)}
    )
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
    return sorted(chosen, key=lambda r: r.path)


def _predictions(
    project: Project,
    judge: Bundle,
    recordings: Sequence[Recording],
    root: Path,
    from_store: bool,
    jobs: int,
    progress: Progress,
) -> list[Prediction]:
    """Predictions in the order of the recordings: from the store where it holds this model's features."""
    store = FeatureStore(project.run / "features", judge.spec)
    if from_store and store.folder.is_dir():
        accounts = catalog.read(store, [r.path for r in recordings])
        none = np.zeros((0, judge.spec.n_bins, len(judge.spec.channels)), np.float32)
        with progress.task("evaluate", total=len(recordings), unit="recordings") as advance:
            predictions = []
            for recording in recordings:
                account = accounts[recording.path]
                frames = store.frames(account.sha256) if account.status == "ok" else none
                predictions.append(predict(judge, recording.path, account, frames))
                advance()
            return predictions
    found: dict[int, Prediction] = {}
    files = [r.file(root) for r in recordings]
    with progress.task("evaluate", total=len(files), unit="recordings") as advance:
        for index, account, frames in listen_all(files, spec=judge.spec, frontend=judge.frontend, jobs=jobs):
            found[index] = predict(judge, recordings[index].path, account, frames)
            advance()
    return [found[i] for i in range(len(files))]


def _exhibits(chosen: Sequence[tuple[Prediction, Recording]], root: Path, jobs: int) -> list[Exhibit]:
    """The recordings to show, as far as they are still there."""
    tasks = [(recording.file(root), (spectrogram.SAMPLE_RATE, EXCERPT_S)) for _, recording in chosen]
    samples = {done.index: done.result for done in isolate.each(decode.excerpt, tasks, jobs=jobs)} if tasks else {}
    return [
        Exhibit(prediction, recording.label, recording.group, heard, spectrogram.SAMPLE_RATE)
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
