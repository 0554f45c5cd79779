"""``explain``: what a prediction is based on, as one page and the files that it uses."""

import contextlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn import __version__
from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.errors import AudiocnnError, ConfigError, MissingExtraError, OutputError
from audiocnn.explain import load
from audiocnn.files import atomic_folder, is_inside, lock, write_atomic, write_json
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import bundle
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.model.open_model import open_model, refuse_members
from audiocnn.progress import Progress
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Neutral
from audiocnn.specs import FeatureSpec
from audiocnn.text import printable

SCHEMA = "audiocnn.explanation/1"
PAGE, FACTS = "index.html", "explanation.json"
SUFFIX = ".explained"  # of the folder, after the name of the recording
NETWORK_SUFFIX = ".network"  # of the folder of a network, after the name of the model
FILTERS = 16  # shown per layer, at most
NEEDS_TENSORFLOW = frozenset({"gradcam", "integrated", "activations", "maximize"})  # for models of one network only
_ENTRIES = 10_000  # read of a folder that is to be replaced; an explanation has about twenty


def _occlusion(work: ExplainTask) -> MethodResult:
    from audiocnn.report.explanation.occlusion import explain_by_occlusion

    return explain_by_occlusion(work)


def _nearest(work: ExplainTask) -> MethodResult:
    from audiocnn.report.explanation.nearest import explain_by_nearest

    return explain_by_nearest(work)


def _gradcam(work: ExplainTask) -> MethodResult:
    from audiocnn.report.explanation.gradcam import explain_by_gradcam

    return explain_by_gradcam(work)


def _integrated(work: ExplainTask) -> MethodResult:
    from audiocnn.report.explanation.integrated_gradients import explain_by_integrated_gradients

    return explain_by_integrated_gradients(work)


def _activations(work: ExplainTask) -> MethodResult:
    from audiocnn.report.explanation.activations import explain_by_activations

    return explain_by_activations(work)


def _maximize(work: ExplainTask) -> MethodResult:
    from audiocnn.report.explanation.maximize import explain_by_maximization

    return explain_by_maximization(work)


# Methods by name. To add one: a function like those above, and a line here.
METHODS: Mapping[str, Callable[[ExplainTask], MethodResult]] = {
    "occlusion": _occlusion,
    "gradcam": _gradcam,
    "integrated": _integrated,
    "activations": _activations,
    "maximize": _maximize,
    "nearest": _nearest,
}


@dataclass(frozen=True)
class ExplainResult:
    """The prediction, the labels explained, whether the whole recording was explained, and the folder of the page.

    ``truth`` are the labels that the recording has in the project; empty if it is not one of its recordings.
    ``members`` are the folders of the networks of the model, if it has several.
    """

    prediction: RecordingPrediction
    labels: Sequence[str]
    whole: bool
    folder: Path
    truth: Sequence[str] = ()
    members: Sequence[Path] = ()

    @property
    def page(self) -> Path:
        return self.folder / PAGE


def run(
    file: Path,
    *,
    model: Path,
    methods: Sequence[str] = ("occlusion",),
    label: str | None = None,
    neutral: Neutral = "mean",
    top: int = 3,
    filters: int = FILTERS,
    out: Path | None = None,
    project: Project | None = None,
    jobs: int = 1,
    progress: Progress,
) -> ExplainResult:
    """Explain the prediction of a model for a recording, or the score of ``label``.

    The folder ``out``, by default the recording's name with `SUFFIX`, is written whole or not at all. An existing
    folder is replaced if it holds an explanation and nothing else. The run of ``project`` is locked if anything may be
    written there: the folder itself, or embeddings for the method nearest.

    Raises `ConfigError` for a label that the model does not have, `MissingExtraError` for a method that needs
    TensorFlow if it is not installed, `UnusableError` for a silent or unreadable recording, `OutputError` for a folder
    with other files, `BusyError` if another command holds the lock of the run.
    """
    methods = tuple(dict.fromkeys(methods))
    folder = out or Path(Path(os.path.abspath(file)).name + SUFFIX)
    if file.is_dir():
        raise ConfigError(f"{printable(os.fspath(file))}: is a folder; name one recording")
    _check_installed(methods)
    with _held(project, folder, "nearest" in methods):
        _check_replaceable(folder)
        if inner := [method for method in methods if method in NEEDS_TENSORFLOW]:
            refuse_members(model, f"and --method {inner[0]} explains one of them", "--model")
        loaded = open_model(model)
        number = None if label is None else _number(loaded, label)
        with progress.task("predict", total=3, unit="steps") as advance:
            prediction, inputs, whole = load.load(
                file, loaded, label=number, top=top, report=lambda note: advance(1, note)
            )
        if not whole:
            progress.warn(
                f"{prediction.recording}: {prediction.recording_status.duration_s / 60:,.1f} min is too long to "
                f"explain as a whole; explained are its {len(inputs)} strongest segments (--top {top})"
            )
        truth = _truth(file, project)
        work = ExplainTask(loaded, prediction, inputs, whole, neutral, top, progress, project, jobs, filters, truth)
        findings = {method: METHODS[method](work) for method in methods}
        with progress.step("write the page"):
            _write(folder, work, findings)
    labels = sorted({work.label_of(subject) for subject in inputs})
    return ExplainResult(
        prediction, labels, whole, folder, truth, [member.folder for member in loaded.members.values()]
    )


def _truth(file: Path, project: Project | None) -> list[str]:
    """Return the labels of a file in the manifest of the project; none if it is not in it or cannot be read."""
    if project is None:
        return []
    try:
        recordings = manifest.read(
            project.manifest, root=project.root, allow_outside=project.experiment.data.allow_outside
        )
        path = Path(os.path.relpath(os.path.realpath(file), os.path.realpath(project.root))).as_posix()
    except (AudiocnnError, ValueError):  # ValueError: on another drive
        return []
    return sorted({r.label for r in recordings if r.path == path})


def _held(project: Project | None, folder: Path, embeds: bool) -> contextlib.AbstractContextManager[None]:
    """Return the lock of the project's run if ``folder`` is in it, or embeddings may be written to it."""
    # In a read-only run embeddings are not kept.
    if project is None or not (is_inside(folder, project.run) or (embeds and os.access(project.run, os.W_OK))):
        return contextlib.nullcontext()
    return lock(project.run)


def run_network(model: Path, *, filters: int = FILTERS, out: Path | None = None, progress: Progress) -> Path:
    """Draw the network of a model, and the inputs that its labels and filters respond to most.

    Returns the page, in the folder ``out``, by default the model's name with `NETWORK_SUFFIX`. Without TensorFlow it
    shows the network only. Raises `OutputError` for a folder with other files.
    """
    from audiocnn.report.explanation import maximize
    from audiocnn.report.explanation.page import explain_network, render_network

    refuse_members(model, "and --network draws one of them", "--model")
    loaded = bundle.load(model)
    folder = out or Path((re.sub(r"[^\w-]+", "_", loaded.info.name)[:100] or "model") + NETWORK_SUFFIX)
    _check_replaceable(folder)
    findings = {"network": explain_network(loaded)}
    if importlib.util.find_spec("tensorflow") is None:
        progress.warn("inputs of labels and filters are not shown: they need TensorFlow; pip install 'audiocnn[train]'")
    else:
        from audiocnn.explain.gradients import Gradients

        findings["maximize"] = maximize.explain_model(loaded, Gradients(loaded), filters=filters, progress=progress)
    files = {name: content for finding in findings.values() for name, content in finding.files.items()}
    facts = {
        "schema": SCHEMA,
        "audiocnn": __version__,
        "model": {"name": loaded.info.name, "digest": loaded.digest},
        "methods": {method: dict(finding.facts) for method, finding in findings.items()},
        "files": sorted(files),
    }
    html = render_network(loaded, [finding.section for finding in findings.values()], _settings_of(loaded))
    _write_whole(folder, html, facts, files)
    return folder / PAGE


def _number(loaded: LoadedModel, label: str) -> int:
    loaded.labels.require([label])
    return loaded.labels.index(label)


def _check_installed(methods: Sequence[str]) -> None:
    needing = [method for method in methods if method in NEEDS_TENSORFLOW]
    if needing and importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError(
            f"--method {needing[0]} needs TensorFlow, which is not installed: pip install 'audiocnn[train]', or pass "
            "--method occlusion, which does not need it"
        )


def _check_replaceable(folder: Path) -> None:
    """Raise `OutputError` if the folder exists and is not an explanation, or has files that do not belong to it."""
    if not os.path.lexists(folder):
        return
    shown = printable(os.fspath(folder))
    if folder.is_symlink() or not folder.is_dir():
        raise OutputError(f"{shown}: is not a folder; name another one with -o")
    there = {entry for entry, _ in zip(sorted(os.listdir(folder)), range(_ENTRIES), strict=False)}
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8")) if FACTS in there else {}
        known = {PAGE, FACTS, *facts["files"]} if facts.get("schema") == SCHEMA else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        known = set()
    if others := sorted(there - known):
        what = printable(others[0])
        raise OutputError(
            f"{shown}: holds {what}, which does not belong to an explanation; name another folder with -o"
        )


def _write(folder: Path, work: ExplainTask, findings: Mapping[str, MethodResult]) -> None:
    from audiocnn.report.explanation.page import render_explanation

    files = {name: content for finding in findings.values() for name, content in finding.files.items()}
    facts = _facts(work, findings, sorted(files))
    html = render_explanation(work, [finding.section for finding in findings.values()], _settings(work, list(findings)))
    _write_whole(folder, html, facts, files)


def _write_whole(folder: Path, html: str, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    with atomic_folder(folder) as temporary:
        for name, content in files.items():
            write_atomic(temporary / name, content)
        write_json(temporary / FACTS, facts)
        write_atomic(temporary / PAGE, html)


def _settings(work: ExplainTask, methods: Sequence[str]) -> dict[str, str]:
    return {
        "Recording": work.prediction.recording,
        "SHA-256": work.prediction.recording_status.sha256,
        "Methods": ", ".join(methods),
        "Occluded places become": "the mean of training" if work.neutral == "mean" else "the noise of the recording",
        **_settings_of(work.model),
    }


def _settings_of(model: LoadedModel) -> dict[str, str]:
    networks = {f" {name}": member for name, member in model.members.items()} or {"": model}
    return {
        "Model": f"{model.info.name}, {model.digest[:16]}",
        **{f"Network{name}": one.notation for name, one in networks.items()},
        **{f"Features{name}": _features(one.spec) for name, one in networks.items()},
        "audiocnn": __version__,
    }


def _features(spec: FeatureSpec) -> str:
    shape = "\N{MULTIPLICATION SIGN}".join(map(str, spec.shape))
    return f"{spec.kind}, windows of {spec.window_s:g} s as {shape}, {spec.sample_rate:,} Hz"


def _facts(work: ExplainTask, findings: Mapping[str, MethodResult], files: Sequence[str]) -> dict[str, Any]:
    """Return the content of ``explanation.json``."""
    p = work.prediction
    found = load.strongest_events(p, work.model)
    windows = zip(p.starts_s, p.ends_s, p.window_scores, strict=True)
    return {
        "schema": SCHEMA,
        "audiocnn": __version__,
        "recording": p.recording,
        "sha256": p.recording_status.sha256,
        "duration_s": p.recording_status.duration_s,
        "model": {"name": work.model.info.name, "digest": work.model.digest},
        "status": p.status,
        "label": p.label,
        "truth": list(work.truth),
        "scores": {name: float(score) for name, score in zip(p.labels, p.scores, strict=True)},
        "whole": work.whole,
        "neutral": work.neutral,
        "explained": [
            {"label": work.label_of(s), "start_s": round(s.start_s, 6), "end_s": round(s.end_s, 6)} for s in work.inputs
        ],
        "events": [{"label": e.label, "start_s": e.start_s, "end_s": e.end_s, "score": e.score} for e in found[:100]],
        "windows": [
            {
                "start_s": round(float(start), 6),
                "end_s": round(float(end), 6),
                "scores": [round(float(x), 6) for x in row],
            }
            for start, end, row in windows
        ]
        if work.whole
        else [],
        "methods": {method: dict(finding.facts) for method, finding in findings.items()},
        "files": list(files),
    }
