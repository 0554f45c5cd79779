"""``sweep``: compare variants of a network or its input, trained on the same folds, by their held-out accuracy.

A variant with members trains each of them in each fold, and combines their scores as ``crossval`` does.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn import config
from audiocnn.config import Project, SweepPlan
from audiocnn.dataset import manifest, missing_files, split
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import ArchitectureError, ConfigError, IntegrityError, NotReadyError, UnusableError
from audiocnn.evaluation import comparison, metrics
from audiocnn.evaluation.comparison import GroupCounts
from audiocnn.features import build_store
from audiocnn.features.build_store import build
from audiocnn.features.store import find_store
from audiocnn.files import digest_of, lock, remove_temporaries, sha256_of, write_atomic, write_json
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import network
from audiocnn.model.notation import Architecture
from audiocnn.progress import Advance, LiveTable, Progress
from audiocnn.report.sweep import RankedVariant, SkippedVariant, SweepRanking, format_shape, render_sweep, to_csv
from audiocnn.specs import Experiment, FeatureSpec, TrainSpec
from audiocnn.training import dataset, fit, out_of_fold, train_ensemble
from audiocnn.training.dataset import TrainingData, prepare
from audiocnn.training.fold_predictions import Fold, NetworkToTrain, finest_of, predict_folds
from audiocnn.training.out_of_fold import OutOfFold
from audiocnn.wording import clause, percent, si_number

HEADINGS = ("variant", "parameters>", "multiply-adds>", "ms>", "done>", "accuracy so far>", "validation>")


@dataclass(frozen=True)
class SweepResult:
    """The ranking, and the folder of its table and page."""

    ranking: SweepRanking
    folder: Path


@dataclass
class _Variant:
    """A variant, its networks by the names of its members, and the folds that are done, by seed.

    A variant of one network has it with the name "". Parameters, multiply-adds and time are sums over the networks.
    """

    name: str
    experiment: Experiment
    networks: Mapping[str, NetworkToTrain]
    prediction_ms: float = float("nan")
    folds: dict[int, list[Fold]] = field(default_factory=dict)
    curves: list[list[float]] = field(default_factory=list)

    @property
    def task(self) -> TrainingData:
        """The data of the network whose windows have scores."""
        return finest_of(self.networks).data

    @property
    def nets(self) -> list[Architecture]:
        return [one.data.net for one in self.networks.values()]

    @property
    def notation(self) -> str:
        return ", ".join(f"{name}: {one.data.net.notation}".removeprefix(": ") for name, one in self.networks.items())

    @property
    def n_params(self) -> int:
        return sum(net.n_params for net in self.nets)

    @property
    def multiply_adds(self) -> int:
        return sum(net.multiply_adds for net in self.nets)

    def rows(self, seed: int) -> list[tuple[Recording, RecordingPrediction]]:
        """Return the held-out recordings of a seed with their predictions."""
        folds = self.folds[seed]
        predictions = predict_folds(self.networks, folds).together
        return [(r, p) for fold, some in zip(folds, predictions, strict=True) for r, p, _ in fold.rows(some)]


def run(
    project: Project,
    *,
    name: str,
    n_folds: int | None,
    epochs: int | None,
    fresh: bool,
    jobs: int,
    progress: Progress,
    allow_leaks: bool = False,
) -> SweepResult:
    """Train every variant of the sweep ``name`` (or a path) for each seed and fold; write ``sweeps/<its name>/``.

    ``n_folds`` and ``epochs`` replace those of the sweep. Finished trainings are kept, unless ``fresh``. The test part
    of ``train`` is not used. Raises `ConfigError` if no variant can be built, `SplitError` if copies of one recording
    are in different folds, unless ``allow_leaks``.
    """
    plan = config.read_sweep(name, project)
    if epochs is not None:
        changed = {name: config.with_train(one, {"epochs": epochs}) for name, one in plan.experiments.items()}
        plan = replace(plan, experiments=changed)
    with progress.step("load TensorFlow"):
        network.load_keras()  # fails before anything is written if Keras is not installed
    with lock(project.run):
        remove_temporaries(project.run)
        return _run(project, plan, n_folds or plan.sweep.folds, fresh, jobs, allow_leaks, progress)


def _run(
    project: Project,
    plan: SweepPlan,
    n_folds: int | None,
    fresh: bool,
    jobs: int,
    allow_leaks: bool,
    progress: Progress,
) -> SweepResult:
    folder = _folder(project.run / "sweeps", plan.sweep.name)
    experiments = [one for variant in plan.experiments.values() for one in variant.networks.values()]
    specs = [project.experiment.features, *(one.features for one in experiments)]
    _featurize(project, list(dict.fromkeys(specs)), jobs, progress)
    # The project's own features define the usable recordings and the test part.
    base = _task(project, project.experiment.model_copy(update={"model": "*"}), progress)
    variants, skipped = _variants(project, plan, base)
    for one in skipped:
        progress.warn(f"variant '{one.name}' is skipped: {one.reason}")
    if not variants:
        raise ConfigError(f"{plan.file}: no variant can be built; the first: {skipped[0].reason}")
    aside = _aside(project, base, progress)
    usable = [r for r in base.recordings if all(v.task.statuses[r.path].status == "ok" for v in variants)]
    recordings = [r for r in usable if r.split_key not in aside]
    whole = project.experiment.split.model_copy(
        update={"validation": 0.0}
    )  # held-out recordings are the validation as well
    divisions = split.make_folds(recordings, base.contents, whole, n_folds, rare=base.rare)
    dataset.check_leaks(project, base, divisions, allow_leaks=allow_leaks, progress=progress)
    if aside:
        progress.info(
            f"{clause(len(aside), 'recording is', 'recordings are')} the test part and not used; {len(recordings)} are "
            "assigned to folds"
        )
    _train_all(variants, divisions, plan, folder, fresh, progress)
    entries = _entries(variants, project, sorted({r.group for r in recordings}))
    found = SweepRanking(
        name=plan.sweep.name,
        about=plan.sweep.about,
        project=project.experiment.name,
        entries=entries,
        skipped=skipped,
        n_recordings=len(recordings),
        n_groups=len({r.group for r in recordings}),
        n_folds=len(divisions),
        seeds=plan.sweep.seeds,
        n_aside=len(aside),
        n_unusable=len(base.unusable) + len(base.recordings) - len(usable),
        chosen=any(one.spec.monitor != "none" for v in variants for one in v.networks.values()),
        facts=_facts(project, plan),
        baseline=next((entry.name for entry in entries if not entry.settings), variants[0].name),
    )
    write_atomic(folder / "results.csv", to_csv(found))
    write_atomic(folder / "index.html", render_sweep(found))
    for unfinished in (folder / "units").glob("*.checkpoint"):  # of variants no longer in the sweep
        unfinished.unlink()
    return SweepResult(found, folder)


def _folder(sweeps: Path, name: str) -> Path:
    """Return the folder of a sweep: its name without spaces and the like, unless an older version made it with them."""
    older = sweeps / name
    return older if older.is_dir() else sweeps / (re.sub(r"[^\w.-]+", "-", name).strip("-") or "sweep")


def _featurize(project: Project, specs: Sequence[FeatureSpec], jobs: int, progress: Progress) -> None:
    """Compute missing features; only those of the project, which are first, have a quarantine file."""
    data = project.experiment.data
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=data.allow_outside)
    for spec in specs:
        store = find_store(project, spec)
        own = spec == project.experiment.features
        try:
            build_store.read_catalog(store, [r.path for r in recordings])
        except (NotReadyError, IntegrityError):
            missing_files.require(project, recordings, progress)
            build(
                recordings,
                store,
                root=project.root,
                jobs=jobs,
                progress=progress,
                quarantine=project.run / "quarantine.csv" if own else None,
                title=f"featurize {format_shape(spec.shape)}",
            )


def _task(project: Project, experiment: Experiment, progress: Progress) -> TrainingData:
    return prepare(
        replace(project, experiment=experiment),
        max_bad_fraction=project.experiment.train.max_bad_fraction,
        progress=progress,
        store=find_store(project, experiment.features),
    )


def _to_train(project: Project, experiment: Experiment) -> dict[str, NetworkToTrain]:
    """Return the networks of a variant with their data."""
    experiments, data = experiment.networks, {}
    for name, one in experiments.items():
        try:
            data[name] = _task(project, one, Progress())
        except (ArchitectureError, UnusableError) as error:
            error.args = (f"member {name}: {error}".removeprefix("member : "),)
            raise
    if experiment.members:
        data = train_ensemble.share_recordings(data)
    weights = {name: member.weight for name, member in experiment.members.items()}
    return {
        name: NetworkToTrain(replace(project, experiment=one), one.train, data[name], weights.get(name))
        for name, one in experiments.items()
    }


def _variants(project: Project, plan: SweepPlan, base: TrainingData) -> tuple[list[_Variant], list[SkippedVariant]]:
    """Return the variants that can be built, and the others with the reason."""
    variants, skipped = [], []
    for name, one in plan.experiments.items():
        experiment = one.model_copy(update={"positive": base.labels.positive})
        try:
            variants.append(_Variant(name, experiment, _to_train(project, experiment)))
        except ArchitectureError as error:
            skipped.append(SkippedVariant(name, _notation(one), one.features.shape, str(error)))
        except UnusableError as error:
            raise UnusableError(f"variant '{name}': {error}") from error
    return variants, skipped


def _notation(experiment: Experiment) -> str:
    return ", ".join(f"{name}: {one.model}" for name, one in experiment.members.items()) or experiment.model


def _aside(project: Project, base: TrainingData, progress: Progress) -> set[str]:
    """Return the keys of the recordings in the test part of ``train``."""
    if project.experiment.split.test == 0 and all(r.split is None for r in base.recordings):
        return set()
    return set(dataset.divide(project, base, progress).of("test"))


def _train_all(
    variants: Sequence[_Variant],
    divisions: Sequence[Split],
    plan: SweepPlan,
    folder: Path,
    fresh: bool,
    progress: Progress,
) -> None:
    """Train and score fold by fold, so that all variants are compared on nearly the same recordings at any time."""
    n_folds = len(plan.sweep.seeds) * len(divisions)
    times = _Times(folder / "prediction-times.json", fresh=fresh)
    with progress.board(
        f"sweep {plan.sweep.name}", HEADINGS, n_rows=len(variants), total=n_folds * len(variants)
    ) as board:
        for row, variant in enumerate(variants):
            board.show(row, _cells(variant, n_folds))
        for seed in plan.sweep.seeds:
            for number, division in enumerate(divisions, start=1):
                for row, variant in enumerate(variants):
                    what = f"{variant.name}, seed {seed}, fold {number} of {len(divisions)}"
                    variant.prediction_ms = sum(times.of(net) for net in variant.nets)
                    fold, kept = _train_fold(variant, seed, division, folder / "units", fresh, _OnBoard(board, what))
                    right = sum(p.label == r.label for r, p in variant.rows(seed)[-len(fold.recordings) :])
                    board.show(row, _cells(variant, n_folds))
                    epochs = ", ".join(
                        f"{name} {found.best_epoch} of {len(found.history)}".strip()
                        for name, found in fold.held_out.items()
                    )
                    line = f"{what}: {right} of {len(fold.recordings)} recordings right, epoch {epochs}"
                    board.done(line, kept=kept)


def _train_fold(
    variant: _Variant, seed: int, division: Split, folder: Path, fresh: bool, progress: Progress
) -> tuple[Fold, bool]:
    """Add a fold to the variant; return it, new or kept, and whether all its trainings were kept."""
    held_out, kept = {}, []
    for name, network_to_train in variant.networks.items():
        held_out[name], known = _train_network(variant, network_to_train, seed, division, folder, fresh, progress)
        kept.append(known)
        variant.curves.append([epoch["val_accuracy"] for epoch in held_out[name].history])
    folds = variant.folds.setdefault(seed, [])
    recordings = [r for r in variant.task.recordings if division.part_of(r) == "test"]
    folds.append(Fold(len(folds) + 1, None, recordings, held_out))
    return folds[-1], all(kept)


def _train_network(
    variant: _Variant,
    one: NetworkToTrain,
    seed: int,
    division: Split,
    folder: Path,
    fresh: bool,
    progress: Progress,
) -> tuple[OutOfFold, bool]:
    """Return one training with its predictions, new or kept, and whether it was kept."""
    task = one.data
    spec: TrainSpec = one.spec.model_copy(update={"seed": seed})
    train = [r for r in task.recordings if division.part_of(r) == "train"]
    held_out = [r for r in task.recordings if division.part_of(r) == "test"]
    settings = {"train": spec.model_dump(mode="json"), **task.settings(), "split": division.digest}
    file = folder / f"{digest_of(settings)[:16]}.heldout"
    kept = file.is_file() and not fresh
    try:
        found = out_of_fold.train_and_predict(
            task,
            spec,
            train=train,
            validation=held_out,
            held_out=held_out,
            file=file,
            settings=settings,
            fresh=fresh,
            progress=progress,
        )
    except ConfigError as error:
        error.args = (f"variant '{variant.name}': {error}",)
        raise
    if not kept:
        network.load_keras().utils.clear_session()  # else all networks stay in memory
    return found, kept


def _entries(variants: Sequence[_Variant], project: Project, groups: Sequence[str]) -> list[RankedVariant]:
    """Return the ranked variants; of equal ones the one with fewer parameters first."""
    settings = project.experiment.evaluate
    by_size = sorted(variants, key=lambda v: v.n_params)
    rows = {v.name: [v.rows(seed) for seed in v.folds] for v in variants}
    counts = {v.name: _group_counts(rows[v.name], groups) for v in by_size}
    ranking = comparison.rank_models(counts, bootstrap=settings.bootstrap, seed=settings.seed)
    named = {v.name: v for v in variants}
    entries = []
    for ranked in ranking:
        variant = named[ranked.name]
        figures = [_figures(variant, of_seed) for of_seed in rows[variant.name]]
        entries.append(
            RankedVariant(
                name=variant.name,
                notation=variant.notation,
                input_shape=variant.task.net.input_shape,
                n_params=variant.n_params,
                multiply_adds=variant.multiply_adds,
                prediction_ms=variant.prediction_ms,
                ranked=ranked,
                window_accuracy=float(np.mean([one["window"]["accuracy"]["value"] for one in figures])),
                macro_f1=float(np.mean([one["recording"]["macro_f1"]["value"] for one in figures])),
                curve=_mean_curve(variant.curves),
                n_units=len(variant.curves),
                settings=_differences(variant.experiment, project.experiment),
            )
        )
    return entries


def _differences(variant: Experiment, own: Experiment) -> dict[str, Any]:
    """Return the settings of a variant that the project has not, nested as in its file."""
    found: dict[str, Any] = {}
    mine = own.model_dump(mode="json") | {"positive": variant.positive}  # found in the data if not set
    skipped = {"features", "model", "train"} if variant.members else {"members"}  # of the other kind of variant
    for name, value in variant.model_dump(mode="json", exclude=skipped).items():
        if value != mine[name]:
            changed = {k: v for k, v in value.items() if v != mine[name].get(k)} if isinstance(value, dict) else value
            found[name] = changed
    return found


def _group_counts(
    by_seed_rows: Sequence[Sequence[tuple[Recording, RecordingPrediction]]], groups: Sequence[str]
) -> GroupCounts:
    """Return the number of correct recordings of each group, averaged over seeds."""
    by_seed = [
        comparison.count_correct([p.label == r.label for r, p in rows], [r.group for r, _ in rows], groups)
        for rows in by_seed_rows
    ]
    return GroupCounts(np.mean([one.right for one in by_seed], axis=0), by_seed[0].n)


def _figures(variant: _Variant, rows: Sequence[tuple[Recording, RecordingPrediction]]) -> dict[str, Any]:
    return metrics.compute_metrics(
        [p for _, p in rows],
        [r.label for r, _ in rows],
        [r.group for r, _ in rows],
        part="sweep",
        labels=variant.task.labels,
        bootstrap=1,  # intervals of one seed are not used
        seed=0,
        untested=variant.task.rare.difference(r.label for r, _ in rows),
    )


def _mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of curves; one that ended early continues with its last value.

    >>> _mean_curve([[0.5, 0.7], [0.7, 0.9, 0.8]])
    [0.6, 0.8, 0.75]
    """
    longest = max(map(len, curves))
    padded = [[*curve, *[curve[-1]] * (longest - len(curve))] for curve in curves]
    return [float(y) for y in np.mean(padded, axis=0).round(12)]


def _cells(variant: _Variant, n_folds: int) -> list[str]:
    rows = [row for seed in variant.folds for row in variant.rows(seed)]
    right = np.mean([p.label == r.label for r, p in rows]) if rows else None
    best = max(_mean_curve(variant.curves)) if variant.curves else None
    ms = "" if np.isnan(variant.prediction_ms) else si_number(variant.prediction_ms)
    so_far = ("" if share is None else percent(float(share)) for share in (right, best))
    return [
        variant.name,
        si_number(variant.n_params),
        si_number(variant.multiply_adds),
        ms,
        f"{sum(map(len, variant.folds.values()))}/{n_folds}",
        *so_far,
    ]


def _facts(project: Project, plan: SweepPlan) -> list[tuple[str, str]]:
    """Return the settings of the sweep, for the end of its page."""
    sweep = plan.sweep
    networks = [one for variant in plan.experiments.values() for one in variant.networks.values()]
    return [
        ("sweep file", plan.file.name),
        ("starts from", sweep.preset or project.file.name),
        ("seeds", ", ".join(map(str, sweep.seeds))),
        ("epochs", ", ".join(sorted({f"{one.train.epochs}" for one in networks}))),
        *([("common", json.dumps(sweep.common, ensure_ascii=False))] if sweep.common else []),
        *((f"variant {name}", json.dumps(own, ensure_ascii=False)) for name, own in sweep.variants.items()),
        ("manifest SHA-256", sha256_of(project.manifest)),
        *((f"{library} version", version) for library, version in fit.versions().items()),
    ]


class _Times:
    """Milliseconds per window by network, measured once and kept: a second measurement would differ."""

    def __init__(self, file: Path, *, fresh: bool) -> None:
        self._file = file
        self._known: dict[str, float] = {}
        if not fresh and file.is_file():
            try:
                self._known = {key: float(value) for key, value in json.loads(file.read_bytes()).items()}
            except (ValueError, AttributeError, TypeError):
                self._known = {}  # damaged: measured again

    def of(self, net: Architecture) -> float:
        key = f"{net.notation} on {format_shape(net.input_shape)}, {net.n_outputs} outputs"
        if key not in self._known:
            self._known[key] = network.measure_ms_per_window(net)
            write_json(self._file, dict(sorted(self._known.items())))
        return self._known[key]


class _OnBoard(Progress):
    """Progress of one training as a note on the table of all."""

    def __init__(self, board: LiveTable, what: str) -> None:
        self._board, self._what = board, what
        board.note(what)

    @contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[Advance]:
        def advance(amount: float = 1, note: str = "") -> None:
            if note:
                self._board.note(f"{self._what}: {note}")

        yield advance
